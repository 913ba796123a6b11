"""The payload of pgaudit's records: `AUDIT:
TYPE,id,sub,CLASS,COMMAND,OBJECT_TYPE,OBJECT,STATEMENT,PARAMETERS[,ROWS]`.

A field is in quotes only where it holds a comma, a quote or a line break (pgaudit.c, append_valid_csv);
inside csvlog the whole is quoted once more.
"""

from __future__ import annotations

import csv

import msgspec

PREFIX = "AUDIT: "
REDACTED = "<REDACTED>"
"""Stands for a password and all that follows it."""
_NOT_LOGGED = "<not logged>"
_OBJECT = f"{PREFIX}OBJECT"
WITHOUT_TEXT = frozenset({"", _NOT_LOGGED, "<previously logged>", "<none>"})
_QUOTED_END = f'",{_NOT_LOGGED}'
_PLAIN_END = f",{_NOT_LOGGED}"


class Audited(msgspec.Struct, gc=False):
    """The fields of one record; texts that pgaudit leaves out are None."""

    object_audit: bool
    statement_id: str
    substatement_id: str
    command_class: str
    command: str
    object_name: str | None
    statement: str | None
    parameters: tuple[str | None, ...] | None
    rows: int | None


def parse(message: str) -> Audited:
    """Read a message that starts with ``AUDIT: ``. Raises ValueError for one that pgaudit does not write."""
    kind, statement_id, substatement_id, command_class, command, object_type, object_name, rest = (
        message.split(",", 7)
    )
    if not rest.endswith(_PLAIN_END):
        return _parse_carefully(message)
    object_text = None
    if object_name:
        if object_name[0] == '"':
            return _parse_carefully(message)
        object_text = f"{object_type} {object_name}"
    if object_type and object_type[0] == '"':
        return _parse_carefully(message)
    if rest[0] == '"':
        if not rest.endswith(_QUOTED_END):
            return _parse_carefully(message)
        statement = rest[1 : -len(_QUOTED_END)]
        if '"' in statement:
            statement = statement.replace('""', '"')
    else:
        statement = rest[: -len(_PLAIN_END)]
        if "," in statement:
            return _parse_carefully(message)
    return Audited(
        kind == _OBJECT,
        statement_id,
        substatement_id,
        command_class,
        command,
        object_text,
        None if statement in WITHOUT_TEXT else statement,
        None,
        None,
    )


def _parse_carefully(message: str) -> Audited:
    fields = _fields(message[len(PREFIX) :])
    if len(fields) not in (9, 10):
        raise ValueError(f"{len(fields)} fields in a record of pgaudit")
    (
        kind,
        statement_id,
        substatement_id,
        command_class,
        command,
        object_type,
        object_name,
        statement,
        given,
    ) = fields[:9]
    return Audited(
        kind == "OBJECT",
        statement_id,
        substatement_id,
        command_class,
        command,
        f"{object_type} {object_name}" if object_name else None,
        None if statement in WITHOUT_TEXT else statement,
        None if given in WITHOUT_TEXT else tuple(v or None for v in _fields(given)),
        int(fields[9]) if len(fields) == 10 and fields[9].isdecimal() and len(fields[9]) < 19 else None,
    )


def _fields(text: str) -> list[str]:
    try:
        (fields,) = csv.reader([text], strict=True)
    except csv.Error as error:
        raise ValueError("not the fields of a record of pgaudit") from error
    return fields
