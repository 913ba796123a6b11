"""Runs an application of WSGI (PEP 3333) for one request, and makes the bytes of its answer."""

from __future__ import annotations

import functools
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, TypeAlias

import msgspec

from dbaudit.api.arriving import ArrivingBody
from dbaudit.api.connection import Connection
from dbaudit.api.errors import error_body
from dbaudit.api.framing import Head, Refusal
from dbaudit.api.visit import VISIT

Application: TypeAlias = Callable[..., Iterable[bytes]]
_WITHOUT_BODY = ("1", "204", "304")


class _Input:
    """What has arrived of a body, from its beginning."""

    def __init__(self, body: ArrivingBody) -> None:
        self._body = body
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        end = len(self._body.content) if size < 0 else self._at + size
        data = bytes(memoryview(self._body.content)[self._at : end])
        self._at += len(data)
        return data


def answer_of(
    app: Application, connection: Connection, head: Head, port: int, *, last: bool
) -> tuple[bytes, bool]:
    """The answer of ``app``, and whether the connection ends after it, as it does with ``last``. Lets
    HandedBack pass.
    """
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        started[:] = [(status, headers)]

    result = app(_environment(connection, head, port), start_response)
    try:
        content = b"".join(result)
    finally:
        if hasattr(result, "close"):
            result.close()
    status, headers = started[0]
    ends = last or not head.keep_alive or not connection.body.whole
    lines = [f"HTTP/1.1 {status}"]
    has_length = False
    for name, value in headers:
        has_length = has_length or name.lower() == "content-length"
        lines.append(f"{name}: {value}")
    if not has_length and head.method != "HEAD" and not status.startswith(_WITHOUT_BODY):
        lines.append(f"Content-Length: {len(content)}")
    if ends:
        lines.append("Connection: close")
    elif head.version == "HTTP/1.0":
        lines.append("Connection: keep-alive")
    lines.append(f"Date: {_date(int(time.time()))}\r\nServer: dbaudit\r\n\r\n")
    return "\r\n".join(lines).encode("latin-1") + content, ends


def answer_to(refusal: Refusal) -> bytes:
    """The answer to a request that the application does not see, in the form of all errors."""
    request_id = uuid.uuid4().hex
    body = msgspec.json.encode(error_body(refusal.code, refusal.message, request_id, path=refusal.path))
    head = (
        f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"X-Request-Id: {request_id}\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"
        f"Connection: close\r\nDate: {_date(int(time.time()))}\r\nServer: dbaudit\r\n\r\n"
    )
    return head.encode("latin-1") + body


def _environment(connection: Connection, head: Head, port: int) -> dict[str, Any]:
    fields = {_variable(name): value.decode("latin-1") for name, value in head.fields.items()}
    return fields | {
        "REQUEST_METHOD": head.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": head.path.decode("latin-1"),
        "QUERY_STRING": head.query.decode("latin-1"),
        "REQUEST_URI": head.target,
        "REMOTE_ADDR": connection.address[0],
        "REMOTE_PORT": str(connection.address[1]),
        "SERVER_NAME": "dbaudit",
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": head.version,
        "SERVER_SOFTWARE": "dbaudit",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https" if connection.is_secure else "http",
        "wsgi.input": _Input(connection.body),
        "wsgi.input_terminated": head.length is None,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        VISIT: connection.visit,
    }


@functools.lru_cache(256)
def _variable(name: bytes) -> str:
    variable = name.decode().replace("-", "_")
    return variable if variable in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{variable}"


@functools.lru_cache(2)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
