"""Answers in JSON."""

from __future__ import annotations

from typing import Any

import msgspec
from flask import Response

from dbaudit.api.answer_cache import Kept

_encode = msgspec.json.Encoder().encode


def json_bytes(value: Any) -> bytes:
    """``value`` as JSON; what msgspec can encode."""
    return _encode(value)


def kept_answer(kept: Kept) -> Response:
    """An answer that may have been kept."""
    answer = Response(kept.body, 200, mimetype="application/json")
    if kept.etag is not None:
        answer.headers["ETag"] = kept.etag
    return answer


def json_answer(value: Any, status: int = 200) -> Response:
    """``value`` as JSON; what msgspec can encode."""
    return Response(_encode(value), status, mimetype="application/json")
