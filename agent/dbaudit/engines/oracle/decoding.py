"""From rows of an audit trail to events: pure functions, without input, output or clock."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

from dbaudit.core.event import AuditEvent, EventType, Outcome, Rejected, Severity
from dbaudit.engine.base import Decoded
from dbaudit.engine.connections import with_connections
from dbaudit.engines.oracle.actions import SUMMARY, operation_and_class, summed_up
from dbaudit.engines.oracle.particulars import UNNAMED, principals, put_more, verdict
from dbaudit.engines.oracle.trail import COLUMNS, EVERYWHERE, TRADITIONAL, WIDTH, key_of

_EPOCH = datetime.datetime(1970, 1, 1)  # noqa: DTZ001  # the driver's times bear no zone
_LARGEST_PORT = 65535
_WRONG = (ValueError, TypeError, AttributeError, IndexError, KeyError, OverflowError)


def decode(records: Sequence[Any]) -> Decoded:
    """The events of ``records``, which are rows from the reader, and the rows that are malformed."""
    events: list[AuditEvent] = []
    rejected: list[Rejected] = []
    for row in records:
        try:
            events.append(_event(row))
        except _WRONG as error:
            rejected.append(_rejected(row, error))
    return Decoded(with_connections(events), rejected)


def _event(row: tuple[Any, ...]) -> AuditEvent:
    (
        time,
        _dbid,
        instance,
        session,
        _entry,
        _statement,
        _scn,
        _process,
        audit_type,
        action,
        code,
        user,
        proxy_user,
        external_user,
        os_user,
        host,
        terminal,
        program,
        client_identifier,
        authentication,
        schema,
        name,
        privilege,
        policies,
        query,
        binds,
    ) = row[:EVERYWHERE]
    container = row[WIDTH - 1]
    since = time - _EPOCH
    type_, operation, command_class, severity = _KINDS.get(action) or _kind(action)
    detail: dict[str, Any] = {}
    if not authentication:
        address, port, method = None, None, None
    elif audit_type != TRADITIONAL:
        address, port, method = _client(authentication)
    elif authentication.startswith(_AUTHENTICATED):
        address, port, method = _client_in_comment(authentication)
    else:
        address, port, method = None, None, None
        detail["comment"] = authentication
    if audit_type != "Standard" and audit_type is not None:
        detail["audit_type"] = audit_type
    if os_user is not None:
        detail["os_user"] = os_user
    if terminal is not None and terminal != "unknown":
        detail["terminal"] = terminal
    if client_identifier is not None:
        detail["client_identifier"] = client_identifier
    if privilege is not None:
        detail["privilege"] = privilege
    if policies is not None:
        detail["policies"] = policies
    if proxy_user is not None:
        detail["proxy_user"] = proxy_user
    if external_user is not None:
        detail["external_user"] = external_user
    if instance is not None and instance != 1:
        detail["instance"] = int(instance)
    objects: tuple[str, ...] | None = ((f"{schema}.{name}" if schema else name),) if name else None
    if operation != action and type_ is EventType.QUERY:
        detail["action"] = action
    if any(row[EVERYWHERE : WIDTH - 1]):
        more = dict(zip(_OF_SOME, row[EVERYWHERE : WIDTH - 1], strict=True))
        put_more(detail, more, user)
        objects = objects or principals(more)
        code = verdict(code, more)
        if action == SUMMARY and more["SES_ACTIONS"]:
            found, letters = summed_up(more["SES_ACTIONS"])
            operation, command_class = found.operation or operation, found.command_class
            found.add_all(detail)
            if not code:
                # A summary of what worked and what failed has no outcome of its own.
                code = {"S": 0, "F": UNNAMED}.get(letters)
        if code and more["DV_ACTION_NAME"]:
            severity = Severity.WARNING
    outcome = None if code is None else Outcome.FAILURE if code else Outcome.SUCCESS
    if type_ is EventType.LOGIN_SUCCESS:
        if code:
            type_, severity = EventType.LOGIN_FAILED, Severity.WARNING
        elif code is None:
            type_ = EventType.CONNECTION  # the row does not say whether the log-in worked
        if method is not None:
            detail["method"] = method
    return AuditEvent(
        key_of(row),
        type_,
        since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds,
        severity,
        outcome,
        f"ORA-{int(code):05d}" if code and code != UNNAMED else None,
        user,
        container,
        program,
        None if session is None else str(session),
        address,
        port,
        host,
        operation if type_ is EventType.QUERY else None,
        command_class,
        query.rstrip("\0 \n") if query else None,
        None,
        None,
        None,
        objects,
        _parameters(binds) if binds else None,
        detail or None,
    )


_Kind = tuple[EventType, str | None, str | None, Severity]

_OF_SOME = COLUMNS[EVERYWHERE - 1 :]


@lru_cache(maxsize=1000)
def _kind(action: str | None) -> _Kind:
    if action is not None and action.split()[:1] == ["LOGOFF"]:
        return EventType.DISCONNECT, None, None, Severity.INFO
    return EventType.QUERY, *operation_and_class(action), Severity.INFO


_KINDS: dict[Any, _Kind] = {
    "LOGON": (EventType.LOGIN_SUCCESS, None, None, Severity.INFO),
    "LOGOFF": (EventType.DISCONNECT, None, None, Severity.INFO),
}

_HOST = re.compile(r"\(HOST=([^()]*)\)", re.IGNORECASE)
_PORT = re.compile(r"\(PORT=([0-9]{1,5})\)", re.IGNORECASE)
_METHOD = re.compile(r"\(TYPE=\(([^()]*)\)\)", re.IGNORECASE)


@lru_cache(maxsize=10_000)
def _client(authentication: str) -> tuple[str | None, int | None, str | None]:
    """The client's address and port, and how it was authenticated.

    >>> _client("(TYPE=(DATABASE));(CLIENT ADDRESS=((PROTOCOL=tcp)(HOST=10.0.0.9)(PORT=40112)));")
    ('10.0.0.9', 40112, 'DATABASE')
    """
    host, port, method = (
        _HOST.search(authentication),
        _PORT.search(authentication),
        _METHOD.search(authentication),
    )
    number = int(port[1]) if port else None
    return (
        host[1] or None if host else None,
        number if number is not None and number <= _LARGEST_PORT else None,
        method[1] or None if method else None,
    )


_AUTHENTICATED = "Authenticated by: "
_CLIENT_ADDRESS = "Client address: "


@lru_cache(maxsize=10_000)
def _client_in_comment(comment: str) -> tuple[str | None, int | None, str | None]:
    """The same from COMMENT_TEXT of the traditional trail. The server writes the address at the end: the text
    before it may hold names that a client chose.

    >>> _client_in_comment("Authenticated by: DATABASE; Client address: (ADDRESS=(HOST=::1)(PORT=9))")
    ('::1', 9, 'DATABASE')
    """
    said, found, address = comment.rpartition(_CLIENT_ADDRESS)
    method = (said if found else comment)[len(_AUTHENTICATED) :].partition(";")[0].strip()
    host, port, _method = _client(address) if found else (None, None, None)
    return host, port, method or None


_BIND = re.compile(r" ?#[0-9]+\(([0-9]+)\):")


def _parameters(binds: str) -> tuple[str | None, ...]:
    """The values of the bind variables; a null looks like an empty text, which Oracle does not have.

    >>> _parameters(" #1(2):42 #2(5):a #3( #3(0):")
    ('42', 'a #3(', None)
    """
    values: list[str | None] = []
    position = 0
    while found := _BIND.match(binds, position):
        end = found.end() + int(found[1])
        if end > len(binds) or (end < len(binds) and not _BIND.match(binds, end)):
            # The length is not that of the text: it was cut off, or counted in bytes.
            following = _BIND.search(binds, found.end())
            end = following.start() if following else len(binds)
        values.append(binds[found.end() : end] or None)
        position = end
    return tuple(values) if values and position == len(binds) else (binds,)


def _rejected(row: Any, error: Exception) -> Rejected:
    try:
        position = key_of(row)
    except _WRONG:
        position = "unknown"
    raw = msgspec.json.encode(list(row) if isinstance(row, tuple) else repr(row), enc_hook=repr)
    return Rejected(position, raw, f"the row is not as the view describes it: {type(error).__name__}")
