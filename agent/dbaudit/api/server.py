"""Serves the application with cheroot: bounded bodies, bounded reading, errors in our own form, a clean stop.

What cheroot leaves open is closed here: an answer of its own (a malformed request, a body too large) has the
form of every other error; a connection that has sent nothing waits without a worker; a whole request has to
arrive within a time, however slowly its bytes come, and a short one while workers are scarce; a body is read
when the application asks for it, after it has looked at the key; a TLS handshake holds a worker and not the
one thread that accepts; a refused body is read away, so that its sender sees the answer.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import re
import resource
import socket
import ssl
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import msgspec
from cheroot import errors as cheroot_errors
from cheroot.server import ChunkedRFile, HTTPConnection, HTTPRequest, KnownLengthRFile
from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Server
from flask import Flask

from dbaudit.api.application import WAITING_ROOM
from dbaudit.api.errors import error_body
from dbaudit.api.framing import CheckedChunks, StrictHeaderReader
from dbaudit.core.errors import ConfigurationError, ErrorCode

_log = logging.getLogger(__name__)
_DIGITS = re.compile(rb"[0-9]{1,15}")
_MAX_HEADER_BYTES = 65_536
_QUEUED_CONNECTIONS = 128
_IDLE_SECONDS = 30
_IDLE_CONNECTIONS = 500
_DRAIN_BYTES = 32 * 1024 * 1024
_DRAIN_SECONDS = 5.0
_SCARCE_SHARE = 0.75
"""With so many of the workers reading requests, each request has only _SCARCE_SECONDS to arrive."""
_SCARCE_SECONDS = 1.0
_LOOK_SECONDS = 0.25
_RESERVED_DESCRIPTORS = 200
"""Descriptors of the process that connections leave to everything else: the state, logs, wake-ups."""
_MOST_CONNECTIONS = 10_000
_ACCEPT_PAUSE_SECONDS = 0.2
_SAY_AGAIN_SECONDS = 60.0
_CODES = {
    "405": ErrorCode.METHOD_NOT_ALLOWED,
    "413": ErrorCode.PAYLOAD_TOO_LARGE,
    "414": ErrorCode.URI_TOO_LONG,
    "431": ErrorCode.HEADERS_TOO_LARGE,
    "500": ErrorCode.INTERNAL_ERROR,
    "503": ErrorCode.SHUTTING_DOWN,
    "505": ErrorCode.HTTP_VERSION_NOT_SUPPORTED,
}


class _Body:
    """The body of a request, which is read when the application asks for it."""

    def __init__(self, source: ChunkedRFile | KnownLengthRFile, connection: _Connection) -> None:
        self._source = source
        self._connection = connection
        self._begun_at = connection.reading_since
        self.finished = isinstance(source, KnownLengthRFile) and source.remaining == 0

    def read(self, size: int | None = None) -> bytes:
        self._connection.reading_since = self._begun_at
        try:
            data: bytes = self._source.read(None if size is None or size < 0 else size)
        finally:
            self._connection.reading_since = None
        left = (
            self._source.remaining if isinstance(self._source, KnownLengthRFile) else not self._source.closed
        )
        self.finished = not left
        return data


class _Request(HTTPRequest):
    header_reader = StrictHeaderReader()

    def read_request_headers(self) -> bool:
        if not super().read_request_headers():  # type: ignore[no-untyped-call]  # cheroot has no types
            return False
        length = self.inheaders.get(b"Content-Length")
        if length is not None and (self.chunked_read or not _DIGITS.fullmatch(length)):
            return self._refuse("The length of the body is not clear.")
        if b"Transfer-Encoding" in self.inheaders and not self.chunked_read:
            return self._refuse("A transfer coding needs HTTP/1.1.")
        if self.response_protocol == "HTTP/1.1" and b"Host" not in self.inheaders:
            return self._refuse("The header Host is missing.")
        return True

    def _refuse(self, why: str) -> bool:
        self.close_connection = True
        self.simple_response("400 Bad Request", why)
        return False

    def respond(self) -> None:
        """Let the application answer; it reads the body itself, once it knows who asks."""
        length = int(self.inheaders.get(b"Content-Length", 0))
        source = (
            ChunkedRFile(CheckedChunks(self.conn.rfile), None)
            if self.chunked_read
            else KnownLengthRFile(self.conn.rfile, length)
        )
        self.rfile = _Body(source, self.conn)
        self.conn.reading_since = None
        self.server.gateway(self).respond()
        if self.ready:
            self.ensure_headers_sent()
        if self.chunked_write:
            self.conn.wfile.write(b"0\r\n\r\n")
        if not self.rfile.finished:
            self.conn.drain()

    def send_headers(self) -> None:
        """Close the connection if the body was not read: its rest would be taken for the next request."""
        if not self.rfile.finished:
            self.close_connection = True
        super().send_headers()

    def simple_response(self, status: str, msg: str = "") -> None:
        """What cheroot answers by itself, in the form of our errors."""
        number = str(status)[:3]
        request_id = uuid.uuid4().hex
        message = msg or str(status)[4:]
        if number == "413" and "headers" in msg:
            number, status = "431", "431 Request Header Fields Too Large"
            message = f"The headers have more than {_MAX_HEADER_BYTES} bytes."
        elif number == "413":
            message = f"The body has more than {self.server.max_request_body_size} bytes."
        code = _CODES.get(number, ErrorCode.MALFORMED_REQUEST)
        path = getattr(self, "path", b"").decode("latin-1")  # a malformed request may have none
        body = msgspec.json.encode(error_body(code, message, request_id, path=path))
        self.close_connection = True
        head = (
            f"{self.server.protocol} {status}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"X-Request-Id: {request_id}\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
        )
        try:
            self.conn.wfile.write(head.encode("latin-1") + body)
        except OSError as error:
            if error.errno not in cheroot_errors.socket_errors_to_ignore:
                raise
        if number in ("413", "414", "431"):
            self.conn.drain()


class _Connection(HTTPConnection):
    RequestHandlerClass = _Request
    reading_since: float | None = None
    """When the reading of the present request began; None while none is being read."""
    has_waited = False
    """Whether it was given to the thread that waits for the first bytes."""

    def communicate(self) -> bool:
        self.reading_since = time.monotonic()
        self.server.watch(self)
        try:
            return bool(super().communicate())  # type: ignore[no-untyped-call]  # cheroot has no types
        finally:
            self.reading_since = None
            self.server.unwatch(self)

    def close(self) -> None:
        self.server.forget(self)
        super().close()

    def drain(self) -> None:
        """Read away what is still coming: closing with unread bytes would reset the connection before the
        sender has seen our answer.
        """
        self.reading_since = None
        deadline = time.monotonic() + _DRAIN_SECONDS
        left = _DRAIN_BYTES
        try:
            self.socket.shutdown(socket.SHUT_WR)
            while left > 0 and (seconds := deadline - time.monotonic()) > 0:
                self.socket.settimeout(seconds)
                read = len(self.socket.recv(65_536))
                if read == 0:
                    break
                left -= read
        except OSError:
            pass  # the sender is gone, which is what we are waiting for


class _TlsAdapter(BuiltinSSLAdapter):
    def wrap(self, sock: socket.socket) -> tuple[ssl.SSLSocket, dict[str, Any]]:
        """Shake hands with the first bytes that are read, in a worker."""
        wrapped = self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return wrapped, {"wsgi.url_scheme": "https", "HTTPS": "on"}


class ApiServer(Server):
    """The application on a listening socket. ``prepare`` binds it, ``serve`` runs until ``stop``, which lets
    the requests that are being answered finish.

    ``read_timeout_seconds`` bounds the arrival of one whole request, ``shutdown_timeout_seconds`` the wait
    for running ones. With ``certificate`` and ``key`` (PEM files) it speaks TLS 1.2 and later. Port 0 takes a
    free one: see ``port``. With a ``listener``, a bound socket, it uses that one.
    """

    ConnectionClass = _Connection

    def __init__(
        self,
        app: Flask,
        host: str,
        port: int,
        *,
        listener: socket.socket | None = None,
        threads: int = 32,
        read_timeout_seconds: float = 30.0,
        shutdown_timeout_seconds: int = 10,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        super().__init__(
            (host, port),
            app,
            numthreads=threads,
            server_name="dbaudit",
            request_queue_size=_QUEUED_CONNECTIONS,
            timeout=_IDLE_SECONDS,
            shutdown_timeout=shutdown_timeout_seconds,
        )
        self.max_request_body_size = app.config["MAX_CONTENT_LENGTH"]
        self.max_request_header_size = _MAX_HEADER_BYTES
        self.keep_alive_conn_limit = _IDLE_CONNECTIONS
        self._app = app
        self._listener = listener
        self._read_timeout_seconds = read_timeout_seconds
        self._watched: set[_Connection] = set()
        self._open: dict[_Connection, None] = {}
        self._out_of_descriptors_at = -_SAY_AGAIN_SECONDS
        self._watching = threading.Event()
        if certificate is not None or key is not None:
            self.ssl_adapter = _tls(certificate, key)

    @property
    def port(self) -> int:
        """The port that it listens on, once prepared."""
        return int(self.bind_addr[1])

    def bind(self, family: int, type: int, proto: int = 0) -> socket.socket:  # noqa: A002  # cheroot's
        """Take the listener that was given, or make one."""
        if self._listener is None:
            return super().bind(family, type, proto)  # type: ignore[no-any-return]  # cheroot
        self.socket = self._listener
        self.bind_addr = self._listener.getsockname()[:2]
        return self._listener

    def serve(self) -> None:
        """Answer requests until ``stop`` is called from another thread."""
        threading.Thread(target=self._end_slow_requests, name="slow requests", daemon=True).start()
        super().serve()

    def stop(self) -> None:
        """Stop: no new requests, those that wait are answered with 503, running ones finish."""
        self._app.extensions[WAITING_ROOM].close()
        super().stop()
        self._watching.set()

    def watch(self, connection: _Connection) -> None:
        """A worker begins to read from ``connection``."""
        self._watched.add(connection)

    def unwatch(self, connection: _Connection) -> None:
        """A worker has finished with ``connection`` for now."""
        self._watched.discard(connection)

    def process_conn(self, conn: _Connection) -> None:
        """Give a connection to a worker: a new one as soon as it has sent something."""
        if conn.has_waited:
            super().process_conn(conn)
            return
        conn.has_waited = True
        self._open[conn] = None
        if len(self._open) > _room_for_connections():
            # Close the connection that was opened first: its client has had the most time.
            _cut(next(iter(self._open)))
        self.put_conn(conn)

    def forget(self, connection: _Connection) -> None:
        """``connection`` is closed."""
        self._open.pop(connection, None)

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        """Where cheroot reports what happens outside of requests."""
        error = sys.exc_info()[1]
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            self._pause_accepting(error)
        else:
            _log.log(level, "%s", msg, exc_info=traceback)

    def _pause_accepting(self, error: OSError) -> None:
        """Without descriptors nothing can be accepted: the oldest connections make room, without a flood of
        lines in the log.
        """
        now = time.monotonic()
        if now - self._out_of_descriptors_at >= _SAY_AGAIN_SECONDS:
            self._out_of_descriptors_at = now
            _log.error("no connection can be accepted for now: %s (raise LimitNOFILE)", error.strerror)
        for connection in list(self._open)[: max(1, len(self._open) // 10)]:
            _cut(connection)
        time.sleep(_ACCEPT_PAUSE_SECONDS)

    def _end_slow_requests(self) -> None:
        while not self._watching.wait(_LOOK_SECONDS):
            reading = [
                (since, connection)
                for connection in self._watched.copy()
                if (since := connection.reading_since) is not None
            ]
            scarce = len(reading) > 1 and len(reading) >= _SCARCE_SHARE * self.numthreads
            seconds = (
                min(_SCARCE_SECONDS, self._read_timeout_seconds) if scarce else self._read_timeout_seconds
            )
            oldest = time.monotonic() - seconds
            for since, connection in reading:
                if since < oldest:
                    connection.reading_since = None
                    _cut(connection, socket.SHUT_RD)


def _cut(connection: _Connection, how: int = socket.SHUT_RDWR) -> None:
    """End what is read of ``connection``; the worker, or the thread that waits for it, closes it then."""
    with contextlib.suppress(OSError):  # it has ended by itself
        connection.socket.shutdown(how)


def _room_for_connections() -> int:
    """How many connections may be open at once, by the limit of the process as it is now."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return min(_MOST_CONNECTIONS, max(limit - _RESERVED_DESCRIPTORS, limit // 2))


def serve(app: Flask, host: str, port: int, **options: Any) -> None:
    """Serve ``app`` until KeyboardInterrupt or SystemExit; takes the options of ApiServer. Raises
    ConfigurationError if it cannot listen there.
    """
    server = ApiServer(app, host, port, **options)
    bind(server)
    try:
        server.serve()
    finally:
        server.stop()


def bind(server: ApiServer) -> None:
    """Let ``server`` listen. Raises ConfigurationError that names the address and the reason."""
    host, port = server.bind_addr[:2]
    try:
        server.prepare()
    except OSError as error:
        raise ConfigurationError(
            ErrorCode.CONFIGURATION_INVALID,
            f"The API cannot listen on {host}:{port}: {error.strerror or error}.",
            remedy="Give another --host or --port, or stop what listens there.",
        ) from None


def _tls(certificate: Path | None, key: Path | None) -> _TlsAdapter:
    if certificate is None or key is None:
        raise ConfigurationError(
            ErrorCode.CONFIGURATION_INVALID, "TLS needs both the certificate and its key, as PEM files."
        )
    try:
        adapter = _TlsAdapter(str(certificate), str(key))
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            ErrorCode.CONFIGURATION_INVALID, f"The certificate and key of the API cannot be used: {error}."
        ) from None
    adapter.context.minimum_version = ssl.TLSVersion.TLSv1_2
    return adapter
