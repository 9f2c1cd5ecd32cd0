"""What is known of the database's faults, and what the log says about them."""

from __future__ import annotations

import sqlite3

import pymysql
import pytest
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from resourced.config import MySQLSettings, SQLiteSettings
from resourced.storage.sql.health import QUIET, RECENT, Fault, Health
from resourced.storage.sql.mysql import MySQL
from resourced.storage.sql.sqlite import SQLite

pytestmark = pytest.mark.trial


class ConditionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.time = 1000.0
        self.condition = Health("the database", lambda: self.time)
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self._note)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, self._note)  # type: ignore[arg-type]

    def _note(self, event: LogEvent) -> None:
        if str(event.get("log_namespace")).startswith("resourced.storage.sql.health"):
            self.lines.append(formatEvent(event))

    def code(self, **within: float) -> str:
        error = self.condition.fault(**within)
        return error.code if error else ""

    def test_one_line_for_each_outage(self):
        """However many fail in an outage, the log has a line when it begins and one when it is over for all."""
        for _ in range(100):
            self.condition.found("reads", Fault.UNREACHABLE, 2003)
            self.condition.found("writes", Fault.UNREACHABLE, 2003)
            self.time += 1
        self.assertEqual(self.lines, ["The database cannot be reached. (the database, error 2003)"])
        self.condition.served("reads")
        self.assertEqual(len(self.lines), 1)
        self.condition.served("writes")
        self.assertEqual(self.lines[1:], ["The database can be used again."])

    def test_next_outage_is_news(self):
        """The next outage has a line of its own; but one that comes and goes all the time does not fill the log."""
        for _ in range(50):
            self.condition.found("reads", Fault.CROWDED, 1040)
            self.condition.served("reads")
        self.assertEqual(len(self.lines), 2)
        self.time += QUIET + 1
        self.condition.found("reads", Fault.CROWDED, 1040)
        self.assertEqual(len(self.lines), 3)

    def test_another_fault_is_news(self):
        """When an outage turns into another one, that is told at once, and it is over once."""
        self.condition.found("reads", Fault.UNREACHABLE, 2003)
        self.condition.found("reads", Fault.CROWDED, 1040)
        self.assertEqual(self.code(), "store_crowded")
        self.condition.served("reads")
        self.assertEqual(len(self.lines), 3)
        self.assertEqual(self.code(), "")

    def test_reads_say_nothing_of_writes(self):
        """A database that only reads goes on being one while reads succeed."""
        self.condition.found("writes", Fault.READ_ONLY, 1290)
        self.condition.served("reads")
        self.assertEqual(self.code(), "store_read_only")
        self.condition.served("writes")
        self.assertEqual(self.code(), "")

    def test_only_lately(self):
        """Whoever wants to know only of what was seen lately is not told of what nobody has tried since."""
        self.condition.found("writes", Fault.READ_ONLY, 1290)
        self.assertEqual(self.code(within=1.0), "store_read_only")
        self.time += 1.5
        self.assertEqual(self.code(within=1.0), "")
        self.assertEqual(self.code(), "store_read_only")

    def test_refused_statement(self):
        """What is wrong with one statement is told once, whatever succeeds in between, and is forgotten soon after a success."""
        for _ in range(100):
            self.condition.found("writes", Fault.FULL, 1114)
            self.condition.served("writes")
        self.assertEqual(self.lines, ["The database has no space left. (the database, error 1114)"])
        self.assertEqual(self.code(), "store_full")
        self.time += RECENT * 1.1
        self.assertEqual(self.code(), "")

    def test_end_of_a_passing_fault(self):
        """What is wrong with one statement is over, and that is told, when it was not met for a while and others succeed."""
        for fault in (Fault.FULL, Fault.OVERSIZED, Fault.REFUSED):
            self.lines.clear()
            for _ in range(20):
                self.condition.found("writes", fault, 1)
                self.time += QUIET / 2
                self.condition.served("writes")
            self.assertEqual(self.lines, [f"{fault.sentence} (the database, error 1)"])
            self.time += QUIET / 2
            # Whoever it is that succeeds.
            self.condition.served("reads")
            self.condition.served("writes")
            self.assertEqual(self.lines[1:], ["The database can be used again."])
            self.time += 2 * QUIET

    def test_full_from_begin_to_end(self):
        """As long as nothing is written, a database that is full goes on being so, however long it takes to try again."""
        self.condition.found("writes", Fault.FULL, 1114)
        self.time += QUIET / 2
        self.condition.served("reads")
        self.assertEqual(self.code(), "store_full")
        self.condition.served("writes")
        self.assertEqual(self.code(), "")

    def test_nobody_asks_again(self):
        """That the database can be used again does not wait for those who failed once and never ask again."""
        self.condition.found("reads", Fault.UNREACHABLE, 2003)
        self.condition.found("writes", Fault.UNREACHABLE, 2003)
        self.condition.served("writes")
        self.assertEqual(len(self.lines), 1)
        self.time += QUIET
        self.condition.served("writes")
        self.assertEqual(self.lines[1:], ["The database can be used again."])
        self.assertEqual(self.code(), "")


class FaultTests(SynchronousTestCase):
    def test_mysql(self):
        """Each error of MySQL means the fault that an operator would name."""
        dialect = MySQL(MySQLSettings("127.0.0.1", 3306, "x", "x", ""), 1.0)
        for code, fault in (
            (2003, Fault.UNREACHABLE),
            (2013, Fault.UNREACHABLE),
            (1053, Fault.UNREACHABLE),
            (1040, Fault.CROWDED),
            (1203, Fault.CROWDED),
            (1290, Fault.READ_ONLY),
            (1836, Fault.READ_ONLY),
            (1114, Fault.FULL),
            (1021, Fault.FULL),
            (1153, Fault.OVERSIZED),
            (1146, Fault.REFUSED),
        ):
            self.assertIs(dialect.fault(pymysql.OperationalError(code, "")), fault, code)
        late = pymysql.OperationalError(2013, "")
        late.__context__ = TimeoutError()
        self.assertIs(dialect.fault(late), Fault.SILENT)
        gone = pymysql.OperationalError(2006, "")
        self.assertEqual((dialect.fault(gone), dialect.fault(gone, fresh=True)), (Fault.UNREACHABLE, Fault.OVERSIZED))

    def test_sqlite(self):
        """So does each error of SQLite, whatever more its upper bits say."""
        dialect = SQLite(SQLiteSettings("x"), 1.0)
        for code, fault in (
            (sqlite3.SQLITE_FULL, Fault.FULL),
            (sqlite3.SQLITE_IOERR_WRITE, Fault.FULL),
            (sqlite3.SQLITE_IOERR_SHMSIZE, Fault.FULL),
            (sqlite3.SQLITE_READONLY_DBMOVED, Fault.READ_ONLY),
            (sqlite3.SQLITE_BUSY_SNAPSHOT, Fault.SILENT),
            (sqlite3.SQLITE_CANTOPEN, Fault.UNREACHABLE),
            (sqlite3.SQLITE_TOOBIG, Fault.OVERSIZED),
            (sqlite3.SQLITE_ERROR, Fault.REFUSED),
        ):
            error = sqlite3.OperationalError()
            error.sqlite_errorcode = code
            self.assertIs(dialect.fault(error), fault, code)

    def test_nothing_leaks(self):
        """What a client is told of a fault names no address and no user."""
        for fault in Fault:
            self.assertRegex(fault.error().code, r"\Astore_[a-z_]+\Z")
            self.assertEqual(fault.error().sentence, fault.sentence)
