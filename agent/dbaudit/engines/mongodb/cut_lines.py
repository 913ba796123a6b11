"""The attributes of a line of the server's log, also of one that getLog has cut."""

from __future__ import annotations

from typing import Any

import msgspec

from dbaudit.core import typed
from dbaudit.engines.mongodb.commands import without_session
from dbaudit.engines.mongodb.counts import Counts, wrote

_CLOSERS = {"{": "}", "[": "]"}
_COMMAND = '"command":'
_decode_any = typed.decoder(dict[str, Any])


class Attributes(msgspec.Struct, gc=False):
    """The attributes that are used, of all kinds of lines; ``cut_command`` is the beginning of a command."""

    remote: str | None = None
    client: str | None = None
    connection_id: int | None = msgspec.field(default=None, name="connectionId")
    early_connection_id: int | None = msgspec.field(default=None, name="sessionId")
    uuid: Any = None
    doc: dict[str, Any] = {}
    mechanism: str | None = None
    principal_name: str | None = msgspec.field(default=None, name="principalName")
    user: Any = None
    authentication_database: str | None = msgspec.field(default=None, name="authenticationDatabase")
    db: str | None = None
    error: Any = None
    result: Any = None
    ns: str | None = None
    application: str | None = msgspec.field(default=None, name="appName")
    type: str | None = None
    command: msgspec.Raw = msgspec.Raw(b"")
    error_code: int | None = msgspec.field(default=None, name="errCode")
    error_name: str | None = msgspec.field(default=None, name="errName")
    duration_ms: float | None = msgspec.field(default=None, name="durationMillis")
    returned: int | None = msgspec.field(default=None, name="nreturned")
    inserted: int | None = msgspec.field(default=None, name="ninserted")
    modified: int | None = msgspec.field(default=None, name="nModified")
    upserted: int | None = msgspec.field(default=None, name="nUpserted")
    has_upserted: bool = msgspec.field(default=False, name="upsert")
    deleted: int | None = msgspec.field(default=None, name="ndeleted")
    reply_bytes: int | None = msgspec.field(default=None, name="reslen")
    locks: msgspec.Raw = msgspec.Raw(b"")
    cut_command: str | None = None

    @property
    def user_name(self) -> str | None:
        """Later servers name the user here."""
        return self.user if isinstance(self.user, str) else None

    def command_text(self) -> str | None:
        """The command as JSON; only its beginning where the line is cut."""
        if self.cut_command is not None:
            return self.cut_command
        text = bytes(self.command).decode(errors="replace")
        return without_session(text) or None

    def operation(self) -> str | None:
        """The name of the command; of a part of an update or a delete, that of the line's type."""
        text = self.command_text() or ""
        start = text.find('"')
        end = text.find('"', start + 1)
        name = text[start + 1 : end] if 0 <= start < end else ""
        return self.type if name in ("", "q") else name

    def rows(self) -> int | None:
        """How many documents the statement changed, or else returned."""
        upserted = 1 if self.has_upserted and self.upserted is None else self.upserted
        return Counts(self.returned, self.inserted, self.modified, upserted, self.deleted).rows()

    def wrote(self) -> bool | None:
        """Whether the statement wrote, by its locks; None where they are not there."""
        try:
            return wrote(_decode_any(self.locks)) if self.locks else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None


def attributes_of_cut(text: str) -> Attributes:
    """The complete attributes of a text whose end is missing."""
    start = text.find(_COMMAND)
    command = text[start + len(_COMMAND) :] if start >= 0 else None
    try:
        found = _decode_any(mended(text))
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        found = {}
    for name in ("command", "locks"):
        found.pop(name, None)
    known = {name: value for name, value in found.items() if name in _NAMES}
    for name in tuple(known):
        try:
            typed.convert({name: known[name]}, Attributes)
        except msgspec.ValidationError:
            del known[name]
    attributes = typed.convert(known, Attributes)
    attributes.cut_command = command
    return attributes


def mended(text: str) -> str:
    """JSON that was cut, without its last value that is not whole, and with every bracket closed.

    >>> mended('{"a": [1, {"b": "c", "d": "e')
    '{"a": [1, {"b": "c"}]}'
    """
    stack: list[str] = []
    kept = ""
    end = position = 0
    while position < len(text):
        character = text[position]
        if character == '"':
            position += 1
            while position < len(text) and text[position] != '"':
                position += 2 if text[position] == "\\" else 1
        elif character in _CLOSERS:
            stack.append(_CLOSERS[character])
            end, kept = position + 1, "".join(reversed(stack))
        elif character in "}]":
            if not stack or stack.pop() != character:
                break
            end, kept = position + 1, "".join(reversed(stack))
            if not stack:
                break
        elif character == ",":
            end, kept = position, "".join(reversed(stack))
        position += 1
    return text[:end] + kept


_NAMES = frozenset(field.encode_name for field in msgspec.structs.fields(Attributes)) - {
    "cut_command",
    "command",
    "locks",
}
