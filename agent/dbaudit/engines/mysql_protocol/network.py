"""Reaching a server: its addresses, what listens there, and sockets whose every wait is bounded."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from typing import Any

from dbaudit.core.database import Target
from dbaudit.core.errors import ConfigurationError, ErrorCode, TransientError
from dbaudit.engine.network import addresses_of, place_of, speaker_of, unreached, wrong_protocol

_SSL_REQUEST_OF_POSTGRESQL = bytes.fromhex("0000000804d2162f")
_GREETING_START = 5
"""The length of a packet's header and of the first byte of a greeting, or of an error in its place."""


class Deadline:
    """Until when (of time.monotonic) the sockets of a connection may wait."""

    def __init__(self, timeout_seconds: float) -> None:
        self.extend(timeout_seconds)

    def extend(self, timeout_seconds: float) -> None:
        self.until = time.monotonic() + timeout_seconds

    @property
    def seconds_left(self) -> float:
        return self.until - time.monotonic()

    @property
    def passed(self) -> bool:
        return self.seconds_left <= 0


def bounded(deadline: Deadline) -> tuple[type[socket.socket], type[ssl.SSLSocket]]:
    """Socket classes, plain and TLS, that raise TimeoutError once the deadline has passed.

    The time-outs of the driver are for one system call each: a server that sends a byte now and then would
    never run into them.
    """

    class BoundedSocket(socket.socket):
        def recv_into(self, *given: Any, **named: Any) -> int:
            self.settimeout(max(deadline.seconds_left, 0.001))
            return super().recv_into(*given, **named)

        def sendall(self, *given: Any, **named: Any) -> None:
            self.settimeout(max(deadline.seconds_left, 0.001))
            super().sendall(*given, **named)

    class BoundedTlsSocket(ssl.SSLSocket):
        def recv_into(self, *given: Any, **named: Any) -> int:
            self.settimeout(max(deadline.seconds_left, 0.001))
            return super().recv_into(*given, **named)

        def sendall(self, *given: Any, **named: Any) -> None:
            self.settimeout(max(deadline.seconds_left, 0.001))
            super().sendall(*given, **named)

    return BoundedSocket, BoundedTlsSocket


def endpoint(target: Target) -> str:
    """The server as people write it."""
    if target.host.startswith("/"):
        return target.host
    return place_of(target.host, target.port)


def reached(target: Target, deadline: Deadline, kind: type[socket.socket]) -> socket.socket:
    """A connected socket on which a server of this protocol has begun to speak.

    Raises ConfigurationError (no such host, another protocol) or TransientError.
    """
    addresses = _addresses_of(target, deadline)
    for untried, (family, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
        seconds = max(deadline.seconds_left / untried, 0.001)
        try:
            return _connected(target, family, address, kind, seconds)
        except TransientError:
            # Another address of the same host may answer.
            if untried == 1:
                raise
    raise AssertionError("a host has an address")


def _connected(
    target: Target, family: int, address: Any, kind: type[socket.socket], seconds: float
) -> socket.socket:
    until = time.monotonic() + seconds
    connection = kind(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        try:
            connection.connect(address)
        except OSError as error:
            raise unreached(
                endpoint(target), error, target.connect_timeout_seconds, "its bind_address"
            ) from None
        if family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        greeting = _peeked(connection, until - _probe_seconds(seconds))
        if greeting is None:
            raise _silence(target, family, address, until)
        if not greeting:
            raise TransientError(
                ErrorCode.CONNECTION_LOST,
                f"{endpoint(target)} closed the connection before it said anything.",
                remedy="Check that host and port are those of the server, and read the server's log.",
            )
        speaker = _other_speaker(greeting)
        if speaker is not None:
            raise _wrong_protocol(target, speaker)
    except BaseException:
        connection.close()
        raise
    return connection


def _probe_seconds(seconds: float) -> float:
    """At most this much of the time is spent on finding out what a silent program is."""
    return min(0.5, seconds / 4)


def _peeked(connection: socket.socket, until: float) -> bytes | None:
    """The first bytes that the server sent, which stay in the socket; None when it sends none in time."""
    seen = b""
    readable = select.poll()  # not select(), which takes no descriptor beyond 1,023
    readable.register(connection, select.POLLIN)
    try:
        while True:
            if not readable.poll(max(0.0, until - time.monotonic()) * 1000):
                return seen or None
            before, seen = len(seen), connection.recv(128, socket.MSG_PEEK)
            if not seen or len(seen) >= _GREETING_START or time.monotonic() >= until:
                return seen
            if len(seen) == before:
                time.sleep(0.005)  # what is there already makes the socket readable at once
    except OSError:
        return b""


def _other_speaker(greeting: bytes) -> str | None:
    """What the program is, by its first bytes; None for a server of this protocol."""
    if len(greeting) >= _GREETING_START and greeting[3] == 0 and greeting[4] in (0x0A, 0xFF):
        return None
    if greeting.startswith(b"\x05\x00\x00\x00\x0b"):
        return "the X protocol of MySQL, which has a port of its own (the ordinary protocol has 3306)"
    return speaker_of(greeting)


def _silence(target: Target, family: int, address: Any, until: float) -> ConfigurationError | TransientError:
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(max(until - time.monotonic(), 0.001))
        probe.connect(address)
        probe.sendall(_SSL_REQUEST_OF_POSTGRESQL)
        if probe.recv(1) in (b"S", b"N"):
            return _wrong_protocol(target, "a PostgreSQL server")
    return TransientError(
        ErrorCode.CONNECTION_TIMEOUT,
        f"{endpoint(target)} took the connection and then said nothing within "
        f"{target.connect_timeout_seconds:g} seconds, where the server speaks first.",
        remedy="Check that the port is that of the server and that the server is not overloaded.",
    )


def _wrong_protocol(target: Target, speaker: str) -> ConfigurationError:
    return wrong_protocol(endpoint(target), speaker, "MySQL or MariaDB")


def _addresses_of(target: Target, deadline: Deadline) -> list[tuple[int, Any]]:
    """The addresses of the host with their families, in the resolver's order."""
    if target.host.startswith("/"):
        return [(socket.AF_UNIX, target.host)]
    return addresses_of(target.host, target.port, deadline.until)
