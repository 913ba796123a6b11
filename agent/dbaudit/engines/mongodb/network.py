"""Reaching a server's port, and finding out what listens there if it is not MongoDB."""

from __future__ import annotations

import contextlib
import socket
import struct
import time

from dbaudit.engine import network

GREETING_SECONDS = 0.3
"""How long to wait for a server of another kind that sends the first message."""

_LISTENING = "its net.bindIp"
_REQUEST_ID = 0x64626175
_OP_REPLY, _OP_MSG = 1, 2013
_HELLO = (
    b"\x21\x00\x00\x00\x10hello\x00\x01\x00\x00\x00\x02$db\x00\x06\x00\x00\x00admin\x00\x00"  # BSON, 33 bytes
)


def place_of(host: str, port: int) -> str:
    """A server as people write it, and as replica sets name their members."""
    if host.startswith("/"):
        return socket_path(host, port)
    return network.place_of(host, port)


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
                raise network.unreached(place, error, timeout_seconds, _LISTENING) from None
        return
    failure: OSError | None = None
    addresses = [str(address[0]) for _family, address in network.addresses_of(host, port, deadline)]
    for untried, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
        left = max(0.001, deadline - time.monotonic())
        try:
            socket.create_connection((address, port), left / untried).close()
        except OSError as error:
            failure = error
        else:
            return
    raise network.unreached(place, failure or OSError(), timeout_seconds, _LISTENING)


def other_speaker(host: str, port: int, timeout_seconds: float) -> str | None:
    """What listens there, if it answers MongoDB's greeting in another protocol; else None."""
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
    if answer.startswith((b"\x15\x03", b"\x16\x03")):
        return None  # TLS: MongoDB may be behind it
    return network.speaker_of(answer)
