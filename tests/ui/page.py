"""The page as a person uses it, and the clients whose locks are seen there."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from urllib.parse import quote

from tests.daemon import LOCK, WRITE

#: Of the largest list; what is in the document at once must not depend on it.
MANY = 5000


def address(daemon, *names):
    hash_ = "#/" + "/".join(quote(name, safe="") for name in names) if names else ""
    return f"http://127.0.0.1:{daemon.port}/ui{hash_}"


def enter(tab, daemon, *names, key=WRITE):
    """Open the page at a resource or a selector, with a key."""
    tab.open(address(daemon, *names))
    tab.until("document.activeElement.id === 'key'")
    tab.type(key)
    tab.press("Enter")
    tab.reads("#connection", "Live")


def press(tab, button):
    """Press a button that asks something, by keyboard, as soon as nothing else is asked."""
    opened = "document.getElementById('dialog').open"
    tab.until(f"!{opened}")
    tab.enter(button)
    tab.until(opened)


def fill(tab, field, text):
    """Fill in a field of the dialog."""
    tab.run(f"document.getElementById('dialog-{field}').select()")
    tab.type(text)


def choose(tab, selector, value):
    """Choose something in a select, as a keyboard would."""
    where = f"document.querySelector({json.dumps(selector)})"
    tab.run(f"{where}.value = {json.dumps(value)}; {where}.dispatchEvent(new Event('change', {{ bubbles: true }}))")


# -- The clients


def client(daemon, path, *, owner, ticket="", method="POST", key=LOCK):
    """Take a lock, or wait for it, under a name."""
    answer = daemon.request(method, path, key=key, ticket=ticket, headers={"x-owner": owner.encode()})
    assert answer.status in {200, 202}, answer
    return answer


def contested(daemon, resource):
    """Have a selector with a holder, and one who waits."""
    daemon.create(resource)
    path = f"/resource/{resource}/A4/lock"
    return client(daemon, path, owner="ci-7"), client(daemon, path, owner="ci-8")


def card(daemon, resource, selector, **fields):
    """Give a unit a card."""
    answer = daemon.request("PATCH", f"/resource/{resource}/{selector}", body=json.dumps(fields))
    assert answer.status == 200, answer


def send_all(daemon, requests, *, crowd=50):
    """Send many requests, which follow each other at once on a few connections; return the answers of each as bytes."""

    def spelled(request, *, last):
        method, path, owner, body = request
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nx-api-key: {WRITE}\r\nx-owner: {owner}\r\n"
        head += f"Content-Length: {len(body)}\r\nConnection: {'close' if last else 'keep-alive'}\r\n\r\n"
        return (head + body).encode()

    connections = []
    for part in range(crowd):
        connection = socket.create_connection(("127.0.0.1", daemon.port), timeout=60)
        mine = requests[part::crowd]
        connection.sendall(b"".join(spelled(request, last=request is mine[-1]) for request in mine))
        connections.append(connection)
    answers = []
    for connection in connections:
        with closing(connection), connection.makefile("rb") as received:
            answers.append(received.read())
    return answers


def many(daemon):
    """Have the largest list, which is made once for all tests."""
    if daemon.get("/resource/many?limit=1").status == 404:
        daemon.create("many")
        wanted = [("POST", f"/resource/many/s-{number:05}/lock", "default", "") for number in range(MANY)]
        assert sum(answer.count(b'{"locked": true}') for answer in send_all(daemon, wanted)) == MANY
