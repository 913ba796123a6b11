"""Addresses of clients, as the log writes them."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

_LARGEST_PORT = 65535


@lru_cache(maxsize=4096)
def is_address(text: str) -> bool:
    """Whether a text is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def split_remote(remote: str | None) -> tuple[str | None, int | None]:
    """IP and port of ``10.0.0.7:51514`` or ``[::1]:51514``; None for a Unix socket or anything else."""
    if not remote:
        return None, None
    host, colon, port = remote.rpartition(":")
    if not colon or not port.isdecimal() or not port.isascii() or len(port) > 5 or int(port) > _LARGEST_PORT:
        host, port = remote, ""
    if host.startswith("["):
        host = host[1:].removesuffix("]")
    return (host, int(port) if port else None) if is_address(host) else (None, None)


def endpoint_of(ip: object, port: object) -> tuple[str | None, int | None]:
    """IP and port from the fields of an audit record; None for a field of another type."""
    if not isinstance(ip, str) or not is_address(ip):
        return None, None
    return ip, port if isinstance(port, int) and 0 <= port <= _LARGEST_PORT else None
