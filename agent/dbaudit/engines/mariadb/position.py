"""Where reading goes on: the cursor of this engine."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.engine.base import Cursor
from dbaudit.engines.mariadb.options import AuditSource

_CURSOR_VERSION = 1
_Form = TypeVar("_Form")


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """A place in one source; ``place`` has the form of that source.

    ``writes_failed`` is how many records server_audit had failed to write when it was asked last.
    """

    v: int = _CURSOR_VERSION
    source: AuditSource
    place: dict[str, Any]
    writes_failed: int | None = None

    def cursor(self) -> Cursor:
        """As JSON values."""
        cursor: dict[str, Any] = msgspec.to_builtins(self)
        return cursor


def understood(cursor: Cursor) -> Position:
    """The position that a stored cursor holds. Raises ConfigurationError for one of another engine."""
    version = cursor.get("v")
    if isinstance(version, int) and version > _CURSOR_VERSION:
        raise ConfigurationError(
            ErrorCode.CURSOR_INVALID,
            f"The stored cursor has the form {version}, which this version of dbaudit does not know.",
            remedy="Upgrade dbaudit.",
        )
    position = converted(cursor, Position)
    if position.v != _CURSOR_VERSION or position.source is AuditSource.AUTO:
        raise not_ours()
    return position


def converted(values: Any, form: type[_Form]) -> _Form:
    """A part of a stored cursor in its form. Raises ConfigurationError."""
    try:
        return msgspec.convert(values, form)
    except msgspec.ValidationError:
        raise not_ours() from None


def not_ours() -> ConfigurationError:
    return ConfigurationError(
        ErrorCode.CURSOR_INVALID,
        "The stored cursor is not one of this engine's.",
        remedy="Declare the database anew, to begin again.",
    )
