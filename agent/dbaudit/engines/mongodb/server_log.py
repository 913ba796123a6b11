"""Lines of the server's structured log (4.4 and later) to events.

The id of a line says what happened; it stays the same when the wording changes. The ids and their attributes
are those of servers 4.4 to 6.0 (tried live) and of the sources of 7.0 and 8.0.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from dbaudit.core import typed
from dbaudit.core.errors import RecordError
from dbaudit.core.event import AuditEvent, EventType, Outcome, Severity
from dbaudit.engines.mongodb.addresses import split_remote
from dbaudit.engines.mongodb.commands import (
    OF_THE_CONNECTION,
    class_of,
    error_name,
    leave_out,
    with_detail,
    without_session,
)
from dbaudit.engines.mongodb.connections import Connections, Known
from dbaudit.engines.mongodb.counts import some_refused
from dbaudit.engines.mongodb.cut_lines import Attributes, attributes_of_cut
from dbaudit.engines.mongodb.joining import FailedLogins
from dbaudit.engines.mongodb.parts import part
from dbaudit.engines.mongodb.records import Context
from dbaudit.engines.mongodb.shell_text import as_json
from dbaudit.engines.mongodb.targets import accounts_of, database_of, other_users, targets_of
from dbaudit.engines.mongodb.times import Stamp, stamp_us

STARTING = 4615611
ACCEPTED = 22943
REFUSED = 22942
ENDED = 22944
METADATA = 51800
LOGGED_IN = frozenset({20250, 5286306})
LOGIN_FAILED = frozenset({20249, 5286307})
UNAUTHORIZED = 20436
SLOW_QUERY = 51803

OF_CONNECTIONS = frozenset({STARTING, ACCEPTED, ENDED, METADATA, *LOGGED_IN})
"""The lines that say which user and application a connection belongs to."""

SHORTEST_CUT = 900
"""getLog cuts lines at 1024 bytes, which may be fewer characters."""

_BECOMES_AN_EVENT = OF_CONNECTIONS | LOGIN_FAILED | {REFUSED, UNAUTHORIZED, SLOW_QUERY}
_CUT_LINE = re.compile(
    r'\{"t":\{"\$date":"(?P<date>[^"]{1,40})"\},\s*"s":"[^"]*",\s*"c":"[^"]*",\s*"id":(?P<id>\d{1,9}),\s*'
    r'(?:"svc":"[^"]*",\s*)?"ctx":"(?P<ctx>[^"]{0,200})",\s*"msg":"(?:[^"\\]|\\.)*"(?:,\s*"attr":(?P<attr>\{.*))?',
    re.DOTALL,
)
_DENIED = re.compile(r"not authorized on (\S+) to execute command (\{ ?(\w+).*)", re.DOTALL)
_OF_PARTS = "whether its parts were carried out is not recorded"


class LogLine(msgspec.Struct, gc=False):
    """A line; ``cut`` holds the attributes of one that getLog has cut. ``truncated`` and ``size`` are there
    where the server has cut attributes that were too large.
    """

    t: Stamp
    id: int
    ctx: str = ""
    attr: msgspec.Raw = msgspec.Raw(b"{}")
    truncated: msgspec.Raw = msgspec.Raw(b"")
    size: Any = None
    cut: Attributes | None = None

    def attributes(self) -> Attributes:
        """The attributes of the line. Raises RecordError if they are of an unknown form."""
        if self.cut is not None:
            return self.cut
        try:
            return _decode_attributes(self.attr)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise RecordError("attributes of an unknown form") from None


_decode_line = typed.decoder(LogLine)
_decode_attributes = typed.decoder(Attributes)


def parse_line(line: bytes | str) -> LogLine:
    """A whole line. Raises RecordError."""
    try:
        return _decode_line(line)
    except (msgspec.DecodeError, UnicodeDecodeError, UnicodeEncodeError, RecursionError):
        raise RecordError("not a line of the structured log") from None


def parse_cut_line(line: str) -> LogLine:
    """A line whose end is missing. Raises RecordError."""
    found = _CUT_LINE.match(line)
    if found is None:
        raise RecordError("the beginning of a line that is not of the structured log")
    attributes = attributes_of_cut(found["attr"] or "{}")
    return LogLine(Stamp(found["date"]), int(found["id"]), found["ctx"], cut=attributes)


def note(connections: Connections, line: LogLine, context: Context) -> Known | None:
    """Remember what a line of OF_CONNECTIONS says; returns the connection that it is about."""
    identity = line.id
    if identity == STARTING:
        connections.clear()
        return None
    attr = line.attributes()
    name = _name_of(line, attr)
    if identity == ENDED:
        return connections.forget(name)
    if identity == ACCEPTED:
        ip, port = split_remote(attr.remote)
        known = Known(ip, port, opened_us=stamp_us(line.t), uuid=_uuid(attr.uuid))
        connections.put(name, known)
        return known
    known = connections.at(name)
    if known.ip is None:
        known.ip, known.port = split_remote(attr.remote or attr.client)
    if identity == METADATA:
        application = attr.doc.get("application")
        found = application.get("name") if isinstance(application, dict) else None
        known.application = found if isinstance(found, str) else None
        known.own = known.application == context.own_application and known.ip == context.own_ip
        return known
    user, database = _who(attr)
    known.log_in(user, database, single=context.single_user)
    if (user, database) != (context.own_user, context.own_user_database):
        known.own = False
    return known


def _who(attr: Attributes) -> tuple[str | None, str | None]:
    """The user that logs in, and the database in which the user is defined."""
    return attr.principal_name or attr.user_name, attr.authentication_database or attr.db


def parse_ring_line(line: str) -> LogLine:
    """A line that getLog gave, whole or cut. Raises RecordError."""
    try:
        return parse_line(line)
    except RecordError:
        if len(line) < SHORTEST_CUT:
            raise
        return parse_cut_line(line)


class LogDecoder:
    """Decodes lines in their order; statements that become no event are counted in ``left_out``."""

    def __init__(self, context: Context, known: dict[str, Known], left_out: dict[str, int]) -> None:
        self._context = context
        self._left_out = left_out
        self._connections = Connections()
        for name, connection in known.items():
            self._connections.put(name, msgspec.structs.replace(connection))
        self._accepted: list[tuple[AuditEvent, Known]] = []
        self._failed = FailedLogins()
        self._events: list[AuditEvent] = []

    def take(self, line: LogLine, key: str) -> None:
        """Raises RecordError for a line that should be an event and cannot be understood."""
        if line.id not in _BECOMES_AN_EVENT:
            return
        event = self._event(line, key, stamp_us(line.t))
        if event is not None and event.time_us >= self._context.since_us:
            self._events.append(event)

    def events(self) -> list[AuditEvent]:
        """The events, without the agent's own connections and without duplicates of a failed log-in."""
        left_out = self._failed.superseded
        for event, known in self._accepted:
            event.application = known.application
            if known.own:
                left_out.add(id(event))
        if not left_out:
            return self._events
        return [event for event in self._events if id(event) not in left_out]

    def _event(self, line: LogLine, key: str, time_us: int) -> AuditEvent | None:
        identity = line.id
        if identity == SLOW_QUERY:
            return self._statement(line, key, time_us)
        if identity in OF_CONNECTIONS:
            known = note(self._connections, line, self._context)
            if identity in LOGGED_IN:
                return self._login(line, key, time_us, known or Known())
            if identity == ACCEPTED and known is not None:
                event = self._new(EventType.CONNECTION, line, key, time_us, known)
                event.outcome = Outcome.SUCCESS
                self._accepted.append((event, known))
                return event
            if identity == ENDED:
                return self._disconnect(line, key, time_us, known)
            return None
        if identity in LOGIN_FAILED:
            return self._login_failure(line, key, time_us)
        if identity == UNAUTHORIZED:
            return self._refusal(line, key, time_us)
        event = self._new(EventType.CONNECTION, line, key, time_us, Known())
        event.source_ip, event.source_port = split_remote(line.attributes().remote)
        event.session_id = None
        return _failed(event, "TooManyConnections")

    def _new(self, kind: EventType, line: LogLine, key: str, time_us: int, known: Known) -> AuditEvent:
        attr = line.attributes()
        uuid = known.uuid if self._context.audited else None
        detail: dict[str, Any] | None = {"member": self._context.member} if self._context.member else None
        if known.others:
            detail = with_detail(detail, other_users([(known.user, known.user_database), *known.others]))
        if line.truncated:
            size = {"size": line.size} if isinstance(line.size, dict) else {}
            detail = with_detail(detail, {"truncated": True, **size})
        return AuditEvent(
            key=key,
            type=kind,
            time_us=time_us,
            user=known.user,
            application=known.application,
            session_id=uuid or _name_of(line, attr),
            source_ip=known.ip,
            source_port=known.port,
            detail=detail,
        )

    def _disconnect(self, line: LogLine, key: str, time_us: int, known: Known | None) -> AuditEvent | None:
        if known is not None and known.own:
            return None
        if known is None:
            ip, port = split_remote(line.attributes().remote)
            known = Known(ip, port, uuid=_uuid(line.attributes().uuid))
        event = self._new(EventType.DISCONNECT, line, key, time_us, known)
        if known.opened_us is not None:
            event.duration_ms = max(0, time_us - known.opened_us) / 1000
        return event

    def _login(self, line: LogLine, key: str, time_us: int, known: Known) -> AuditEvent | None:
        if known.own or self._context.audited:
            return None
        attr = line.attributes()
        event = self._new(EventType.LOGIN_SUCCESS, line, key, time_us, known)
        event.outcome = Outcome.SUCCESS
        event.user, event.database = _who(attr)
        _add(event, mechanism=attr.mechanism)
        return event

    def _login_failure(self, line: LogLine, key: str, time_us: int) -> AuditEvent | None:
        if self._context.audited:
            return None
        attr = line.attributes()
        known = self._connections.get(line.ctx) or Known()
        event = self._new(EventType.LOGIN_FAILED, line, key, time_us, known)
        event.user = attr.principal_name or attr.user_name
        event.database = attr.authentication_database or attr.db
        if event.source_ip is None:
            event.source_ip, event.source_port = split_remote(attr.remote or attr.client)
        reason = attr.error if isinstance(attr.error, str) else attr.result
        named = reason.partition(":")[0] if isinstance(reason, str) else "AuthenticationFailed"
        _add(event, mechanism=attr.mechanism, reason=reason if isinstance(reason, str) else None)
        self._failed.add(event, attr.mechanism)
        return _failed(event, named if named.isalnum() else "AuthenticationFailed")

    def _refusal(self, line: LogLine, key: str, time_us: int) -> AuditEvent | None:
        known = self._connections.get(line.ctx) or Known()
        if self._context.audited or known.own or not line.ctx.startswith("conn"):
            return None
        error = line.attributes().error
        message = error.get("errmsg") if isinstance(error, dict) else None
        event = self._new(EventType.QUERY, line, key, time_us, known)
        denied = _DENIED.match(message) if isinstance(message, str) else None
        if denied is not None:
            query = without_session(as_json(denied[2]))
            event.operation, event.query = denied[3], query
            event.command_class = class_of(denied[3], query, cut=True)
            event.database, event.objects = targets_of(denied[3], f"{denied[1]}.$cmd", query)
            event.detail = with_detail(event.detail, accounts_of(denied[3], event.database, query))
        else:
            _add(event, reason=message if isinstance(message, str) else None)
        return _failed(event, "Unauthorized")

    def _statement(self, line: LogLine, key: str, time_us: int) -> AuditEvent | None:
        context = self._context
        known = self._connections.get(line.ctx) or Known()
        if context.audited_statements or known.own or not line.ctx.startswith("conn"):
            return None
        attr = line.attributes()
        before = known.part
        self._connections.at(line.ctx).part = part(attr.type, attr.ns)
        # A refused command is recorded by the line of the refusal or in the audit log.
        if database_of(attr.ns) in context.profiled or attr.error_code == 13:
            return None
        text = attr.command_text()
        operation = attr.operation()
        database, objects = targets_of(operation, attr.ns, text)
        is_whole = attr.type == "command" and operation in ("update", "delete")
        if is_whole and objects and before == f"{operation} {objects[0]}":
            return None
        application = attr.application if attr.application is not None else known.application
        ip, port = known.ip, known.port
        if ip is None:
            ip, port = split_remote(attr.remote)
        if (application, ip, known.user or context.own_user) == (
            context.own_application,
            context.own_ip,
            context.own_user,
        ):
            return None
        if operation is not None and operation in OF_THE_CONNECTION:
            if time_us >= context.since_us:
                leave_out(self._left_out, operation)
            return None
        event = self._new(EventType.QUERY, line, key, time_us, known)
        event.application, event.source_ip, event.source_port = application, ip, port
        event.database, event.objects, event.operation, event.query = database, objects, operation, text
        cut = line.cut is not None or bool(line.truncated)
        event.command_class = class_of(operation, text, cut=cut, wrote=attr.wrote() if cut else None)
        event.duration_ms = attr.duration_ms
        event.rows_affected = attr.rows()
        event.detail = with_detail(event.detail, accounts_of(operation, database, text))
        if line.cut is not None:
            _add(event, truncated=True)
        if attr.error_code is not None or attr.error_name is not None:
            return _failed(event, attr.error_name or error_name(attr.error_code or 0))
        if is_whole:
            _add(event, reason=_OF_PARTS)
            return event
        event.outcome = Outcome.SUCCESS
        if operation == "insert" and some_refused(event, attr.inserted, attr.reply_bytes, context):
            event.outcome, event.severity = Outcome.FAILURE, Severity.WARNING
        return event


def _name_of(line: LogLine, attr: Attributes) -> str:
    if line.ctx.startswith("conn"):
        return line.ctx
    number = attr.connection_id if attr.connection_id is not None else attr.early_connection_id
    return f"conn{number}" if number is not None else line.ctx


def _uuid(value: Any) -> str | None:
    """6.0 writes the text, later servers {"uuid": {"$uuid": text}}."""
    for _level in range(2):
        if isinstance(value, dict):
            value = value.get("$uuid", value.get("uuid"))
    return value if isinstance(value, str) else None


def _failed(event: AuditEvent, code: str) -> AuditEvent:
    event.outcome, event.severity, event.error_code = Outcome.FAILURE, Severity.WARNING, code
    return event


def _add(event: AuditEvent, **detail: Any) -> None:
    known = {name: value for name, value in detail.items() if value is not None}
    if known:
        event.detail = {**(event.detail or {}), **known}
