"""Reaching a server over the network: its addresses, why it is not reached, and what else answers there."""

from __future__ import annotations

import contextlib
import ipaddress
import queue
import socket
import threading
import time
from typing import Any

from dbaudit.core.errors import ConfigurationError, DbauditError, ErrorCode, TransientError

CHECK_HOST_AND_PORT = "Check host and port."


def place_of(host: str, port: int) -> str:
    """A server on the network as people write it, such as ``db.example:5432`` or ``[::1]:5432``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_this_host(host: str) -> bool:
    """Whether a connection to ``host`` (a name, an address, the path of a socket) never leaves this host."""
    if host.startswith("/") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def addresses_of(host: str, port: int, deadline: float) -> list[tuple[int, Any]]:
    """The addresses of a host, each a family and what ``socket.connect`` takes, in the resolver's order.

    Raises TransientError when the name server does not answer until ``deadline`` (of time.monotonic), and
    ConfigurationError when there is no such host.
    """
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        return [(socket.AF_INET6 if address.version == 6 else socket.AF_INET, (str(address), port))]
    # A resolver that does not answer cannot be interrupted: it is left to its own thread.
    answer: queue.SimpleQueue[list[tuple[int, Any]] | OSError | UnicodeError] = queue.SimpleQueue()

    def resolve() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answer.put(list(dict.fromkeys((int(entry[0]), entry[4]) for entry in found)))
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
    raise unknown_host(host, addresses)


def unknown_host(host: str, error: OSError | UnicodeError) -> DbauditError:
    """The error for a failed look-up of a name: no such host, or no answer just now (EAI_AGAIN)."""
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
        return TransientError(
            ErrorCode.HOST_NOT_FOUND, f"The name server could not say where {host!r} is just now."
        )
    return ConfigurationError(
        ErrorCode.HOST_NOT_FOUND,
        f"There is no host {host!r}.",
        remedy="Check the field host, and the DNS.",
    )


def unreached(place: str, error: OSError, timeout_seconds: float, listening: str) -> TransientError:
    """The error for a failed connection to ``place``.

    ``listening`` is the setting by which the server listens there, such as ``its bind_address``.
    """
    if isinstance(error, TimeoutError):
        return TransientError(
            ErrorCode.CONNECTION_TIMEOUT,
            f"{place} did not answer within {timeout_seconds:g} seconds.",
            remedy="Check host, port, routes and firewalls.",
        )
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):
        return TransientError(
            ErrorCode.CONNECTION_REFUSED,
            f"Nothing listens on {place}, or a firewall refuses the connection.",
            remedy=f"Check host and port, that the server runs, and {listening}.",
        )
    return TransientError(
        ErrorCode.CONNECTION_TIMEOUT,
        f"{place} cannot be reached: {error.strerror or 'the network failed'}.",
        remedy="Check host, routes and firewalls.",
    )


def wrong_protocol(place: str, speaker: str, wanted: str) -> ConfigurationError:
    """The error that at ``place`` not ``wanted`` answers, but ``speaker``."""
    return ConfigurationError(
        ErrorCode.WRONG_PROTOCOL,
        f"What listens on {place} is {speaker}, not {wanted}.",
        remedy=CHECK_HOST_AND_PORT,
    )


def speaker_of(heard: bytes) -> str | None:
    """The kind of server whose first bytes are ``heard``; None if it sent nothing."""
    if not heard:
        return None
    if heard.startswith(b"SSH-"):
        return "an SSH server"
    if heard.startswith(b"HTTP/"):
        return "a web server"
    if len(heard) > 5 and heard[3] == 0 and heard[4] in (0x0A, 0xFF):
        return "a MySQL or MariaDB server"
    if heard.startswith((b"-ERR", b"-DENIED", b"-NOAUTH")):
        return "a Redis server"
    if heard.startswith((b"E\x00\x00", b"EFATAL")):
        return "a PostgreSQL server"
    if heard.startswith((b"220", b"+OK", b"* OK")):
        return "a mail or file server"
    return "a server of another protocol"
