"""Answers in JSON."""

from __future__ import annotations

from typing import Any

import msgspec
from flask import Response

_encode = msgspec.json.Encoder().encode


def json_answer(value: Any, status: int = 200) -> Response:
    """``value`` as JSON; what msgspec can encode."""
    return Response(_encode(value), status, mimetype="application/json")
