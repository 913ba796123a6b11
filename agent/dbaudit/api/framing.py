"""Requests of HTTP/1.1 (RFC 9112): what two servers in a row could read in two ways is refused."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

import msgspec

from dbaudit.core.errors import ErrorCode

MAX_HEAD_BYTES = 65_536
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e\x80-\xff]+) HTTP/([0-9])\.([0-9])")
_FIELD = re.compile(rb"(" + _TOKEN + rb"):([\t\x20-\x7e\x80-\xff]*)")
_TARGET = re.compile(rb"(?:[Hh][Tt][Tt][Pp][Ss]?://[^/?#]*)?(/[^?#]*)(?:\?([^#]*))?")
_HOST = re.compile(rb"[A-Za-z0-9._~:%!$&'()*+,;=\[\]-]*")
_DIGITS = re.compile(rb"[0-9]{1,15}")
_QUOTED_SLASH = re.compile(rb"(?i)%2F")
_ONCE = frozenset({b"AUTHORIZATION", b"CONTENT-LENGTH", b"CONTENT-TYPE", b"HOST", b"TRANSFER-ENCODING"})
_END_OF_HEAD = re.compile(rb"\r\n\r\n|(?<!\r)\n")


class Refusal(Exception):  # noqa: N818  # an answer, not a fault
    """A request that is answered with ``status`` before the application sees it; then the connection ends."""

    def __init__(self, status: int, code: ErrorCode, message: str, path: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.path = path


class Head(msgspec.Struct):
    """The request line and the header fields of a request.

    ``fields`` has the values by name in upper case. ``length`` is that of the body in bytes; None where it
    comes in chunks. ``path`` is decoded but for encoded slashes.
    """

    method: str
    target: str
    path: bytes
    query: bytes
    version: str
    fields: dict[bytes, bytes]
    length: int | None
    keep_alive: bool

    @property
    def expects_continue(self) -> bool:
        """Whether the client sends its body only after a word that it may."""
        return self.version == "HTTP/1.1" and self.fields.get(b"EXPECT", b"").lower() == b"100-continue"


def end_of_head(received: bytearray, start: int = 0) -> int:
    """The number of bytes up to and with the empty line that ends a head, or up to a line that is malformed;
    -1 while more bytes are needed. Searches from ``start`` on.
    """
    found = _END_OF_HEAD.search(received, start)
    return -1 if found is None else found.end()


def read_head(head: bytes, max_body_bytes: int) -> Head:
    """The head that ``head`` is, with its empty line. Raises Refusal."""
    if head.startswith(b"\r\n"):
        head = head[2:]  # RFC 9112, 2.2: one empty line before a request is passed over
    if not head.endswith(b"\r\n\r\n"):
        raise _malformed("Lines have to end with CR and LF.")
    line, *lines = head[:-4].split(b"\r\n")
    method, target, version = _request_line(line)
    path, query = _target(method, target)
    shown = path.decode("latin-1")
    fields = _fields(lines, shown)
    host = fields.get(b"HOST")
    if host is None and version == "HTTP/1.1":
        raise _malformed("The header Host is missing.", shown)
    if host is not None and not _HOST.fullmatch(host):
        raise _malformed("The header Host is malformed.", shown)
    length = _length(fields, version, shown)
    if length is not None and length > max_body_bytes:
        message = f"The body has more than {max_body_bytes} bytes."
        raise Refusal(413, ErrorCode.PAYLOAD_TOO_LARGE, message, shown)
    options = {option.strip().lower() for option in fields.get(b"CONNECTION", b"").split(b",")}
    keep_alive = b"close" not in options and (version == "HTTP/1.1" or b"keep-alive" in options)
    return Head(method.decode(), target.decode("latin-1"), path, query, version, fields, length, keep_alive)


def too_long(head: bytearray) -> Refusal:
    """Why a head that has more than ``MAX_HEAD_BYTES`` is refused."""
    line = bytes(head.partition(b"\r\n")[0])
    if len(line) >= MAX_HEAD_BYTES:
        return Refusal(414, ErrorCode.URI_TOO_LONG, f"The URI has more than {MAX_HEAD_BYTES} bytes.")
    target = [*line.split(b" "), b""][1].partition(b"?")[0]
    message = f"The headers have more than {MAX_HEAD_BYTES} bytes."
    return Refusal(431, ErrorCode.HEADERS_TOO_LARGE, message, target.decode("latin-1"))


def _request_line(line: bytes) -> tuple[bytes, bytes, str]:
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        raise _malformed("The request line is malformed.")
    method, target, major, minor = found.groups()
    if major != b"1" or minor not in (b"0", b"1"):
        raise Refusal(505, ErrorCode.HTTP_VERSION_NOT_SUPPORTED, "Use HTTP/1.1.")
    return method, target, f"HTTP/1.{minor.decode()}"


def _target(method: bytes, target: bytes) -> tuple[bytes, bytes]:
    if method == b"CONNECT":
        raise Refusal(405, ErrorCode.METHOD_NOT_ALLOWED, "This is no proxy.")
    if method == b"OPTIONS" and target == b"*":
        return b"*", b""
    found = _TARGET.fullmatch(target)
    if found is None:
        raise _malformed("The target of the request is malformed.")
    path, query = found.groups(b"")
    if b"%" in path:
        path = b"%2F".join(unquote_to_bytes(part) for part in _QUOTED_SLASH.split(path))
    return path, query


def _fields(lines: list[bytes], path: str) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = {}
    for line in lines:
        found = _FIELD.fullmatch(line)
        if found is None:
            raise _malformed("A header field is malformed.", path)
        name = found[1].upper()
        if b"_" in name:
            continue  # in WSGI it would be taken for the field with a hyphen
        value = found[2].strip(b" \t")
        if name not in fields:
            fields[name] = value
        elif name in _ONCE:
            raise _malformed(f"The header field {name.decode().title()} is given twice.", path)
        else:
            fields[name] += b", " + value
    return fields


def _length(fields: dict[bytes, bytes], version: str, path: str) -> int | None:
    length, coding = fields.get(b"CONTENT-LENGTH"), fields.get(b"TRANSFER-ENCODING")
    if coding is None:
        if length is None:
            return 0
        if not _DIGITS.fullmatch(length):
            raise _malformed("The length of the body is not clear.", path)
        return int(length)
    if length is not None:
        raise _malformed("The length of the body is not clear.", path)
    if version != "HTTP/1.1":
        raise _malformed("A transfer coding needs HTTP/1.1.", path)
    if coding.lower() != b"chunked":
        raise Refusal(501, ErrorCode.MALFORMED_REQUEST, "Of transfer codings only chunked is known.", path)
    return None


def _malformed(message: str, path: str = "") -> Refusal:
    return Refusal(400, ErrorCode.MALFORMED_REQUEST, message, path)
