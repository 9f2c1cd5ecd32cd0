"""What values look like in a text of SQL: to a real server they are what they were."""

from __future__ import annotations

import uuid
from contextlib import closing
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from resourced.config import MySQLSettings
from resourced.storage.sql.mysql import MySQL
from resourced.storage.sql.statement import Statement, length, written_out
from resourced.storage.statements import new_id
from tests.counting import counted
from tests.examples import examples
from tests.mariadb import MariaDB
from tests.stores import mariadb_fixture  # noqa: F401 - a fixture

#: Half a pair is no character; all else can be in a name or in data.
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.one_of(
    TEXT,
    st.text("'\"\\%;-#`\0\n\r\x1a_ a\u00e4\U0001f600"),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
)


@given(values=st.lists(VALUES, min_size=1))
@settings(max_examples=examples(300))
def test_values_are_what_they_were(mariadb: MariaDB, values: list[Any]) -> None:
    """A server that is told a value says the same one, whatever is in it, in a session like those of the writers."""
    marks = ", ".join(["%s"] * len(values))
    dialect = MySQL(MySQLSettings("127.0.0.1", mariadb.port, "mysql", "root", ""), 5.0)
    with closing(dialect.connect(writes=True)) as connection, connection.cursor() as cursor:
        cursor.execute(written_out([Statement(f"SELECT {marks}, '%%'", values)]))
        (row,) = cursor.fetchall()
        assert row == (*values, "%")
        assert [type(value) for value in row[:-1]] == [type(value) for value in values]


def test_several_statements() -> None:
    """Statements come one after the other, each with its own parameters, and none has its values looked at for marks."""
    script = [Statement("DO %s", ["%s; %d"]), Statement("COMMIT", ()), Statement("DO %s, '%%'", (1,))]
    assert written_out(script) == "DO '%s; %d'; COMMIT; DO 1, '%'"
    assert length(script) <= len(written_out(script)) + 8
    assert length([Statement("DO %s", ["x" * 1000])]) >= 1000


def test_many_plain_values_take_no_more_calls_of_python() -> None:
    """What has nothing to be escaped is written out without a function in Python for each value, however many there are."""

    def calls(rows: int) -> int:
        values = [1, "a b-c", 1.5, "\u00e4/1"] * rows
        script = [Statement(", ".join(["%s"] * len(values)), values)]
        return counted(lambda: (written_out(script), length(script)))

    assert calls(500) == calls(1)


def test_new_ids_are_random_uuids() -> None:
    """Each new row of data has an id of its own: a UUID of version 4, written as the standard library writes it."""
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    for id_ in ids:
        read = uuid.UUID(id_)
        assert (str(read), read.version, read.variant) == (id_, 4, uuid.RFC_4122)
    # All that is left to chance differs: 30 of the 32 digits.
    assert sum(len({id_[place] for id_ in ids}) > 10 for place in range(36)) == 30
