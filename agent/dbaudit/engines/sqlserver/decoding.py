"""From rows to events: a pure function, whatever the rows contain."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from dbaudit.core.event import AuditEvent, EventType, Outcome, Rejected, Severity
from dbaudit.engine.base import Decoded
from dbaudit.engine.connections import with_connections
from dbaudit.engines.sqlserver.actions import (
    COMPLETED,
    FAILED_LOGINS,
    LOGINS,
    LOGOUTS,
    NAMES,
    put_operation,
)
from dbaudit.engines.sqlserver.clients import client_of, put_address, user_of
from dbaudit.engines.sqlserver.extended_events import decode_events
from dbaudit.engines.sqlserver.kinds import Kind
from dbaudit.engines.sqlserver.queries import AUDIT_COLUMNS
from dbaudit.engines.sqlserver.records import MANAGED_INSTANCE, SQL_DATABASE, Rows, file_key
from dbaudit.engines.sqlserver.splitting import identity, perhaps_continued

_ADDRESS = re.compile(r"<address>([^<]*)(?:</address>|\Z)")
_ERROR = re.compile(r"<error>(0x[0-9A-Fa-f]{1,8})</error>")
_STATE = re.compile(r"<state>(\d+)</state>")
_POOLED = re.compile(r"<pooled_connection>1</pooled_connection>")
_PROTOCOL = re.compile(r"-- network protocol: ([^\r\n]+)")
_STACK = re.compile(r"<frame\b([^>]*)/>")
_STACK_NAME = re.compile(r"\b(database_name|schema_name|object_name) = '([^']*)'")
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")

_END_OF_TIME_US = 253_402_300_800_000_000  # the year 10000
_LARGEST = 1 << 63
_FIRST_TEXT = AUDIT_COLUMNS.index("server_principal_name")
_BEHIND_TEXTS = AUDIT_COLUMNS.index("additional_information") + 1
_ACTION, _STATEMENT, _CLASS = (AUDIT_COLUMNS.index(n) for n in ("action_id", "statement", "class_type"))
_KEPT_CHARACTERS = 16_384
_WITH_COUNTS = frozenset({None, SQL_DATABASE, MANAGED_INSTANCE})


def decode(records: Sequence[Any]) -> Decoded:
    """The events of blocks of rows, in their order."""
    events: list[AuditEvent] = []
    rejected: list[Rejected] = []
    for block in records:
        if block.kind is Kind.AUDIT:
            _Decoder(block, events, rejected).run()
        else:
            decode_events(block, events, rejected)
    return Decoded(with_connections(events), rejected)


class _Decoder:
    """One block of audit rows."""

    def __init__(self, block: Rows, events: list[AuditEvent], rejected: list[Rejected]) -> None:
        self._block = block
        self._events = events
        self._rejected = rejected
        self._names = {**NAMES, **block.actions}
        # Of each session the record that may go on: its event, what its parts share, its parts, its last
        # number.
        self._open: dict[Any, tuple[AuditEvent, tuple[Any, ...], list[Sequence[Any]], int]] = {}

    def run(self) -> None:
        block = self._block
        file_path: Any = None
        offset: Any = None
        file = ""
        ordinal = block.skipped - 1
        first = True
        for row in block.rows:
            if row[1] != offset or row[0] != file_path:
                if not first:
                    ordinal = -1
                file_path, offset = row[0], row[1]
                file = file_key(str(file_path))
            first = False
            ordinal += 1
            key = f"{file}:{offset}:{ordinal}"
            try:
                self._take(key, row)
            except (TypeError, ValueError, AttributeError, IndexError) as error:
                reason = f"a row that is not one of sys.fn_get_audit_file: {type(error).__name__}"
                self._rejected.append(Rejected(key, _raw(row), reason))
        for event, _shared, parts, _number in self._open.values():
            self._join(event, parts)

    def _take(self, key: str, row: Sequence[Any]) -> None:
        if row[3] > 1 and self._continues(row):
            return
        event = self._event(key, row)
        if event is None:
            return
        continued = perhaps_continued(row)
        self._events.append(event)
        if continued:
            self._open_record(event, row)

    def _open_record(self, event: AuditEvent, row: Sequence[Any]) -> None:
        session = row[6]
        if session in self._open:
            known, _shared, parts, _number = self._open.pop(session)
            self._join(known, parts)
        self._open[session] = (event, identity(row), [row], row[3])

    def _join(self, event: AuditEvent, parts: list[Sequence[Any]]) -> None:
        if len(parts) == 1:
            return
        text = "".join(part[_STATEMENT] for part in parts if part[_STATEMENT])
        detail = event.detail
        if not text or detail is None:
            return
        if event.type is not EventType.QUERY:
            if "message" in detail:
                detail["message"] = text
            return
        event.query = text
        if "part" not in detail:
            action = parts[0][_ACTION].rstrip()
            put_operation(event, detail, self._names.get(action, action), parts[0][_CLASS], text)

    def _continues(self, row: Sequence[Any]) -> bool:
        begun = self._open.get(row[6])
        if begun is None or begun[1] != identity(row) or row[3] != begun[3] + 1:
            return self._is_own(row)
        event, shared, parts, number = begun
        parts.append(row)
        self._open[row[6]] = (event, shared, parts, number + 1)
        return True

    def _is_own(self, row: Sequence[Any]) -> bool:
        block = self._block
        if (row[8] or row[7]) != block.own_login:
            return False
        if block.own_application is not None:
            return bool(row[20] == block.own_application)
        return any(own.session_id == row[6] and own.since_us <= row[2] for own in block.own_sessions)

    def _event(self, key: str, row: Sequence[Any]) -> AuditEvent | None:
        (
            _file,
            _offset,
            time_us,
            sequence,
            action_id,
            succeeded,
            session_id,
            login,
            session_login,
            database_user,
            target_login,
            target_user,
            database,
            schema,
            name,
            statement,
            information,
            _group,
            transaction,
            client_ip,
            application,
            host,
            duration,
            affected,
            returned,
            user_defined,
            class_type,
        ) = row
        if (session_login or login) == self._block.own_login and self._is_own(row):
            return None
        for text in row[_FIRST_TEXT:_BEHIND_TEXTS]:
            if text is not None and text.__class__ is not str:
                raise TypeError
        if not 0 <= time_us < _END_OF_TIME_US:
            raise ValueError
        action = action_id.rstrip()
        meaning = self._names.get(action, action)
        detail: dict[str, Any] = {"action_id": action}
        event = AuditEvent(
            key=key,
            type=EventType.QUERY,
            time_us=time_us,
            user=session_login or login or None,
            database=database or None,
            application=application or None,
            session_id=None if session_id is None else str(session_id),
            source_host=host or None,
            detail=detail,
        )
        put_address(event, detail, client_ip or _address_in(information))
        if meaning in LOGINS or meaning in FAILED_LOGINS or meaning in LOGOUTS:
            _be_session_event(event, detail, meaning, bool(succeeded), statement, information)
        else:
            event.query = statement or None
            # The end of a statement without its beginning does not say what it does.
            whole = statement if sequence <= 1 else None
            put_operation(event, detail, meaning, class_type, whole)
            self._put_counts(event, meaning, duration, affected, returned)
            if not succeeded:
                # Except for log-ins, the audit records whether it was permitted, not whether it worked.
                event.outcome = Outcome.FAILURE
                event.severity = Severity.WARNING
                detail["permission"] = "denied"
            if name:
                event.objects = (f"{schema}.{name}" if schema else name,)
            if information:
                _put_stack(detail, information)
        for number in (affected, returned, transaction, duration, sequence):
            if number is not None and not -_LARGEST <= number < _LARGEST:
                raise ValueError
        if login and session_login and login != session_login:
            detail["acting_as"] = login
        if database_user:
            detail["database_user"] = database_user
        if target_login:
            detail["target_login"] = target_login
        if target_user:
            detail["target_user"] = target_user
        if transaction:
            detail["transaction_id"] = transaction
        if user_defined:
            detail["user_defined"] = user_defined
        if sequence > 1:
            detail["part"] = sequence  # the beginning of the statement was not among what was read
        return event

    def _put_counts(
        self,
        event: AuditEvent,
        meaning: str,
        duration: int | None,
        affected: int | None,
        returned: int | None,
    ) -> None:
        """Add duration and row counts, which only Azure records: on other servers these columns hold 0.

        In records of completed work they are exact, 0 included. In other records, and if the kind of server
        is not known, a 0 says nothing.
        """
        edition = self._block.engine_edition
        if edition not in _WITH_COUNTS:
            return
        known = edition is not None and meaning in COMPLETED
        event.duration_ms = duration if duration or known else None
        rows = returned if edition == MANAGED_INSTANCE or not affected else affected
        event.rows_affected = rows if rows or known else None


def _be_session_event(
    event: AuditEvent,
    detail: dict[str, Any],
    meaning: str,
    succeeded: bool,
    statement: str | None,
    information: str | None,
) -> None:
    event.outcome = Outcome.SUCCESS if succeeded else Outcome.FAILURE
    if meaning in LOGOUTS:
        event.type = EventType.DISCONNECT
        event.outcome = None
    elif meaning in FAILED_LOGINS:
        event.type = EventType.LOGIN_FAILED
        event.severity = Severity.WARNING
        event.outcome = Outcome.FAILURE
        if statement:
            detail["message"] = statement
            if event.user is None:
                event.user = user_of(statement)
            if event.source_ip is None and (client := client_of(statement)):
                put_address(event, detail, client)
    else:
        event.type = EventType.LOGIN_SUCCESS
    if statement and (protocol := _PROTOCOL.match(statement)):
        detail["network_protocol"] = protocol[1]
    if information:
        if error := _ERROR.search(information):
            number = int(error[1], 16)
            event.error_code = str(number) if number else None
        if state := _STATE.search(information):
            detail["state"] = int(state[1])
        if _POOLED.search(information):
            detail["pooled_connection"] = True


def _address_in(information: str | None) -> str | None:
    if not information:
        return None
    found = _ADDRESS.search(information)
    return found[1] if found else None


def _put_stack(detail: dict[str, Any], information: str) -> None:
    frame = _STACK.search(information)
    if frame is None:
        return
    names = [_ESCAPED.sub(_unescaped, part) for _what, part in _STACK_NAME.findall(frame[1])]
    if any(names):
        detail["called_from"] = ".".join(names)


def _unescaped(found: re.Match[str]) -> str:
    return chr(int(found[1], 16))


def _raw(row: Any) -> bytes:
    return msgspec.json.encode(row, enc_hook=repr)[:_KEPT_CHARACTERS]
