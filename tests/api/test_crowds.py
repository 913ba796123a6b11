"""A thousand clients at once that are silent, slow, half finished or waiting, and others that are not."""

from __future__ import annotations

import json
import resource
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import httpx
import pytest
from dbaudit.api import ApiServer
from dbaudit.api.application import WAITING_ROOM
from dbaudit.api.server import bind
from dbaudit.api.waiting import WaitingRoom
from dbaudit.core.clock import now_us
from dbaudit.core.report import TestReport
from dbaudit.state.api_keys import Scope
from dbaudit.state.tasks import Task
from dbaudit.state.wakeup import Topic

from tests.api.conftest import REACHED, Api, declaration
from tests.api.test_events import Collected, query_event
from tests.patience import PATIENCE_SECONDS
from tests.servers.certificates import CertificateAuthority

CROWD = 1000
FEWER = 300
"""Of what takes a handshake and an answer each."""
SECONDS = 20
"""Far below the time that any of the crowd is given: who is answered has not waited for it."""


@pytest.fixture(autouse=True)
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Place:
    """A running server, and how it is reached."""

    def __init__(self, api: Api, server: ApiServer, context: ssl.SSLContext | None) -> None:
        self.api = api
        self.server = server
        self.context = context

    def client(self, key: str = "") -> httpx.Client:
        return httpx.Client(
            base_url=f"{'https' if self.context else 'http'}://127.0.0.1:{self.server.port}",
            headers={"Authorization": f"Bearer {key or self.api.key}"},
            timeout=SECONDS,
            verify=self.context or True,
        )

    def connect(self, *, greets: bool = True) -> socket.socket:
        """A connection, with its TLS handshake done unless it does not greet."""
        plain = socket.create_connection(("127.0.0.1", self.server.port), timeout=PATIENCE_SECONDS)
        return (
            self.context.wrap_socket(plain, server_hostname="127.0.0.1") if self.context and greets else plain
        )


Opened = Callable[..., Place]


@pytest.fixture(params=["plain", "tls"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """Starts a server for an API, without TLS and with it."""
    files: dict[str, Any] = {}
    context = None
    if request.param == "tls":
        authority = CertificateAuthority()
        credential = authority.server("localhost", "127.0.0.1")
        files = {"certificate": tmp_path / "api.crt", "key": tmp_path / "api.key"}
        files["certificate"].write_text(credential.certificate)
        files["key"].write_text(credential.key)
        context = ssl.create_default_context(cadata=authority.certificate)
    with ExitStack() as running:

        def start(api: Api) -> Place:
            # With so few workers whatever holds one is noticed; the time of an unfinished request is an hour.
            server = ApiServer(api.app, "127.0.0.1", 0, threads=2, read_timeout_seconds=3600, **files)
            bind(server)
            thread = threading.Thread(target=server.serve)
            thread.start()
            running.callback(thread.join, 30)
            running.callback(server.stop)
            return Place(api, server, context)

        yield start


@pytest.fixture
def place(api: Api, opened: Opened) -> Place:
    return opened(api)


@contextmanager
def crowd(
    place: Place, *parts: bytes, number: int = CROWD, greets: bool = True
) -> Iterator[list[socket.socket]]:
    """So many connections that have sent one of ``parts`` each, in turn."""
    with ExitStack() as stack:
        made = []
        for turn in range(number):
            made.append(stack.enter_context(place.connect(greets=greets)))
            made[-1].sendall(parts[turn % len(parts)])
        yield made


def with_key(api: Api, head: bytes, body: bytes = b"") -> bytes:
    return head + b"Host: x\r\nAuthorization: Bearer %s\r\n\r\n" % api.key.encode() + body


def test_unfinished_heads_hold_no_worker(place: Place) -> None:
    silent, half_a_line = b"", b"GET /v1/data"
    half_a_head = b"GET /health/live HTTP/1.1\r\nHost: x\r\nX: "
    with crowd(place, silent, half_a_line, half_a_head), place.client() as http:
        assert http.get("/health/live").status_code == 200
        assert http.post("/v1/databases", json=declaration()).status_code == 201


def test_half_a_handshake_holds_no_worker(place: Place) -> None:
    # The first bytes of a ClientHello; to a server without TLS they are half a request line.
    with crowd(place, b"\x16\x03\x01\x02\x00\x01\x00", greets=False), place.client() as http:
        assert http.get("/health/live").status_code == 200


def test_slow_bodies_hold_no_worker_with_a_key_or_without(place: Place) -> None:
    head = b"POST /v1/databases HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n"
    with (
        crowd(place, head + b"Host: x\r\n\r\n{", with_key(place.api, head, b"{"), number=FEWER),
        place.client() as http,
    ):
        assert http.get("/health/live").status_code == 200
        assert http.post("/v1/databases", json=declaration()).status_code == 201


def test_a_body_that_comes_byte_by_byte_is_answered_when_it_is_whole(place: Place) -> None:
    body = b'{"scopes": ["admin"], "name": "slow"}'
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    kind = b"POST /v1/keys HTTP/1.1\r\nContent-Type: application/json\r\n"
    for length, content in (
        (b"Content-Length: %d\r\n" % len(body), body),
        (b"Transfer-Encoding: chunked\r\n", chunks),
    ):
        with place.connect() as slow:
            slow.sendall(with_key(place.api, kind + length))
            for byte in content:
                slow.sendall(bytes([byte]))
            assert slow.recv(65536).startswith(b"HTTP/1.1 201")


def test_refused_bodies_that_are_not_read_hold_no_worker(place: Place) -> None:
    part = b"POST /v1/databases HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 1000
    with crowd(place, part, number=FEWER) as refused, place.client() as http:
        assert http.get("/health/live").status_code == 200
        assert refused[-1].recv(65536).startswith(b"HTTP/1.1 413")


def test_answers_that_nobody_takes_hold_no_worker(place: Place) -> None:
    asked = b"GET /v1/docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"
    with crowd(place, asked * 10, number=50), place.client() as http:
        assert http.get("/health/live").status_code == 200


def test_clients_that_reset_their_connections_end_nothing_else(place: Place) -> None:
    at_once = struct.pack("ii", 1, 0)
    for part in (b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", follow(place.api)) * 50:
        with place.connect(greets=False) as client:
            client.sendall(part)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
    with place.client() as http:
        assert http.get("/health/live").status_code == 200


def test_several_requests_at_once_on_one_connection_are_answered_in_their_order(place: Place) -> None:
    expected = {b"/health/live": 200, b"/v1/openapi.json": 200, b"/nothing": 404}
    with place.connect() as one:
        for path in expected:
            one.sendall(b"GET %b HTTP/1.1\r\nHost: x\r\nX-Request-Id: %b\r\n\r\n" % (path, path[1:3]))
        with one.makefile("rb") as file:
            for path, status in expected.items():
                fields, _content = answer(file, status)
                assert fields[b"X-Request-Id"] == path[1:3]


def answer(file: BinaryIO, status: int) -> tuple[dict[bytes, bytes], bytes]:
    """The next answer on a connection: its header fields, and its content."""
    line = file.readline()
    assert line.startswith(b"HTTP/1.1 %d" % status), line
    lines = iter(file.readline, b"\r\n")
    fields = dict(line.rstrip().split(b": ", 1) for line in lines)
    return fields, file.read(int(fields[b"Content-Length"]))


def follow(api: Api, query: str = "", key: str = "", cursor: str = "end") -> bytes:
    path = f"/v1/events?order=stored&cursor={cursor}&wait_seconds=30&type=database.query{query}"
    return b"GET %b HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n\r\n" % (
        path.encode(),
        (key or api.key).encode(),
    )


def until_waiting(api: Api, number: int, topic: Topic = Topic.EVENTS) -> None:
    """Returns when so many requests wait."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    room: WaitingRoom = api.app.extensions[WAITING_ROOM]
    while room.waiting(topic) != number:
        assert time.monotonic() < deadline, f"{room.waiting(topic)} wait"
        time.sleep(0.01)


def test_a_thousand_followers_hold_no_worker_and_each_gets_its_event(place: Place) -> None:
    api = place.api
    number = CROWD if place.context is None else FEWER
    # From a cursor: that they begin is an event each otherwise, and all have to wait at once.
    end = api.get("/v1/events?order=stored&cursor=end").json["pagination"]["next_cursor"]
    with crowd(place, follow(api, cursor=end), number=number) as followers, place.client() as http:
        until_waiting(api, number)
        assert http.get("/health/live").status_code == 200
        with api.agent():
            created = http.post("/v1/databases?verify=true", json=declaration())
            assert http.post(f"/v1/databases/{created.json()['id']}/test").status_code == 200
        assert http.get("/v1/databases").json()["pagination"]["total"] == 1
        Collected(api).store(query_event(1, now_us()))
        assert http.get("/health/live").status_code == 200
        for follower in followers:
            with follower.makefile("rb") as file:
                _fields, content = answer(file, 200)
                assert [event["query"] for event in json.loads(content)["data"]] == ["SELECT 1"]


def test_events_that_nobody_waits_for_run_no_request_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = place.api
    collected = Collected(api)
    asked = []
    ask = api.state.events.query
    monkeypatch.setattr(api.state.events, "query", lambda wanted: (asked.append(wanted), ask(wanted))[1])
    with crowd(place, follow(api, "&user=nobody"), number=100) as followers, place.client() as http:
        until_waiting(api, 100)
        asked.clear()
        for number in range(20):
            collected.store(query_event(number, now_us()))
            assert http.get("/v1/events?limit=1").status_code == 200
        assert len(asked) < 100, "each of a hundred was run again"
        collected.store(query_event(99, now_us(), user="nobody"))
        with followers[-1].makefile("rb") as file:
            assert json.loads(answer(file, 200)[1])["data"][0]["query"] == "SELECT 99"


def test_a_key_that_is_revoked_ends_the_waiting_with_it(make_api: Callable[..., Api], opened: Opened) -> None:
    place = opened(make_api(key_cache_seconds=0.1))
    key, secret = place.api.state.api_keys.create("follower", (Scope.READ_EVENTS,))
    with crowd(place, follow(place.api, key=secret.reveal()), number=3) as followers:
        until_waiting(place.api, 3)
        place.api.state.api_keys.revoke(key.id)
        for follower in followers:
            with follower.makefile("rb") as file:
                assert json.loads(answer(file, 401)[1])["error"]["code"] == "unauthorized"


def test_a_failure_while_looking_for_those_who_wait_leaves_nobody_waiting_without_end(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    api = place.api
    number = api.state.events.last_number
    failures = iter([True])

    def fail_once() -> int:
        if threading.current_thread().name == "waiting room" and next(failures, False):
            raise RuntimeError("a fault of ours")
        return number()

    end = api.get("/v1/events?order=stored&cursor=end").json["pagination"]["next_cursor"]
    with crowd(place, follow(api, cursor=end), number=3) as followers:
        until_waiting(api, 3)
        monkeypatch.setattr(api.state.events, "last_number", fail_once)
        collected = Collected(api)
        collected.store(query_event(1, now_us()))
        for follower in followers:
            with follower.makefile("rb") as file:
                assert json.loads(answer(file, 200)[1])["data"][0]["query"] == "SELECT 1"
    assert "a fault of ours" in caplog.text


def test_a_client_that_leaves_does_not_wait_any_more(place: Place) -> None:
    with crowd(place, follow(place.api), number=20):
        until_waiting(place.api, 20)
    until_waiting(place.api, 0)


def test_stopping_answers_those_who_wait_and_closes_what_is_unfinished(place: Place) -> None:
    half_a_body = b"POST /v1/keys HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 9\r\n"
    unfinished = (b"", b"GET / HT", with_key(place.api, half_a_body))
    with (
        crowd(place, follow(place.api), number=20) as followers,
        crowd(place, *unfinished, number=3) as others,
    ):
        until_waiting(place.api, 20)
        place.server.stop()
        for follower in followers:
            with follower.makefile("rb") as file:
                fields, content = answer(file, 503)
                assert json.loads(content)["error"]["code"] == "shutting_down"
                assert fields[b"Connection"] == b"close"
        for other in others:
            assert other.recv(65536) == b""


def test_waiting_takes_one_request_from_the_rate(make_api: Callable[..., Api], opened: Opened) -> None:
    place = opened(make_api(rate_limit_per_minute=100))
    collected = Collected(place.api)
    with place.connect() as follower:
        follower.sendall(follow(place.api))
        until_waiting(place.api, 1)
        collected.store(query_event(1, now_us()))
        with follower.makefile("rb") as file:
            # One for the declaration, one for this.
            assert answer(file, 200)[0][b"X-RateLimit-Remaining"] == b"98"


def test_more_than_there_are_places_for_are_asked_to_come_later(
    make_api: Callable[..., Api], opened: Opened
) -> None:
    place = opened(make_api(waiting_for_events=5))
    database = place.api.declared()
    with crowd(place, follow(place.api), number=5), place.client() as http, place.api.agent():
        until_waiting(place.api, 5)
        refused = http.get("/v1/events?order=stored&cursor=end&wait_seconds=30&type=database.query")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert refused.json()["error"]["code"] == "too_many_waiting"
        assert http.get("/v1/events?order=stored&cursor=end").status_code == 200
        assert http.post(f"/v1/databases/{database['id']}/test").status_code == 200


def test_tests_of_connections_hold_no_worker_and_are_asked_for_once(place: Place) -> None:
    api = place.api
    database = api.declared()
    go_on = threading.Event()

    def hang(task: Task) -> TestReport:
        assert go_on.wait(PATIENCE_SECONDS)
        return REACHED

    asked = with_key(api, b"POST /v1/databases/%b/test HTTP/1.1\r\n" % database["id"].encode())
    with api.agent(hang) as taken, crowd(place, asked, number=10) as asking, place.client() as http:
        until_waiting(api, 10, Topic.TASK_DONE)
        assert http.get("/health/live").status_code == 200
        go_on.set()
        for one in asking:
            with one.makefile("rb") as file:
                assert json.loads(answer(file, 200)[1])["success"] is True
    assert len(taken) == 10


def test_a_change_that_comes_while_another_one_is_tested_is_tested_too(place: Place) -> None:
    api = place.api
    database = api.declared()
    go_on = threading.Event()

    def hang(task: Task) -> TestReport:
        assert go_on.wait(PATIENCE_SECONDS)
        return REACHED

    body = b'{"username": "other"}'
    path = f"/v1/databases/{database['id']}"
    head = b"PATCH %b?verify=true HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    with api.agent(hang) as taken, place.connect() as slow, place.client() as http:
        slow.sendall(with_key(api, head % (path.encode(), len(body)), body))
        until_waiting(api, 1, Topic.TASK_DONE)
        assert http.patch(path, json={"database": "elsewhere"}).status_code == 200
        go_on.set()
        with slow.makefile("rb") as file:
            assert json.loads(answer(file, 200)[1])["database"] == "elsewhere"
    assert [(task.target.username, task.target.database) for task in taken] == [
        ("other", "myapp"),
        ("other", "elsewhere"),
    ]
