"""What it is that listens at a port when it is no PostgreSQL."""

from __future__ import annotations

import socket

from dbaudit.engine.network import speaker_of

GREETING_SECONDS = 0.5
"""How long a server that speaks first takes, at most, to do so."""


def first_speaker(address: str, port: int, timeout_seconds: float) -> str | None:
    """What it is that listens, when it speaks first: PostgreSQL waits for its client."""
    try:
        with socket.create_connection((address, port), timeout_seconds) as probe:
            greeting = probe.recv(128)
    except OSError:
        return None
    return speaker_of(greeting)
