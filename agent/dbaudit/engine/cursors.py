"""Stored cursors, read back: in the engine's own form, or refused."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from dbaudit.core import typed
from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.engine.base import Cursor

_Form = TypeVar("_Form")


def understood(cursor: Cursor, form: type[_Form], version: int, source: str = "") -> _Form:
    """The position that a stored cursor holds.

    ``form`` is a msgspec.Struct with the field ``v``, and ``version`` the newest that is known of it.
    Raises ConfigurationError for a cursor of a newer version, or of anything else.
    """
    stored = cursor.get("v")
    if isinstance(stored, int) and stored > version:
        raise ConfigurationError(
            ErrorCode.CURSOR_INVALID,
            f"The stored cursor has the form {stored}, which this version of dbaudit does not know.",
            remedy="Upgrade dbaudit.",
        )
    if stored != version:
        raise not_ours(source)
    return converted(dict(cursor), form, source)


def converted(values: Any, form: type[_Form], source: str = "") -> _Form:
    """A part of a stored cursor, converted to ``form``. Raises ConfigurationError."""
    try:
        return typed.convert(values, form)
    except msgspec.ValidationError:
        raise not_ours(source) from None


def not_ours(source: str = "") -> ConfigurationError:
    """The error for a cursor of another engine, or of another source than ``source``."""
    return ConfigurationError(
        ErrorCode.CURSOR_INVALID,
        f"The stored cursor is not one of this engine's{f' {source}' if source else ''}.",
        remedy="Declare the database again, to start from the beginning.",
    )
