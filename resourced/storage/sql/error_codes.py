"""
What the error codes of servers of MySQL's kind mean for a daemon: what may have been done, and what to do next.

A code that is not in the table is a statement that the server refused. It is told as such and not repeated; a commit is then in doubt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from resourced.storage.sql.health import Fault


@dataclass(frozen=True, slots=True)
class Errno:
    """
    A number.

    :ivar lost: whether the connection is of no use any more, or leads to where it should not.
    :ivar undone: whether it proves that nothing is left of a transaction, also as an answer to its commit.
    :ivar again: whether the same transaction, begun anew at once, may well succeed.
    :ivar passing: whether it may be over by and by with nothing changed in the configuration, so that waiting makes sense.
    """

    fault: Fault
    lost: bool = False
    undone: bool = False
    again: bool = False
    passing: bool = True


_GONE: Final = Errno(Fault.UNREACHABLE, lost=True)
_CROWDED: Final = Errno(Fault.CROWDED)
_READ_ONLY: Final = Errno(Fault.READ_ONLY, lost=True, undone=True)
_SLOW: Final = Errno(Fault.SILENT)
_CONFLICT: Final = Errno(Fault.REFUSED, undone=True, again=True)
_FULL: Final = Errno(Fault.FULL, passing=False)
_DENIED: Final = Errno(Fault.UNREACHABLE, passing=False)
_OTHER: Final = Errno(Fault.REFUSED, passing=False)
#: The driver's own: it did not get as far as an answer. Proxies such as MySQL Router and MaxScale say it for their servers.
_UNANSWERED: Final = _GONE

_MEANINGS: Final[Mapping[int, Errno]] = {
    # The server is not there for us, or going; the next connection may find it, or another one behind a proxy.
    0: _GONE,  # the driver has no number for it
    1047: _GONE,  # Galera: this node has no quorum, or is not in step yet. Its commit may have been sent to the others
    1053: _GONE,  # shutdown
    1129: _GONE,  # too many broken connections from this host: the server lets nobody in until told to
    1152: _GONE,
    1158: _GONE,  # network errors on the server's side
    1159: _GONE,
    1160: _GONE,
    1161: _GONE,
    1184: _GONE,
    1927: _GONE,  # MariaDB: killed; MaxScale: the server behind it is lost
    3032: _GONE,  # MySQL: offline mode; it lets in only administrators
    3796: _GONE,  # Group Replication: the member is not in step yet, so it cannot wait for the others
    3100: _GONE,  # Group Replication: a hook failed around the commit: the member has left its group, or cannot ask it
    4031: _GONE,  # MySQL: ended after it was idle
    9001: _GONE,  # ProxySQL: none of its servers can be reached
    # It lets nobody in whom it does not know; that takes somebody who changes it.
    1044: _DENIED,
    1045: _DENIED,
    1130: _DENIED,
    1698: _DENIED,
    # It has no place for one more connection at present, or for one more of this user.
    1040: _CROWDED,
    1041: _CROWDED,  # out of memory, or of threads
    1135: _CROWDED,
    1203: _CROWDED,
    1226: _CROWDED,
    # It is, or has become, one that only reads: after a fail-over the next connection may reach the one that writes.
    1290: _READ_ONLY,  # read_only, super_read_only: also a secondary of a group. Commits are refused before they begin
    1792: _READ_ONLY,  # transaction_read_only, which a new connection may not have any more
    1836: _READ_ONLY,
    1874: _READ_ONLY,  # innodb_read_only
    # Somebody was in the way and the server has undone all of it.
    1020: _CONFLICT,  # MariaDB: a row has changed since it was read; never said of a commit
    1213: _CONFLICT,  # deadlock; Galera: a conflict found at the commit
    3101: _CONFLICT,  # Group Replication: a conflict found at the commit
    # An administrator, or another transaction in Galera, has interrupted a statement. Of a commit it does not say what became of it.
    1317: Errno(Fault.REFUSED, again=True),
    # It took longer than the server allows. To begin anew would take as long. Of a commit it does not say what became of it.
    1205: _SLOW,  # somebody has locked the rows, or all tables
    1969: _SLOW,  # MariaDB: max_statement_time
    3024: _SLOW,  # MySQL: max_execution_time
    3797: _SLOW,  # Group Replication: what comes from the others takes too long
    # No room, for a file or for one more row.
    3: _FULL,
    1021: _FULL,
    1026: _FULL,
    1114: _FULL,
    1153: Errno(Fault.OVERSIZED, lost=True, undone=True),  # packet too large: the server hangs up
    # It cannot write down for its replicas what is done at this level of isolation.
    1665: Errno(Fault.UNLOGGED, undone=True, passing=False),
    # 1207 comes of a level of isolation that is not used here; 1180 only says that a commit has failed, see below.
}

#: A commit has failed, for one of many reasons. In a group by Group Replication it is that of a conflict.
_FAILED_COMMIT: Final = 1180


def meaning(code: int, *, group: bool = False) -> Errno:
    """
    Say what a number means.

    :param group: whether it comes from a member of a group by MySQL's Group Replication.
    """
    if code == _FAILED_COMMIT and group:
        return _CONFLICT
    if 2000 <= code < 3000:
        return _UNANSWERED
    return _MEANINGS.get(code, _OTHER)
