"""
The other yardstick: the shortest honest version of the same routes on plain Klein and plain adbapi.

    python -m bench.plain PORT (SQLITE_FILE | MYSQL_PORT DATABASE) [durable]

It checks the key, keeps queues in memory, leaves data to the database, answers long polls; ``durable`` puts every holder
into the database before it is told. It has no leases, no limits, no recovery.
"""

from __future__ import annotations

import json
import secrets
import sys
from typing import Any

import pymysql
from klein import Klein
from twisted.enterprise import adbapi
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as WaitOver
from twisted.web.server import Request, Site

from tests.daemon import WRITE

HOLDER = "REPLACE INTO holder (name, ticket) VALUES (%s, %s)"
GONE = "DELETE FROM holder WHERE name = %s"
DATA = "REPLACE INTO data (name, json) VALUES (%s, %s)"
READ = "SELECT json FROM data WHERE name = %s"


class Plain:
    app = Klein()

    def __init__(self, pool: adbapi.ConnectionPool, mark: str, *, durable: bool) -> None:
        self.pool = pool
        self.mark = mark
        self.durable = durable
        self.holders: dict[str, str] = {}
        self.queues: dict[str, dict[str, Deferred[None]]] = {}

    def sql(self, statement: str) -> str:
        return statement.replace("%s", self.mark)

    def answer(self, request: Request, status: int, body: Any, ticket: str = "") -> bytes:
        request.setResponseCode(status)
        request.setHeader("content-type", "application/json")
        if ticket:
            request.setHeader("x-ticket", ticket)
        text = json.dumps(body).encode()
        request.setHeader("content-length", str(len(text)))
        return text

    def allowed(self, request: Request) -> bool:
        return secrets.compare_digest(request.getHeader("x-api-key") or "", WRITE)

    @app.route("/resource/<resource>/<selector>", methods=["GET"])
    async def read(self, request: Request, resource: str, selector: str) -> bytes:
        if not self.allowed(request):
            return self.answer(request, 401, {"error": "no"})
        rows = await self.pool.runQuery(self.sql(READ), (f"{resource}/{selector}",))
        return self.answer(request, 200, {"data": rows[0][0]})

    @app.route("/resource/<resource>/<selector>", methods=["PUT"])
    async def write(self, request: Any, resource: str, selector: str) -> bytes:
        name = f"{resource}/{selector}"
        if not self.allowed(request) or self.holders.get(name) != request.getHeader("x-ticket"):
            return self.answer(request, 401, {"error": "no"})
        body = request.content.read().decode()
        json.loads(body)
        await self.pool.runOperation(self.sql(DATA), (name, body))
        if request.args.get(b"unlock") == [b"1"]:
            await self.release(name)
        request.setResponseCode(204)
        return b""

    @app.route("/resource/<resource>/<selector>/lock", methods=["POST"])
    async def lock(self, request: Request, resource: str, selector: str) -> bytes:
        if not self.allowed(request):
            return self.answer(request, 401, {"error": "no"})
        name = f"{resource}/{selector}"
        ticket = request.getHeader("x-ticket") or secrets.token_hex(16)
        wait = float(request.args.get(b"wait", [b"0"])[0])
        if name not in self.holders:
            self.holders[name] = ticket
            await self.keep(HOLDER, name, ticket)
        elif self.holders[name] != ticket:
            waiters = self.queues.setdefault(name, {})
            waiter = waiters[ticket] = Deferred()
            try:
                await waiter.addTimeout(wait, reactor)
            except WaitOver:
                return self.answer(request, 202, {"locked": False}, ticket)
            except CancelledError:
                waiters.pop(ticket, None)
                raise
        return self.answer(request, 200, {"locked": True}, ticket)

    @app.route("/resource/<resource>/<selector>/unlock", methods=["POST"])
    async def unlock(self, request: Request, resource: str, selector: str) -> bytes:
        name = f"{resource}/{selector}"
        if not self.allowed(request) or self.holders.get(name) != request.getHeader("x-ticket"):
            return self.answer(request, 401, {"error": "no"})
        await self.release(name)
        return self.answer(request, 200, {"unlocked": True})

    async def release(self, name: str) -> None:
        waiters = self.queues.get(name, {})
        if waiters:
            ticket = next(iter(waiters))
            self.holders[name] = ticket
            await self.keep(HOLDER, name, ticket)
            waiters.pop(ticket).callback(None)
        else:
            del self.holders[name]
            await self.keep(GONE, name)

    async def keep(self, statement: str, *parameters: str) -> None:
        if self.durable:
            await self.pool.runOperation(self.sql(statement), parameters)


def main() -> None:
    port, *database = sys.argv[1:]
    durable = database[-1] == "durable"
    schema = (
        "CREATE TABLE IF NOT EXISTS holder (name VARCHAR(255) PRIMARY KEY, ticket VARCHAR(32))",
        "CREATE TABLE IF NOT EXISTS data (name VARCHAR(255) PRIMARY KEY, json TEXT)",
    )

    def prepare(connection: Any) -> None:
        cursor = connection.cursor()
        if not database[0].isdigit():
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = FULL")
        for statement in schema:
            cursor.execute(statement)

    if database[0].isdigit():
        where: dict[str, Any] = {"host": "127.0.0.1", "port": int(database[0]), "user": "root", "ssl_disabled": True}
        first = pymysql.connect(**where)
        first.cursor().execute(f"CREATE DATABASE IF NOT EXISTS {database[1]}")
        first.close()
        pool = adbapi.ConnectionPool(
            "pymysql", **where, database=database[1], cp_openfun=prepare, cp_min=4, cp_max=4, cp_noisy=False
        )
        mark = "%s"
    else:
        pool = adbapi.ConnectionPool(
            "sqlite3", database[0], check_same_thread=False, cp_openfun=prepare, cp_min=1, cp_max=1, cp_noisy=False
        )
        mark = "?"
    plain = Plain(pool, mark, durable=durable)
    reactor.listenTCP(int(port), Site(plain.app.resource()), interface="127.0.0.1", backlog=1024)  # type: ignore[arg-type]
    reactor.run()


if __name__ == "__main__":
    main()
