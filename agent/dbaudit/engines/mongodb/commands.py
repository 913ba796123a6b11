"""Commands of MongoDB: the class of each, and what it is about."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from dbaudit.core import operations, typed
from dbaudit.core.operations import CommandClass
from dbaudit.core.statements import Dialect

_READ_OR_WRITE = frozenset({"aggregate", "mapReduce", "mapreduce"})

DATABASES_OF_THE_SERVER = frozenset({"admin", "config", "local"})

OF_THE_CONNECTION = frozenset(
    {"hello", "ismaster", "isMaster", "saslStart", "saslContinue", "authenticate", "ping", "endSessions"}
)
"""Commands that drivers send on their own to open, keep and close connections: no statements of users."""


def leave_out(left_out: dict[str, int], operation: str) -> None:
    """Count a record that becomes no event."""
    left_out[operation] = left_out.get(operation, 0) + 1


OF_THE_SESSION = frozenset({"lsid", "$clusterTime", "$configTime", "$topologyTime"})
"""The fields that drivers add to a command."""

ERROR_NAMES = {
    2: "BadValue",
    11: "UserNotFound",
    13: "Unauthorized",
    17: "ProtocolError",
    18: "AuthenticationFailed",
    26: "NamespaceNotFound",
    31: "RoleNotFound",
    48: "NamespaceExists",
    276: "IndexBuildAborted",
    334: "MechanismUnavailable",
    11600: "InterruptedAtShutdown",
    51003: "UserAlreadyExists",
}

_OF_THE_SESSION = tuple(f'"{name}"' for name in sorted(OF_THE_SESSION))
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'


def _object(levels: int) -> str:
    inner = f"|{_object(levels - 1)}" if levels else ""
    return rf'\{{(?:[^{{}}"]++|{_STRING}{inner})*+\}}'


_LEAF = r'\{"\$?\w++":"[^"\\]*+"(?:,"\$?\w++":"[^"\\]*+")*+\}'
_BINARY = rf'(?:{_LEAF}|\{{"\$binary":{_LEAF}\}})'
_PLAIN_FIELD = rf',"[^"\\]*+":(?:"[^"\\]*+"|{_object(0)}|[^,:{{}}\[\]"]++)'
_AS_DRIVERS_SEND = re.compile(
    rf',"lsid":\{{"id":{_BINARY}(?:,"uid":{_BINARY})?+\}}(?:,"\$clusterTime":{_object(4)})?+'
    rf'(?=(?:,"\$db":"[^"\\]*+")?+(?:{_PLAIN_FIELD})*+\}}\Z)'
)
"""The fields of the session at the top level: after them only the bracket of the command is open."""
_TOKEN = re.compile(rf"{_STRING}|[{{}}\[\],]", re.DOTALL)
_FIELD_OF_THE_SESSION = re.compile(rf"\s*+(?:{'|'.join(map(re.escape, _OF_THE_SESSION))})\s*+:")
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\Z)', re.DOTALL)
_TEXT_VALUE = re.compile(_TEXT.pattern + r"(?!\s*:)", re.DOTALL)
_WRITING_STAGE = re.compile(r'[{,]\s*"(?:\$out|\$merge)"\s*:')
_decode = typed.decoder(dict[str, Any])


def without_session(command: str) -> str:
    """A command as JSON without what drivers add of their session, which differs each time.

    >>> without_session('{"find":"t","lsid":{"id":{"$uuid":"7e69"}},"$db":"shop"}')
    '{"find":"t","$db":"shop"}'
    """
    start = command.rfind(',"lsid":{')
    if start >= 0:
        both = _AS_DRIVERS_SEND.match(command, start)
        if both is not None:
            command = command[:start] + command[both.end() :]
    if '"lsid"' not in command and 'Time"' not in command:
        return command
    return (
        _without_fields_of_the_session(command)
        if any(map(command.__contains__, _OF_THE_SESSION))
        else command
    )


def _without_fields_of_the_session(command: str) -> str:
    """Remove OF_THE_SESSION at the top level only: the same names in a filter or a text are the user's."""
    kept: list[str] = []
    depth = begin = 0
    for token in _TOKEN.finditer(command):
        sign = token[0]
        if sign in ("{", "["):
            depth += 1
        elif sign in ("}", "]"):
            depth -= 1
        if depth == (1 if sign == "," else 0) and sign[0] != '"':
            field = command[begin : token.start()]
            if not kept or _FIELD_OF_THE_SESSION.match(field, 1) is None:
                kept.append(field)
            begin = token.start()
    return "".join([*kept, command[begin:]])


def class_of(
    operation: str | None, command: str | None = None, *, cut: bool = False, wrote: bool | None = None
) -> CommandClass | None:
    """The class of a command by its name.

    An aggregation or a map-reduce reads, or writes what it found into a collection. ``command`` is its text
    as JSON, whose end may be missing if it was ``cut``; ``wrote`` is whether other fields of the record say
    that it wrote. Returns None if neither says whether it wrote.
    """
    if operation not in _READ_OR_WRITE:
        return operations.class_of(operation, Dialect.MONGODB)
    writes = _writes(command, cut=cut) if command is not None else None
    if not writes and wrote is not None:
        writes = wrote
    if writes is None:
        return None
    return CommandClass.WRITE if writes else CommandClass.READ


def _writes(command: str, *, cut: bool) -> bool | None:
    """Whether an aggregation ends with a stage that writes, or a map-reduce has a collection as output."""
    if '"$out"' not in command and '"$merge"' not in command and '"out"' not in command:
        return None if cut and not _is_whole(command) else False
    whole = parsed(command)
    if whole is not None and not cut:
        pipeline, output = whole.get("pipeline"), whole.get("out")
        last = pipeline[-1] if isinstance(pipeline, list) and pipeline else None
        if isinstance(last, dict) and ("$out" in last or "$merge" in last):
            return True
        return output is not None and not (isinstance(output, dict) and "inline" in output)
    # Such a name in front of a colon is that of a stage.
    if _WRITING_STAGE.search(_TEXT_VALUE.sub('""', command)):
        return True
    return False if _is_whole(command) and '"out"' not in command else None


def _is_whole(command: str) -> bool:
    """Whether a command ends where it should: every bracket is closed, and nothing was left out for dots."""
    bare = _TEXT.sub("", command)
    return bare.count("{") == bare.count("}") and bare.count("[") == bare.count("]") and "..." not in bare


def with_detail(detail: dict[str, Any] | None, more: Mapping[str, Any]) -> dict[str, Any] | None:
    """``detail`` with ``more`` added; the given ``detail`` is not changed."""
    return {**(detail or {}), **more} if more else detail


def error_name(code: int) -> str:
    """The name of an error code if it is one that audit records contain, else its number."""
    return ERROR_NAMES.get(code) or str(code)


def parsed(command: str | None) -> dict[str, Any] | None:
    """A command, parsed from its text as JSON; None if it is cut or in another notation."""
    try:
        return _decode(command) if command else None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def operation_of(command: Mapping[str, Any]) -> str | None:
    """The name of a command: its first field. A part of an update or a delete starts with ``q``."""
    for name in command:
        return None if name == "q" else name
    return None
