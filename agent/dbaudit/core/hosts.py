"""Host names, IP addresses and paths of unix sockets as they are written in a declaration."""

from __future__ import annotations

import ipaddress
import posixpath
import re

_LONGEST_NAME = 253
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_DIGITS_AND_DOTS = re.compile(r"[0-9.]+")
_ADDRESS = re.compile(r"[A-Za-z0-9_.:%-]+")


def is_host(text: str) -> bool:
    """Whether ``text`` is a host name, or an IPv4 or IPv6 address, without port and brackets."""
    if len(text) > _LONGEST_NAME or not _ADDRESS.fullmatch(text):
        return False
    name = text.lower()
    return _address(text) is not None or (
        _NAME.fullmatch(name) is not None and not _DIGITS_AND_DOTS.fullmatch(name)
    )


def normal_host(text: str) -> str:
    """The one way of writing a host, or the path of a socket, so that the same one is recognised."""
    if text.startswith("/"):
        return "/" + posixpath.normpath(text).lstrip("/")
    return _address(text) or text.lower()


def _address(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
