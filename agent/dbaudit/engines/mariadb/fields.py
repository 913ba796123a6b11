"""The fields of a record of server_audit: from bytes to what an event has."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from functools import lru_cache, partial

_LARGEST_PORT = 65535
_NO_PORT = ":unavailable"
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED_BYTES = re.compile(rb"\\(.)", re.DOTALL)
_UNESCAPED = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "0": "\0"}
SHORT_BYTES = 64
"""Shorter statements come often, and are remembered."""
_LAST_LETTER = re.compile(rb"[\xc2-\xf4][\x80-\xbf]{0,2}\Z")

Address = tuple[str | None, int | None, str | None]


@lru_cache(maxsize=10_000)
def name(raw: bytes) -> str:
    """A name; bytes that are not UTF-8, such as letters of a client that writes latin1, stay as `\\xe9`."""
    return raw.decode("utf-8", "backslashreplace")


@lru_cache(maxsize=10_000)
def database_name(raw: bytes) -> str | None:
    """The database; None if the column is empty or holds a message of the server.

    While the general log is on, a database that is denied to a user leaves the message of that here, in the
    language of the session: "Access denied for user 'lim'@'10.0.0.7' to database 'shop'".
    """
    return None if is_message(raw) else name(raw) or None


def is_message(raw: bytes) -> bool:
    """Whether the column of the database has an error message."""
    return b"'@'" in raw


@lru_cache(maxsize=10_000)
def session(connection: bytes) -> str:
    """The connection's id: server_audit writes an unsigned number as if it had a sign."""
    number = int(connection)
    return str(number + (1 << 32) if number < 0 else number)


def addresses(has_port: bool | None) -> Callable[[bytes], Address]:
    """A function that returns address, port and name of a client: from MariaDB 12 on the port follows the
    host, without brackets around an address of IPv6. ``has_port`` says whether the server is one of them,
    None where that is not known.
    """
    return _ADDRESSES[has_port]


def _address(has_port: bool | None, host: bytes) -> Address:
    text = host.decode("utf-8", "backslashreplace").removesuffix(_NO_PORT)
    if not text:
        return None, None, None
    place, port = _parted(text)
    alone = _is_address(text)
    if alone and not (port is not None and _is_address(place) and (has_port or place == "::1")):
        return str(ipaddress.ip_address(text)), None, None
    if port is None or not place:
        return None, None, text
    if _is_address(place.strip("[]")):
        return str(ipaddress.ip_address(place.strip("[]"))), port, None
    return None, port, place


_ADDRESSES = {flag: lru_cache(maxsize=10_000)(partial(_address, flag)) for flag in (None, False, True)}


def _parted(text: str) -> tuple[str, int | None]:
    place, _colon, digits = text.rpartition(":")
    written = digits.isdecimal() and len(digits) <= 5 and not digits.startswith("0")
    port = int(digits) if written and int(digits) <= _LARGEST_PORT else None
    return place, port


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def statement(text: bytes, cut_at: int) -> str:
    """The text of a statement, which the server escapes, and cuts perhaps inside a letter at ``cut_at``."""
    try:
        query = text.decode()
    except UnicodeDecodeError:
        return _of_other_letters(text, is_cut=len(text) >= cut_at)
    return _ESCAPED.sub(_unescaped, query) if "\\" in query else query


@lru_cache(maxsize=10_000)
def short_statement(text: bytes) -> str:
    """The text of a statement of fewer than SHORT_BYTES that the server did not cut."""
    return statement(text, len(text) + 1)


def _of_other_letters(text: bytes, *, is_cut: bool) -> str:
    """Unescaped before bytes that are not UTF-8 get a backslash of their own."""
    if is_cut:
        whole = _LAST_LETTER.sub(b"", text)
        try:
            return _ESCAPED.sub(_unescaped, whole.decode())
        except UnicodeDecodeError:
            pass
    raw = _ESCAPED_BYTES.sub(lambda found: _unescaped_bytes(found[1]), text)
    return raw.decode("utf-8", "backslashreplace")


def _unescaped(found: re.Match[str]) -> str:
    letter = found[1]
    return _UNESCAPED.get(letter, letter)


def _unescaped_bytes(letter: bytes) -> bytes:
    known = _UNESCAPED.get(letter.decode("latin-1"))
    return letter if known is None else known.encode()
