"""The API on a real socket: sizes, times, malformed requests, TLS, and a clean stop."""

from __future__ import annotations

import json
import resource
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from dbaudit.api import ApiServer
from dbaudit.api.server import bind
from dbaudit.core.errors import ConfigurationError
from dbaudit.core.report import TestReport
from dbaudit.state.tasks import Task

from tests.api.conftest import REACHED, Api, declaration
from tests.servers.certificates import CertificateAuthority

Serve = Callable[..., ApiServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers for one test: ``serve(api)`` takes the options of ApiServer."""
    with ExitStack() as running:

        def start(api: Api, **options: object) -> ApiServer:
            server = ApiServer(api.app, "127.0.0.1", 0, **options)  # type: ignore[arg-type]
            bind(server)
            thread = threading.Thread(target=server.serve)
            thread.start()
            running.callback(thread.join, 30)
            running.callback(server.stop)
            return server

        yield start


@contextmanager
def client(api: Api, server: ApiServer, scheme: str = "http", **options: object) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {api.key}"}
    address = f"{scheme}://127.0.0.1:{server.port}"
    with httpx.Client(base_url=address, headers=headers, timeout=30, **options) as opened:  # type: ignore[arg-type]
        yield opened


def raw(server: ApiServer, request: bytes, *, shut: bool = False) -> tuple[bytes, dict[str, object]]:
    """Sends bytes and reads until the server closes: the head of the answer, and its JSON."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(request)
        if shut:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head, _ignored, body = answer.partition(b"\r\n\r\n")
    return head, json.loads(body)


def test_the_life_of_a_database_over_a_real_connection(api: Api, serve: Serve) -> None:
    with client(api, serve(api)) as http:
        created = http.post("/v1/databases", json=declaration())
        assert created.status_code == 201
        path = created.headers["Location"]
        assert http.patch(path, json={"name": "x"}).json()["name"] == "x"
        assert http.get("/v1/databases").json()["pagination"]["total"] == 1
        deleted = http.delete(path)
        assert (deleted.status_code, deleted.content) == (204, b"")
        assert http.get(path).status_code == 404
        assert http.get("/v1/docs", follow_redirects=True).status_code == 200


def test_a_body_of_10_mb_is_refused_and_its_sender_reads_why(api: Api, serve: Serve) -> None:
    server = serve(api)
    with api.unchanged(), client(api, server) as http:
        for _ignored in range(3):
            answer = http.post("/v1/databases", content=b"x" * 10_000_000)
            assert answer.status_code == 413
            assert answer.json()["error"]["code"] == "payload_too_large"
        assert http.get("/v1/databases").status_code == 200


def test_a_body_too_large_is_refused_before_it_is_sent(api: Api, serve: Serve) -> None:
    request = b"POST /v1/databases HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"
    head, body = raw(serve(api), request, shut=True)
    assert head.startswith(b"HTTP/1.1 413")
    assert b"application/json" in head
    assert body["error"]["code"] == "payload_too_large"  # type: ignore[index]


def test_what_the_server_refuses_by_itself_has_the_form_of_the_path(api: Api, serve: Serve) -> None:
    path = "/v1/cluster/auditing/db_conns"
    server = serve(api)
    with api.unchanged(), client(api, server) as http:
        for content in (b"x" * 3_000_000, iter([b"x" * 3_000_000])):
            answer = http.put(path, content=content, headers={"Content-Type": "application/json"})
            assert answer.status_code == 413
            assert answer.json()["error_code"] == "payload_too_large"
    head, body = raw(server, f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n".encode())
    assert head.startswith(b"HTTP/1.1 400")
    assert set(body) == {"error_code", "message"}


def test_a_chunked_body_is_read_and_bounded(api: Api, serve: Serve) -> None:
    def chunks(content: bytes) -> Iterator[bytes]:
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]

    headers = {"Content-Type": "application/json"}
    with client(api, serve(api)) as http:
        body = json.dumps(declaration()).encode()
        assert http.post("/v1/databases", content=chunks(body), headers=headers).status_code == 201
        with api.unchanged():
            too_much = http.post("/v1/databases", content=chunks(b" " * 3_000_000), headers=headers)
            assert too_much.status_code == 413, too_much.text
            assert too_much.json()["error"]["code"] == "payload_too_large"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v1/databases HTTP/1.1\r\nbroken header\r\n\r\n",
        b"POST /v1/databases HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/databases HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\n12345",
        b"POST /v1/databases HTTP/1.1\r\nHost: x\r\nContent-Length: five\r\n\r\n",
        b"POST /v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/databases HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST /v1/databases HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /v1/databases HTTP/1.1\r\nHost: x\r\nContent-Length : 2\r\n\r\n{}",
        b"GET /v1/databases HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET /v1/databases HTTP/1.1\r\nHost: x\r\nX-Folded: a\r\n b\r\n\r\n",
        b"GET /v1/databases HTTP/1.1\r\n\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n",
    ],
    ids=lambda value: value[:40].decode(),
)
def test_a_malformed_request_is_answered_in_the_form_of_all_errors(
    api: Api, serve: Serve, request_bytes: bytes
) -> None:
    server = serve(api)
    head, body = raw(server, request_bytes, shut=True)
    assert head[9:10] in (b"4", b"5")
    assert head[9:12] != b"500"
    assert b"X-Request-Id" in head
    assert set(body["error"]) == {"code", "message", "request_id", "details"}  # type: ignore[call-overload]
    with client(api, server) as http:
        assert http.get("/v1/databases").status_code == 200


@pytest.mark.parametrize("size", [b"-2", b"0x0", b"0x2", b"1_0", b"+2", b" 2", b""])
def test_a_chunk_of_an_unclear_size_ends_the_connection_and_smuggles_nothing(
    api: Api, serve: Serve, size: bytes
) -> None:
    head = (
        b"POST /v1/databases HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
        b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" % api.key.encode()
    )
    smuggled = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    with api.unchanged():
        answer, body = raw(serve(api), head + size + b"\r\n" + smuggled, shut=True)
    assert answer.startswith(b"HTTP/1.1 400")
    assert body["error"]["code"] == "malformed_request"  # type: ignore[index]


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "uri_too_long"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", 431, "headers_too_large"),
        (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 505, "http_version_not_supported"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "http_version_not_supported"),
        (b"nonsense\r\n\r\n", 400, "malformed_request"),
    ],
    ids=lambda value: value[:20].decode() if isinstance(value, bytes) else None,
)
def test_each_refusal_of_the_server_has_a_status_and_a_code_of_its_own(
    api: Api, serve: Serve, request_bytes: bytes, status: int, code: str
) -> None:
    head, body = raw(serve(api), request_bytes, shut=True)
    assert head.startswith(b"HTTP/1.1 %d" % status)
    assert body["error"]["code"] == code  # type: ignore[index]


@contextmanager
def connections(server: ApiServer, number: int, part: bytes = b"") -> Iterator[list[socket.socket]]:
    with ExitStack() as opened:
        made = []
        for _ignored in range(number):
            made.append(socket.create_connection(("127.0.0.1", server.port), timeout=30))
            opened.enter_context(made[-1])
            if part:
                made[-1].sendall(part)
        yield made


def test_a_thousand_silent_connections_hold_no_worker(api: Api, serve: Serve) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    try:
        # Only their time-out would end them: a request that is answered has not waited for it.
        server = serve(api, threads=2)
        with connections(server, 1000), client(api, server) as http:
            http.timeout = 5
            assert http.get("/health/live").status_code == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    "part",
    [b"GET /v1/databases HT", b"POST /v1/databases HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{"],
)
def test_unfinished_requests_do_not_hold_all_workers(api: Api, serve: Serve, part: bytes) -> None:
    # Their own time is an hour: they are cut because workers are scarce.
    server = serve(api, threads=4, read_timeout_seconds=3600)
    with connections(server, 8, part), client(api, server) as http:
        assert http.get("/health/live").status_code == 200


def test_without_descriptors_the_server_goes_on_and_says_so_once(
    api: Api, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(api)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    with connections(server, 20) as silent, client(api, server) as http:
        assert http.get("/health/live").status_code == 200
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 25, hard))
        try:
            with suppress(OSError), connections(server, 40):
                pass
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert http.get("/health/live").status_code == 200
        assert len(silent) == 20
    assert sum("no connection can be accepted" in line for line in caplog.messages) <= 1
    assert "Traceback" not in caplog.text


def test_a_body_is_not_read_before_the_key_is_known(api: Api, serve: Serve) -> None:
    request = (
        b"POST /v1/databases HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 1000000\r\n\r\n"
    )
    server = serve(api)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(request)  # and not one byte of the body
        assert connection.recv(65536).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize(
    "part",
    [b"GET /v1/databases HT", b"POST /v1/databases HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{"],
)
def test_a_request_that_trickles_in_is_ended(api: Api, serve: Serve, part: bytes) -> None:
    server = serve(api, threads=1, read_timeout_seconds=0.5)
    stop = threading.Event()
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as slow:
        slow.sendall(part)

        def trickle() -> None:
            while not stop.wait(0.1):
                try:
                    slow.sendall(b" ")
                except OSError:
                    return

        sender = threading.Thread(target=trickle)
        sender.start()
        try:
            # The only worker is free again.
            with client(api, server) as http:
                assert http.get("/health/live").status_code == 200
        finally:
            stop.set()
            sender.join()


def test_stopping_lets_running_requests_finish(api: Api) -> None:
    server = ApiServer(api.app, "127.0.0.1", 0)
    bind(server)
    serving = threading.Thread(target=server.serve)
    serving.start()
    database = api.declared()
    reached, go_on = threading.Event(), threading.Event()
    answers: list[httpx.Response] = []

    def slow(task: Task) -> TestReport:
        reached.set()
        assert go_on.wait(30)
        return REACHED

    def ask() -> None:
        with client(api, server) as http:
            answers.append(http.post(f"/v1/databases/{database['id']}/test"))

    with api.agent(slow):
        asking = threading.Thread(target=ask)
        asking.start()
        assert reached.wait(30)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        asking.join(30)
        go_on.set()
        stopping.join(30)
        serving.join(30)
    assert not serving.is_alive()
    # It was waiting for an agent: that ends with a word, not with a broken connection.
    assert answers[0].status_code == 503
    assert answers[0].json()["error"]["code"] == "shutting_down"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=1)


def test_a_port_that_is_taken_is_one_clear_error(api: Api) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}") as error:
            bind(ApiServer(api.app, "127.0.0.1", port))
        assert "--port" in str(error.value.remedy)


@pytest.fixture
def tls(tmp_path: Path) -> tuple[CertificateAuthority, Path, Path]:
    authority = CertificateAuthority()
    credential = authority.server("localhost", "127.0.0.1")
    certificate, key = tmp_path / "api.crt", tmp_path / "api.key"
    certificate.write_text(credential.certificate)
    key.write_text(credential.key)
    return authority, certificate, key


def test_tls_and_a_silent_client_that_holds_nobody_up(
    api: Api, serve: Serve, tls: tuple[CertificateAuthority, Path, Path]
) -> None:
    authority, certificate, key = tls
    server = serve(api, certificate=certificate, key=key)
    context = ssl.create_default_context(cadata=authority.certificate)
    # A connection that never says hello must not keep others from theirs.
    with socket.create_connection(("127.0.0.1", server.port)):
        begun = time.monotonic()
        with client(api, server, "https", verify=context) as http:
            assert http.post("/v1/databases", json=declaration()).status_code == 201
            assert http.post("/v1/databases", content=b"x" * 5_000_000).status_code == 413
            assert http.get("/v1/databases").json()["pagination"]["total"] == 1
        assert time.monotonic() - begun < 10
    assert server.tls.minimum_version is ssl.TLSVersion.TLSv1_2


def test_tls_with_a_wrong_key_is_one_clear_error(
    api: Api, tls: tuple[CertificateAuthority, Path, Path], tmp_path: Path
) -> None:
    _first, certificate, _ignored = tls
    other = tmp_path / "other.key"
    other.write_text(CertificateAuthority().client("x").key)
    with pytest.raises(ConfigurationError, match="certificate and key"):
        ApiServer(api.app, "127.0.0.1", 0, certificate=certificate, key=other)
    with pytest.raises(ConfigurationError, match="both"):
        ApiServer(api.app, "127.0.0.1", 0, certificate=certificate)
