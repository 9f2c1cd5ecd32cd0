"""How a MySQL server's answers are understood, however they come; and what becomes of all that is none."""

from __future__ import annotations

from collections.abc import Iterable

import pymysql
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from resourced.storage.sql.direct.protocol import CommitProtocol

pytestmark = pytest.mark.trial


class Wire(StringTransport):
    """A transport whose data goes out when it is written."""

    def doWrite(self) -> None:
        """Nothing is left to be written."""


def packet(number: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "little") + bytes([number]) + body


def ok(number: int, *, more: bool = False, found: bytes = b"\x01", made: bytes = b"\x00") -> bytes:
    """What is answered to a statement that is done in a transaction."""
    return packet(number, b"\x00" + found + made + bytes([0x03 | (0x08 if more else 0), 0x00]) + b"\x00\x00")


def error(number: int, code: int, text: str = "So it is.") -> bytes:
    return packet(number, b"\xff" + code.to_bytes(2, "little") + b"#HY000" + text.encode())


class ConversationTests(SynchronousTestCase):
    def setUp(self):
        self.overs = 0
        self.begin()

    def begin(self) -> None:
        self.wire = Wire()
        self.protocol = CommitProtocol(self.over)
        self.protocol.makeConnection(self.wire)
        self.answers: list[pymysql.MySQLError | None] = []

    def over(self) -> None:
        self.overs += 1

    def ask(self, text: bytes = b"DO 1") -> None:
        self.wire.clear()
        self.protocol.ask(text).addCallback(self.answers.append)

    def receive(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self.protocol.dataReceived(piece)

    def assert_lost(self) -> None:
        """Who asked has been told, once, and nobody may ask any more."""
        (answer,) = self.answers
        self.assertEqual(answer.args[0] if answer else 0, 2013)
        self.assert_over()

    def assert_over(self) -> None:
        self.assertEqual(self.overs, 1)
        self.assertFalse(self.protocol.alive)
        with self.assertRaises(RuntimeError):
            self.protocol.ask(b"DO 1")

    def test_session_without_backslashes(self):
        """A session that takes a backslash for a letter would read text as statements, so it is left."""
        self.ask()
        self.protocol.dataReceived(packet(1, b"\x00\x01\x00\x03\x02\x00\x00"))
        self.assert_lost()

    def test_status_cut_short(self):
        """An answer without its whole status is none."""
        self.ask()
        self.protocol.dataReceived(packet(1, b"\x00\x01\x00\x03"))
        self.assert_lost()

    def test_question(self):
        """A question is one packet, a command with its text; its length may need all three bytes."""
        self.ask(b"DO 1; DO 2")
        self.assertEqual(self.wire.value(), b"\x0b\x00\x00\x00\x03DO 1; DO 2")
        self.protocol.dataReceived(ok(1))
        self.ask(b"x" * 70_000)
        self.assertEqual(self.wire.value(), b"\x71\x11\x01\x00\x03" + b"x" * 70_000)

    def test_one_question_at_a_time(self):
        """Whoever asks before there is an answer has a bug, and the answer stays with who asked first."""
        self.ask()
        with self.assertRaises(RuntimeError):
            self.protocol.ask(b"DO 2")
        self.protocol.dataReceived(ok(1))
        self.assertEqual(self.answers, [None])

    def test_done_when_the_last_statement_is(self):
        """The answer is there with the last packet that says that no other follows, not before."""
        self.ask()
        self.receive([ok(1, more=True), ok(2, more=True)])
        self.assertEqual(self.answers, [])
        self.protocol.dataReceived(ok(3))
        self.assertEqual(self.answers, [None])

    def test_failed_statement_ends_the_answer(self):
        """An error is the last thing that the server says to it, and the next question is answered as ever."""
        self.ask()
        self.receive([ok(1, more=True) + error(2, 1242, "Zwei Zeilen \u00fc")])
        (answer,) = self.answers
        assert isinstance(answer, pymysql.OperationalError)
        self.assertEqual(answer.args, (1242, "Zwei Zeilen \u00fc"))
        self.ask()
        self.protocol.dataReceived(ok(1))
        self.assertEqual(self.answers[1:], [None])
        self.assertEqual(self.overs, 0)

    def test_errors_are_those_of_the_driver(self):
        """Each is of the class that the driver has for it."""
        for code, kind in (
            (1062, pymysql.IntegrityError),
            (1064, pymysql.ProgrammingError),
            (1205, pymysql.OperationalError),
        ):
            self.answers.clear()
            self.ask()
            self.protocol.dataReceived(error(1, code))
            self.assertIsInstance(self.answers[0], kind)

    def test_numbers_of_any_length(self):
        """How many rows were found, and what ids were made, may be numbers of one byte or of many."""
        for found in (b"\xfa", b"\xfc\x00\x08", b"\xfd\x08\x08\x08", b"\xfe" + b"\x08" * 8):
            for made in (b"\x08", b"\xfc\x08\x08", b"\xfe" + b"\xff" * 8):
                self.answers.clear()
                self.ask()
                self.protocol.dataReceived(ok(1, more=True, found=found, made=made))
                self.assertEqual(self.answers, [])
                self.protocol.dataReceived(ok(2, found=found, made=made))
                self.assertEqual(self.answers, [None])

    def test_many_statements(self):
        """The numbers of packets begin anew after 255."""
        self.ask()
        self.receive(ok(number % 256, more=True) for number in range(1, 700))
        self.protocol.dataReceived(ok(700 % 256))
        self.assertEqual(self.answers, [None])

    @given(st.lists(st.integers(1, 20), max_size=20), st.booleans())
    def test_split_anywhere(self, cuts, fails):
        """It does not matter in which pieces an answer comes."""
        self.begin()
        said = ok(1, more=True) + ok(2, more=True, found=b"\xfc\x00\x08") + (error(3, 1242) if fails else ok(3))
        self.ask()
        for cut in cuts:
            # The last packet of all needs its last byte.
            piece, said = said[: min(cut, len(said) - 1)], said[min(cut, len(said) - 1) :]
            self.protocol.dataReceived(piece)
            self.assertEqual(self.answers, [])
        self.protocol.dataReceived(said)
        self.assertEqual(len(self.answers), 1)
        self.assertEqual(self.answers[0] is not None, fails)
        self.ask()
        self.protocol.dataReceived(ok(1))
        self.assertIsNone(self.answers[1])

    def test_next_question_within_the_answer(self):
        """Whoever is told may ask the next question at once."""
        self.protocol.ask(b"DO 1").addCallback(lambda _: self.ask(b"DO 2"))
        self.protocol.dataReceived(ok(1))
        self.assertEqual(self.wire.value(), b"\x05\x00\x00\x00\x03DO 2")
        self.protocol.dataReceived(ok(1))
        self.assertEqual(self.answers, [None])

    def test_what_is_no_answer(self):
        """Anything that the protocol does not know in this place ends the connection, and is never taken for success."""
        for said in (
            ok(0),
            ok(2),
            ok(1, more=True) + ok(3),
            error(0, 1053),
            packet(1, b""),
            packet(1, b"\x00"),
            packet(1, b"\x00\x01"),
            packet(1, b"\x00\x01\x00"),
            packet(1, b"\x00\xfe\x01\x02"),
            packet(1, b"\x01"),
            packet(1, b"\xfe\x00\x00\x02\x00"),
            packet(1, b"\xfb/etc/passwd"),
            packet(1, b"\xff"),
            packet(1, b"\xff\x01"),
            packet(1, b"\xff\x01\x04"),
            packet(1, b"\xff\x01\x04#\xff\xff\xff\xff\xff"),
            b"\xff\xff\xff\x01",
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
        ):
            self.overs = 0
            self.begin()
            self.ask()
            self.protocol.dataReceived(said)
            with self.subTest(said):
                self.assert_lost()
                self.assertTrue(self.wire.disconnecting or self.wire.disconnected)

    def test_what_comes_after_the_end_is_not_heard(self):
        """Of what comes together with the first that is wrong nothing counts."""
        self.ask()
        self.protocol.dataReceived(ok(7) + ok(1))
        self.assert_lost()

    def test_answer_that_nobody_asked_for(self):
        """A server that says something by itself, such as that it shuts down, is left."""
        self.protocol.dataReceived(error(0, 1053))
        self.assert_over()

    def test_more_than_an_answer(self):
        """What follows the last packet of an answer was not asked for."""
        self.ask()
        self.protocol.dataReceived(ok(1) + ok(2))
        self.assertEqual(self.answers, [None])
        self.assert_over()

    def test_lost_at_any_point(self):
        """When the connection goes, whoever waits is told, wherever in an answer it was."""
        said = ok(1, more=True) + ok(2)
        for at in range(len(said)):
            self.overs = 0
            self.begin()
            self.ask()
            self.protocol.dataReceived(said[:at])
            self.protocol.connectionLost(Failure(ConnectionLost()))
            self.assert_lost()

    def test_lost_while_nobody_waits(self):
        """The one who holds it is told once."""
        self.protocol.connectionLost(Failure(ConnectionLost()))
        self.assert_over()
        self.protocol.give_up(pymysql.OperationalError(1, "again"))
        self.protocol.leave()
        self.assertEqual(self.overs, 1)
        self.assertEqual(self.wire.value(), b"")

    def test_given_up(self):
        """Who gives up says why, and nothing that comes later is heard."""
        why = pymysql.OperationalError(2013, "too late")
        self.ask()
        self.protocol.give_up(why)
        self.assertEqual(self.answers, [why])
        self.protocol.dataReceived(ok(1))
        self.protocol.connectionLost(Failure(ConnectionLost()))
        self.assert_lost()

    def test_farewell(self):
        """Who leaves says so to the server, and is over."""
        self.protocol.leave()
        self.assertEqual(self.wire.value(), b"\x01\x00\x00\x00\x01")
        self.assertTrue(self.wire.disconnecting)
        self.assert_over()
