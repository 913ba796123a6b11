"""What listens at a port when it is no Oracle listener."""

from __future__ import annotations

import socket
import time

from dbaudit.engine.network import speaker_of

PROBE_SECONDS = 1.0

# A packet of the network layer (TNS): length, checksum, type, flags, checksum. The types are those that a
# listener may answer a connect packet with: accept, refuse, redirect, resend.
_CONNECT_DATA = b"(DESCRIPTION=(CONNECT_DATA=(COMMAND=ping)))"
_CONNECT = (
    (58 + len(_CONNECT_DATA)).to_bytes(2, "big")
    + bytes.fromhex("0000 01 00 0000 013c 012c 0c41 2000 7fff 7f08 0000 0001")
    + len(_CONNECT_DATA).to_bytes(2, "big")
    + bytes.fromhex("003a 00000000 4141 0000 0000 0000 0000 0000 0000 0000 0000 0000")
    + _CONNECT_DATA
)
_ANSWERS = frozenset({2, 4, 5, 11})


def what_answers(host: str, port: int, timeout_seconds: float) -> str | None:
    """What it is that listens: None for an Oracle listener, or where it says nothing by which it is known."""
    heard = _heard(host, port, timeout_seconds)
    if len(heard) < 8 or (heard[4] in _ANSWERS and 8 <= int.from_bytes(heard[:2], "big") <= 4096):
        return "a server that wants TLS" if heard[:1] == b"\x15" else None
    return speaker_of(heard)


def _heard(host: str, port: int, timeout_seconds: float) -> bytes:
    deadline = time.monotonic() + timeout_seconds
    try:
        with socket.create_connection((host, port), timeout_seconds) as probe:
            probe.settimeout(timeout_seconds / 4)
            try:
                # A server that speaks first would take our packet for an answer.
                return probe.recv(128)
            except TimeoutError:
                probe.sendall(_CONNECT)
                probe.settimeout(max(0.01, deadline - time.monotonic()))
                return probe.recv(128)
    except OSError:
        return b""
