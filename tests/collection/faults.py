"""A network between the modules and the API that fails when it is told to."""

import contextlib
import http.client
import socket
import ssl
import threading
from collections import deque
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType, TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from tests.patience import PATIENCE_SECONDS


class Answer(NamedTuple):
    """The request is not passed on, and this is answered, as a proxy would."""

    status: int
    headers: Mapping[str, str] = MappingProxyType({})
    body: bytes = b"<html>not the API</html>"


class CutBefore(NamedTuple):
    """The connection breaks before the request reaches the API."""


class CutAfter(NamedTuple):
    """The API carries the request out, and the connection breaks before its answer arrives."""


class Silence(NamedTuple):
    """The request is swallowed, and nothing comes back until the caller gives up."""


class FaultyNetwork:
    """Passes requests on to the API at ``target`` over real sockets; each takes the next of ``faults``.

    ``requests`` are those that arrived, such as ``GET /v1/databases``, without their queries.
    """

    def __init__(self, target: str, tls: ssl.SSLContext | None = None) -> None:
        self.faults: deque[Answer | CutBefore | CutAfter | Silence | None] = deque()
        self.requests: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(urlsplit(target).netloc))
        self._scheme = "http"
        if tls is not None:
            self._scheme = "https"
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        """Where modules reach the API through this network."""
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self, target: str) -> type[BaseHTTPRequestHandler]:
        network = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

            def pass_on(self) -> None:
                network.requests.append(f"{self.command} {urlsplit(self.path).path}")
                fault = network.faults.popleft() if network.faults else None
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                self.close_connection = True
                if isinstance(fault, CutBefore):
                    return
                if isinstance(fault, Silence):
                    self.connection.settimeout(60)
                    with contextlib.suppress(OSError):
                        self.connection.recv(1)
                    return
                answer = fault if isinstance(fault, Answer) else self.ask(body)
                if isinstance(fault, CutAfter):
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if answer.status != 204:
                    self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def ask(self, body: bytes) -> Answer:
                connection = http.client.HTTPConnection(target, timeout=PATIENCE_SECONDS)
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                connection.request(self.command, self.path, body or None, headers)
                response = connection.getresponse()
                content = response.read()
                connection.close()
                kept = {
                    name: value
                    for name, value in response.getheaders()
                    if name.lower() in ("content-type", "retry-after")
                }
                return Answer(response.status, kept, content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on  # noqa: N815

        return Handler


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
