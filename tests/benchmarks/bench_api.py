"""How much the API costs over a bare Flask route that returns the same bytes on the same server.

One process, on one core, holds 10,000 databases and serves both applications, each on a port of its own;
another one asks, over connections that stay open, now the one and now the other. Answers are kept until the
state changes: the figures `api_changing_*` are of a state that is written ten times a second, as a busy agent
writes it.
"""

from __future__ import annotations

import logging
import multiprocessing
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from dbaudit.api import ApiServer, ApiSettings, create_app
from dbaudit.core.database import SslMode
from dbaudit.core.secret import Secret
from dbaudit.state import State, open_state
from dbaudit.state.api_keys import Scope
from dbaudit.state.databases import Declaration
from dbaudit.state.encryption import keyring_from_file
from flask import Flask, Response

from tests.benchmarks.cores import OF_THE_AGENT, OF_THE_SERVER, pin
from tests.benchmarks.figures import figure, say

DATABASES = 10_000
CONNECTIONS = 4
ROUNDS = 7
SECONDS = 1.5
SECONDS_BETWEEN_WRITES = 0.1


def main() -> None:
    """Measure, and print one figure a line: name, value, unit."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,), daemon=True)
    process.start()
    key, api_port, bare_port, paths = here.recv()
    try:
        pin(OF_THE_SERVER)
        for writing in (False, True):
            here.send(writing)
            for name, path in paths.items():
                say(f"{name}, {'changing' if writing else 'quiet'} state")
                label = f"api_changing_{name}" if writing else f"api_{name}"
                api, bare = [], []
                for _ignored in range(ROUNDS):
                    bare.append(_requests_per_second(bare_port, path, key))
                    api.append(_requests_per_second(api_port, path, key))
                figure(f"{label}_requests_per_second", statistics.median(api), "requests/s")
                if not writing:
                    figure(
                        f"peer_bare_flask_{name}_requests_per_second", statistics.median(bare), "requests/s"
                    )
                ratio = statistics.median(a / b for a, b in zip(api, bare, strict=True))
                figure(f"{label}_ratio", ratio, "ratio", 3)
    finally:
        here.send(None)
        process.join(20)


def _serve(pipe: Connection) -> None:
    pin(OF_THE_AGENT)
    with tempfile.TemporaryDirectory() as folder:
        # A line for each request, as dbaudit api logs by default.
        logging.basicConfig(filename=f"{folder}/log", level=logging.INFO)
        state = open_state(
            f"sqlite:///{folder}/state.db", keyring_from_file(Path(folder, "keys"), create=True)
        )
        ids = [_declare(state, number) for number in range(DATABASES)]
        _ignored, key = state.api_keys.create("benchmark", (Scope.READ_DATABASES,))
        app = create_app(state, engines=[], settings=ApiSettings(rate_limit_per_minute=100_000_000))
        paths = {"list": "/v1/databases?per_page=100", "get": f"/v1/databases/{ids[DATABASES // 2]}"}
        bare = Flask("bare")
        bare.config["MAX_CONTENT_LENGTH"] = app.config["MAX_CONTENT_LENGTH"]
        bare.extensions = app.extensions
        client = app.test_client()
        for path in paths.values():
            answer = client.get(path, headers={"Authorization": f"Bearer {key.reveal()}"})
            assert answer.status_code == 200
            bare.add_url_rule(path.partition("?")[0], path, _constant(answer.get_data()))
        servers = [ApiServer(application, "127.0.0.1", 0) for application in (app, bare)]
        for server in servers:
            server.prepare()
            threading.Thread(target=server.serve, daemon=True).start()
        pipe.send((key.reveal(), servers[0].port, servers[1].port, paths))
        while (writing := pipe.recv()) is not None:
            while writing and not pipe.poll(SECONDS_BETWEEN_WRITES):
                state.settings.put("benchmark", time.time())
        for server in servers:
            server.stop()
        state.close()


def _declare(state: State, number: int) -> str:
    declaration = Declaration(
        name=f"Database {number}",
        type="postgresql",
        host=f"db{number}.example.com",
        port=5432,
        database="app",
        username="dbaudit_reader",
        ssl_mode=SslMode.VERIFY_FULL,
        tags=("production", f"team-{number % 20}"),
    )
    return state.databases.create(declaration, {"password": Secret("not a password")}).id


def _constant(content: bytes) -> Callable[[], Response]:
    return lambda: Response(content, mimetype="application/json")


def _requests_per_second(port: int, path: str, key: str) -> float:
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
    sockets = [socket.create_connection(("127.0.0.1", port), timeout=30) for ignored in range(CONNECTIONS)]
    files = [connection.makefile("rb") for connection in sockets]
    try:
        answered = 0
        begin = time.perf_counter()
        while (elapsed := time.perf_counter() - begin) < SECONDS:
            for connection in sockets:
                connection.sendall(request)
            for file in files:
                assert file.readline().startswith(b"HTTP/1.1 200")
                length = 0
                while (line := file.readline()) != b"\r\n":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line[15:])
                assert len(file.read(length)) == length
                answered += 1
        return answered / elapsed
    finally:
        for file in files:
            file.close()
        for connection in sockets:
            connection.close()


if __name__ == "__main__":
    main()
