"""Reaching a server's port, and what it is that listens there when it is no MongoDB."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import queue
import socket
import struct
import threading
import time

from dbaudit.core.errors import ConfigurationError, DbauditError, ErrorCode, TransientError

GREETING_SECONDS = 0.3
"""How long a server that speaks first takes, at most, to do so."""

_REQUEST_ID = 0x64626175
_OP_REPLY, _OP_MSG = 1, 2013
_HELLO = (
    b"\x21\x00\x00\x00\x10hello\x00\x01\x00\x00\x00\x02$db\x00\x06\x00\x00\x00admin\x00\x00"  # BSON, 33 bytes
)


def place_of(host: str, port: int) -> str:
    """A server as people write it, and as replica sets name their members."""
    if host.startswith("/"):
        return socket_path(host, port)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def socket_path(host: str, port: int) -> str:
    """The Unix socket in the folder ``host``, or ``host`` where it is one."""
    return host if host.endswith(".sock") else f"{host}/mongodb-{port}.sock"


def check_reachable(host: str, port: int, timeout_seconds: float) -> None:
    """Open a connection to the port and close it again.

    Raises ConfigurationError where there is no such host, TransientError where nothing answers.
    """
    deadline = time.monotonic() + timeout_seconds
    place = place_of(host, port)
    if host.startswith("/"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(timeout_seconds)
            try:
                probe.connect(socket_path(host, port))
            except OSError as error:
                raise _unreachable(place, error, timeout_seconds) from None
        return
    failure: OSError | None = None
    addresses = _addresses(host, port, deadline)
    for untried, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
        left = max(0.001, deadline - time.monotonic())
        try:
            socket.create_connection((address, port), left / untried).close()
        except OSError as error:
            failure = error
        else:
            return
    raise _unreachable(place, failure or OSError(errno.EHOSTUNREACH, ""), timeout_seconds)


def other_speaker(host: str, port: int, timeout_seconds: float) -> str | None:
    """What it is that listens, where it answers a greeting of MongoDB in another language; else None."""
    if host.startswith("/"):
        return None
    try:
        with socket.create_connection((host, port), timeout_seconds) as probe:
            probe.settimeout(min(GREETING_SECONDS, timeout_seconds))
            with contextlib.suppress(TimeoutError):
                return _named(probe.recv(128))
            message = struct.pack("<iiii", 21 + len(_HELLO), _REQUEST_ID, 0, _OP_MSG) + bytes(5) + _HELLO
            probe.sendall(message)
            probe.settimeout(timeout_seconds)
            return _named(probe.recv(128))
    except OSError:
        return None


def _named(answer: bytes) -> str | None:
    if not answer:
        return None
    if len(answer) >= 16:
        length, _id, response_to, code = struct.unpack("<iiii", answer[:16])
        if response_to == _REQUEST_ID and code in (_OP_REPLY, _OP_MSG) and length > 16:
            return None
    if answer.startswith(b"SSH-"):
        return "an SSH server"
    if len(answer) > 5 and answer[3] == 0 and answer[4] in (0x0A, 0xFF):
        return "a MySQL or MariaDB server"
    if answer.startswith(b"HTTP/"):
        return "an HTTP server"
    if answer.startswith((b"-ERR", b"-DENIED", b"-NOAUTH")):
        return "a Redis server"
    if answer.startswith((b"E\x00\x00", b"EFATAL")):
        return "a PostgreSQL server"
    if answer.startswith((b"\x15\x03", b"\x16\x03")):
        return None  # TLS: MongoDB may be behind it
    if answer.startswith((b"220", b"+OK", b"* OK")):
        return "a mail or file server"
    return "a server of another protocol"


def _addresses(host: str, port: int, deadline: float) -> list[str]:
    with contextlib.suppress(ValueError):
        return [str(ipaddress.ip_address(host))]
    # A resolver that does not answer cannot be interrupted: it is left to its own thread.
    answer: queue.SimpleQueue[list[str] | OSError | UnicodeError] = queue.SimpleQueue()

    def resolve() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answer.put(list(dict.fromkeys(str(entry[4][0]) for entry in found)))
        except (OSError, UnicodeError) as error:
            answer.put(error)

    threading.Thread(target=resolve, name="resolve", daemon=True).start()
    try:
        addresses = answer.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        raise TransientError(
            ErrorCode.CONNECTION_TIMEOUT, f"The name server did not answer for {host!r} in time."
        ) from None
    if isinstance(addresses, list):
        return addresses
    if isinstance(addresses, socket.gaierror) and addresses.errno == socket.EAI_AGAIN:
        raise TransientError(
            ErrorCode.HOST_NOT_FOUND, f"The name server could not say where {host!r} is just now."
        )
    raise ConfigurationError(
        ErrorCode.HOST_NOT_FOUND,
        f"There is no host {host!r}.",
        remedy="Check the field host, and the DNS.",
    )


def _unreachable(place: str, error: OSError, timeout_seconds: float) -> DbauditError:
    if isinstance(error, TimeoutError) or error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return TransientError(
            ErrorCode.CONNECTION_TIMEOUT,
            f"{place} did not answer within {timeout_seconds:g} seconds.",
            remedy="Check host, port, routes and firewalls.",
        )
    return TransientError(
        ErrorCode.CONNECTION_REFUSED,
        f"Nothing listens on {place}, or a firewall refuses the connection.",
        remedy="Check host and port, that the server runs, and its net.bindIp.",
    )
