"""Real sockets that are no database servers, and a way to one that can be watched and held up."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_HOST = "127.0.0.1"
_BLOCK_BYTES = 65536
_FAREWELL_SECONDS = 5.0
# The start of a record that holds a ClientHello; some protocols wrap it in packets of their own.
_CLIENT_HELLO = re.compile(rb"\x16\x03[\x00-\x04][\x00-\xff]{2}\x01\x00", re.DOTALL)

Behaviour = Callable[[socket.socket], None]


@contextmanager
def listening(behave: Behaviour, host: str = _HOST) -> Iterator[int]:
    """Serve every connection with ``behave`` in a thread of its own; gives the port."""
    with socket.create_server((host, 0)) as listener:
        accepted: list[socket.socket] = []

        def serve(connection: socket.socket) -> None:
            with contextlib.suppress(OSError):
                behave(connection)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection = listener.accept()[0]
                    accepted.append(connection)
                    threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            # Closing alone does not wake the thread that accepts.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            for connection in accepted:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()


def never_answers(connection: socket.socket) -> None:
    """Take everything and say nothing."""
    while connection.recv(_BLOCK_BYTES):
        pass


def speaks_ssh(connection: socket.socket) -> None:
    """Greet as an SSH server does, and wait."""
    connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    never_answers(connection)


def speaks_http(connection: socket.socket) -> None:
    """Answer whatever comes first as a web server does."""
    connection.recv(_BLOCK_BYTES)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    connection.close()


def unused_port() -> int:
    """A port of this host at which nothing listened a moment ago."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


class Relay:
    """A way to a real server that notes what its clients send, and that can be frozen: from then on nothing
    passes, while every connection stays.
    """

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server
        self._passing = threading.Event()
        self._passing.set()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._sent: list[bytes] = []

    @contextmanager
    def open(self, host: str = _HOST) -> Iterator[int]:
        """Listen on ``host``; gives the port."""
        try:
            with listening(self._relay, host) as port:
                yield port
        finally:
            self._over.set()
            self._passing.set()

    def freeze(self) -> None:
        """Let nothing pass any more."""
        self._passing.clear()

    def sent(self) -> bytes:
        """What the clients have sent up to now."""
        with self._lock:
            return b"".join(self._sent)

    def carried_tls(self) -> bool:
        """Whether a client began a TLS handshake."""
        return _CLIENT_HELLO.search(self.sent()) is not None

    def _relay(self, client: socket.socket) -> None:
        self._passing.wait()
        if self._over.is_set():
            return
        with socket.create_connection(self._server) as server:
            back = threading.Thread(target=self._pass, args=(server, client, None), daemon=True)
            back.start()
            self._pass(client, server, self._sent)
            back.join(_FAREWELL_SECONDS)

    def _pass(self, source: socket.socket, sink: socket.socket, noted: list[bytes] | None) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_BLOCK_BYTES):
                if noted is not None:
                    with self._lock:
                        noted.append(data)
                self._passing.wait()
                if self._over.is_set():
                    return
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
