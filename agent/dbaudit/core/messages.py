"""Servers' messages about statements: the fields of an event's detail that can hold values of users."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from dbaudit.core.dialects.names import Dialect
from dbaudit.core.event import EventType
from dbaudit.core.statements import MASK, mask, remove_passwords

_OF_LOG_INS = frozenset({EventType.LOGIN_FAILED, EventType.LOGIN_SUCCESS, EventType.DISCONNECT})
_OPENING_QUOTE = re.compile("[\"'`\u00ab\u00bb\u201c-\u201e\u2018-\u201a\u300c\u300e]")
_PASSWORD_WAS_USED = re.compile(r"\(using password: (?:YES|NO)\)\Z")
_VALUE_AT_START = re.compile(r"^-?[0-9][\w.+-]*")
_VALUE_IN_BRACKETS = re.compile(r"(\b(?:value|values)\b[^()]{0,40}\().*\)", re.DOTALL)


def protect_detail(
    detail: dict[str, Any], kind: EventType, dialect: Dialect, *, masked: bool
) -> dict[str, Any]:
    """``detail`` of an event of ``kind`` without passwords, and with ``masked`` without values of users.

    Names stay: who it was, which database and which parameter it was about.

    >>> protect_detail({"message": 'invalid value for parameter "work_mem": "tiger"'}, EventType.LOGIN_FAILED,
    ...                Dialect.POSTGRESQL, masked=True)
    {'message': 'invalid value for parameter "work_mem": ?'}
    """
    if _FIELDS.keys().isdisjoint(detail):
        return detail
    changed = {}
    for key, protect in _FIELDS.items():
        value = detail.get(key)
        if isinstance(value, str):
            shown = protect(value, kind, dialect) if masked else _without_passwords(value, dialect)
            if shown != value:
                changed[key] = shown
    return {**detail, **changed} if changed else detail


def _message(text: str, kind: EventType, dialect: Dialect) -> str:
    if dialect is Dialect.POSTGRESQL:
        # The value is the last thing in a message, behind a colon, or the first one, a number.
        said, colon, _value = text.partition(": ")
        return _VALUE_AT_START.sub(MASK, said) + (colon and f": {MASK}")
    if kind in _OF_LOG_INS:
        return _without_passwords(text, dialect)  # names in quotes, and what the server says of them
    return _VALUE_IN_BRACKETS.sub(rf"\1{MASK})", mask(text, dialect))


def _without_passwords(text: str, dialect: Dialect) -> str:
    """What MySQL ends a refusal with, "(using password: YES)", is no password."""
    said = _PASSWORD_WAS_USED.search(text)
    end = said.start() if said else len(text)
    return remove_passwords(text[:end], dialect) + text[end:]


def _context(text: str, _kind: EventType, _dialect: Dialect) -> str:
    """Where it happened: each line up to what it quotes, which may be a statement over many lines."""
    quote = _OPENING_QUOTE.search(text)
    return text if quote is None else f"{text[: quote.start()]}{MASK}"


def _like_a_statement(text: str, _kind: EventType, dialect: Dialect) -> str:
    return mask(text, dialect)


def _whole(_text: str, _kind: EventType, _dialect: Dialect) -> str:
    return MASK


_FIELDS: dict[str, Callable[[str, EventType, Dialect], str]] = {
    "message": _message,
    "context": _context,
    "argument": _like_a_statement,
    "additional_info": _like_a_statement,
    "data_pump_parameters": _like_a_statement,
    "vault_factors": _like_a_statement,
    "user_defined": _whole,
}
