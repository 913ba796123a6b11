"""Serves the application with cheroot: bounded bodies, bounded reading, errors in our own form, a clean stop.

What cheroot leaves open is closed here: an answer of its own (a malformed request, a body too large) has the
form of every other error; a whole request has to arrive within a time, however slowly its bytes come; a TLS
handshake holds a worker and not the one thread that accepts; a refused body is read away, so that its sender
sees the answer.
"""

from __future__ import annotations

import io
import logging
import re
import socket
import ssl
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
from dbaudit.core.errors import ConfigurationError, ErrorCode

_log = logging.getLogger(__name__)
_DIGITS = re.compile(rb"[0-9]{1,15}")
_MAX_HEADER_BYTES = 65_536
_QUEUED_CONNECTIONS = 128
_IDLE_SECONDS = 30
_IDLE_CONNECTIONS = 500
_DRAIN_BYTES = 32 * 1024 * 1024
_DRAIN_SECONDS = 5.0
_CODES = {
    "400": ErrorCode.INVALID_JSON,
    "405": ErrorCode.METHOD_NOT_ALLOWED,
    "413": ErrorCode.PAYLOAD_TOO_LARGE,
    "503": ErrorCode.SHUTTING_DOWN,
}


class _Request(HTTPRequest):
    def read_request_headers(self) -> bool:
        if not super().read_request_headers():  # type: ignore[no-untyped-call]
            return False
        length = self.inheaders.get(b"Content-Length")
        if length is not None and (self.chunked_read or not _DIGITS.fullmatch(length)):
            self.close_connection = True
            self.simple_response("400 Bad Request", "The length of the body is not clear.")
            return False
        return True

    def respond(self) -> None:
        """Read the whole body first: from then on the time belongs to the application."""
        limit = self.server.max_request_body_size
        length = int(self.inheaders.get(b"Content-Length", 0))
        source = (
            ChunkedRFile(self.conn.rfile, limit)
            if self.chunked_read
            else KnownLengthRFile(self.conn.rfile, length)
        )
        try:
            body = source.read() if self.chunked_read or length else b""
        except OSError as error:
            if error.args != ("Request Entity Too Large",):  # how cheroot says it of chunks
                raise
            self.simple_response("413 Request Entity Too Large")
            return
        except ValueError:
            self.close_connection = True
            self.simple_response("400 Bad Request", "The chunks of the body are malformed.")
            return
        if self.chunked_read:
            self.inheaders.pop(b"Transfer-Encoding", None)
            self.inheaders[b"Content-Length"] = str(len(body)).encode()
        self.rfile = io.BytesIO(body)
        self.conn.reading_since = None
        self.server.gateway(self).respond()
        if self.ready:
            self.ensure_headers_sent()
        if self.chunked_write:
            self.conn.wfile.write(b"0\r\n\r\n")

    def simple_response(self, status: str, msg: str = "") -> None:
        """What cheroot answers by itself, in the form of our errors."""
        number = str(status)[:3]
        request_id = uuid.uuid4().hex
        message = msg or str(status)[4:]
        if number == "413":
            message = f"The body has more than {self.server.max_request_body_size} bytes."
        code = _CODES.get(number, ErrorCode.INTERNAL_ERROR if number == "500" else ErrorCode.INVALID_JSON)
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
        if number == "413":
            self.conn.drain()


class _Connection(HTTPConnection):
    RequestHandlerClass = _Request
    reading_since: float | None = None
    """When the reading of the present request began; None while none is being read."""

    def communicate(self) -> bool:
        self.reading_since = time.monotonic()
        self.server.watch(self)
        try:
            return bool(super().communicate())  # type: ignore[no-untyped-call]
        finally:
            self.reading_since = None
            self.server.unwatch(self)

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
            return super().bind(family, type, proto)  # type: ignore[no-any-return]
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

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        """Where cheroot reports what happens outside of requests."""
        _log.log(level, "%s", msg, exc_info=traceback)

    def _end_slow_requests(self) -> None:
        while not self._watching.wait(1.0):
            oldest = time.monotonic() - self._read_timeout_seconds
            for connection in self._watched.copy():
                since = connection.reading_since
                if since is not None and since < oldest:
                    connection.reading_since = None
                    try:
                        connection.socket.shutdown(socket.SHUT_RD)
                    except OSError:
                        continue  # it has ended by itself


def serve(app: Flask, host: str, port: int, **options: Any) -> None:
    """Serve ``app`` until the process is told to end by KeyboardInterrupt or SystemExit; takes the options of
    ApiServer. Raises ConfigurationError when it cannot listen there.
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
