"""Decoding log records (placeholder of the skeleton)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dbaudit.engine.base import Decoded


def decode(records: Sequence[Any]) -> Decoded:
    raise NotImplementedError
