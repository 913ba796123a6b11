"""Serves the application: a reception for connections, workers for requests, and the way between them."""

from __future__ import annotations

import errno
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

from flask import Flask

from dbaudit.api.application import WAITING_ROOM
from dbaudit.api.connection import Connection, Stage
from dbaudit.api.framing import Refusal
from dbaudit.api.reception import Reception
from dbaudit.api.visit import BodyAwaited, Parked
from dbaudit.api.waiting import WaitingRoom
from dbaudit.api.workers import Workers
from dbaudit.api.wsgi import answer_of, answer_to
from dbaudit.core.errors import ConfigurationError, ErrorCode

_QUEUED_CONNECTIONS = 1024


class ApiServer:
    """The application on a listening socket. ``prepare`` binds it, ``serve`` runs until ``stop``, which lets
    the requests that are being answered finish.

    ``read_timeout_seconds`` bounds the arrival of a head, and that of a body; ``shutdown_timeout_seconds``
    the wait for running requests. With ``certificate`` and ``key`` (PEM files) it speaks TLS 1.2 and later.
    Port 0 takes a free one: see ``port``. With a ``listener``, a bound socket, it uses that one.
    """

    def __init__(
        self,
        app: Flask,
        host: str,
        port: int,
        *,
        listener: socket.socket | None = None,
        threads: int = 32,
        read_timeout_seconds: float = 30.0,
        shutdown_timeout_seconds: float = 10,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.tls = None if certificate is None and key is None else _tls(certificate, key)
        self._app = app
        self._max_body_bytes: int = app.config["MAX_CONTENT_LENGTH"]
        self.room: WaitingRoom = app.extensions[WAITING_ROOM]
        self._listener = listener
        self._read_timeout_seconds = read_timeout_seconds
        self._shutdown_timeout_seconds = shutdown_timeout_seconds
        self._workers = Workers(threads, self._answer)
        self._reception: Reception | None = None
        self._turning = threading.Lock()
        self._is_serving = False
        self._ended = threading.Event()

    def prepare(self) -> None:
        """Listen. Raises OSError if that is not possible."""
        if self._listener is None:
            self._listener = _listener(self.host, self.port)
        self._listener.listen(_QUEUED_CONNECTIONS)
        self.host, self.port = self._listener.getsockname()[:2]
        self._reception = Reception(
            self._listener, self.tls, self.room, self._workers.put, self._read_timeout_seconds
        )

    def serve(self) -> None:
        """Answer requests until ``stop`` is called from another thread."""
        assert self._reception is not None, "prepare() comes first"
        with self._turning:
            if self._reception.is_stopping:
                return
            self._is_serving = True
        self._workers.start()
        try:
            self._reception.run()
        finally:
            self._workers.stop(1.0)
            self._ended.set()

    def stop(self) -> None:
        """Stop: no new requests, those that wait are answered with 503, running ones finish."""
        if self._reception is None:
            return
        with self._turning:
            self._reception.stop(self._shutdown_timeout_seconds)
        self.room.close()
        if self._is_serving:
            self._ended.wait()
        else:
            self._reception.close()

    def _answer(self, connection: Connection) -> None:
        """Answer the request of ``connection``, in a thread of a worker, or find out what it waits for."""
        assert self._reception is not None
        connection.next = Stage.END
        try:
            self._run(connection, last=self._reception.is_stopping)
        finally:
            self._reception.give(connection)

    def _run(self, connection: Connection, *, last: bool) -> None:
        connection.parked = None
        try:
            head = connection.head or connection.begin(self._max_body_bytes)
            content, ends = answer_of(self._app, connection, head, self.port, last=last)
        except Refusal as refusal:
            connection.answer(answer_to(refusal), ends=True)
        except Parked as parked:
            # Its frames hold the whole request.
            connection.parked = parked.with_traceback(None)
            connection.next = Stage.PARKED
        except BodyAwaited as awaited:
            connection.most = awaited.most
            connection.next = Stage.BODY
            connection.encourage()
        else:
            connection.answer(content, ends=ends)


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
    host, port = server.host, server.port
    try:
        server.prepare()
    except OSError as error:
        raise ConfigurationError(
            ErrorCode.CONFIGURATION_INVALID,
            f"The API cannot listen on {host}:{port}: {error.strerror or error}.",
            remedy="Give another --host or --port, or stop what listens there.",
        ) from None


def _listener(host: str, port: int) -> socket.socket:
    problem = OSError(errno.EADDRNOTAVAIL, "the host has no address")
    for family, _kind, _protocol, _name, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        both = family == socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
        try:
            return socket.create_server(address[:2], family=family, dualstack_ipv6=both)
        except OSError as error:
            problem = error
    raise problem


def _tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    if certificate is None or key is None:
        raise ConfigurationError(
            ErrorCode.CONFIGURATION_INVALID, "TLS needs both the certificate and its key, as PEM files."
        )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            ErrorCode.CONFIGURATION_INVALID, f"The certificate and key of the API cannot be used: {error}."
        ) from None
    return context
