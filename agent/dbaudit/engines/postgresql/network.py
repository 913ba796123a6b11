"""Where a server is on the network, and what it is that listens there when it is no PostgreSQL."""

from __future__ import annotations

import contextlib
import ipaddress
import queue
import socket
import threading
import time

from dbaudit.core.database import Target
from dbaudit.core.errors import ConfigurationError, ErrorCode, TransientError

GREETING_SECONDS = 0.5
"""How long a server that speaks first takes, at most, to do so."""


def addresses_of(target: Target, deadline: float) -> list[str | None]:
    """The addresses of the host in the resolver's order; None for a socket in the file system.

    Raises TransientError when the name server does not answer until ``deadline`` (of time.monotonic), and
    ConfigurationError when there is no such host.
    """
    if target.host.startswith("/"):
        return [None]
    with contextlib.suppress(ValueError):
        return [str(ipaddress.ip_address(target.host))]
    # A resolver that does not answer cannot be interrupted: it is left to its own thread.
    answer: queue.SimpleQueue[list[str | None] | OSError | UnicodeError] = queue.SimpleQueue()

    def resolve() -> None:
        try:
            found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
            answer.put(list(dict.fromkeys(str(entry[4][0]) for entry in found)))
        except (OSError, UnicodeError) as error:
            answer.put(error)

    threading.Thread(target=resolve, name="resolve", daemon=True).start()
    try:
        addresses = answer.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        raise TransientError(
            ErrorCode.CONNECTION_TIMEOUT, f"The name server did not answer for {target.host!r} in time."
        ) from None
    if isinstance(addresses, list):
        return addresses
    if isinstance(addresses, socket.gaierror) and addresses.errno == socket.EAI_AGAIN:
        raise TransientError(
            ErrorCode.HOST_NOT_FOUND, f"The name server could not say where {target.host!r} is just now."
        )
    raise ConfigurationError(
        ErrorCode.HOST_NOT_FOUND,
        f"There is no host {target.host!r}.",
        remedy="Check the field host, and the DNS.",
    )


def first_speaker(address: str, port: int, timeout_seconds: float) -> str | None:
    """What it is that listens, when it speaks first: PostgreSQL waits for its client."""
    try:
        with socket.create_connection((address, port), timeout_seconds) as probe:
            greeting = probe.recv(128)
    except OSError:
        return None
    if not greeting:
        return None
    if greeting.startswith(b"SSH-"):
        return "an SSH server"
    if len(greeting) > 5 and greeting[3] == 0 and greeting[4] in (0x0A, 0xFF):
        return "a MySQL or MariaDB server"
    if greeting.startswith((b"220", b"+OK", b"* OK")):
        return "a mail or file server"
    return "a server that speaks first"
