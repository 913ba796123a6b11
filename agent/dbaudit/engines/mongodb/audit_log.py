"""Records of the audit log in the schema `mongo`, of MongoDB Enterprise and Percona Server, to events.

Its fields are those of the vendors' documentation and of the source of MongoDB's writer. It was not tried
with a real server: none was available.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from dbaudit.core import typed
from dbaudit.core.errors import RecordError
from dbaudit.core.event import AuditEvent, EventType, Outcome, Severity
from dbaudit.core.operations import CommandClass
from dbaudit.engines.mongodb import ocsf
from dbaudit.engines.mongodb.addresses import endpoint_of, is_address
from dbaudit.engines.mongodb.commands import (
    OF_THE_CONNECTION,
    class_of,
    error_name,
    leave_out,
    with_detail,
    without_session,
)
from dbaudit.engines.mongodb.joining import FailedLogins
from dbaudit.engines.mongodb.records import Context
from dbaudit.engines.mongodb.targets import (
    account,
    accounts_of,
    database_of,
    objects_of,
    of_several,
    other_users,
    targets_of,
)
from dbaudit.engines.mongodb.times import Stamp, stamp_us, text_us

_PLAIN = (Outcome.SUCCESS, Severity.INFO, None)


class Endpoint(msgspec.Struct, frozen=True, gc=False):
    """An address, a Unix socket, or the server itself."""

    ip: Any = None
    port: Any = None
    unix: Any = None


class Name(msgspec.Struct, frozen=True, gc=False):
    """A user of a database."""

    user: str | None = None
    db: str | None = None


class Identifier(msgspec.Struct, frozen=True, gc=False):
    """The UUID of a connection, in base64 or as text."""

    binary: Any = msgspec.field(default=None, name="$binary")
    text: str | None = msgspec.field(default=None, name="$uuid")


class Param(msgspec.Struct, frozen=True, gc=False):
    """The subject of a record: the fields that are used here."""

    command: Any = None
    ns: Any = None
    args: msgspec.Raw = msgspec.Raw(b"")
    old: Any = None
    new: Any = None
    view_on: Any = msgspec.field(default=None, name="viewOn")
    user: Any = None
    role: Any = None
    db: Any = None
    roles: Any = None
    mechanism: Any = None
    application: Any = None
    client_metadata: Any = msgspec.field(default=None, name="clientMetadata")
    reason: Any = None
    initial_users: Any = msgspec.field(default=None, name="initialUsers")


class AuditRecord(msgspec.Struct, gc=False):
    """A record; Percona's earlier servers wrote ``params``."""

    atype: str
    ts: Stamp
    uuid: Identifier | None = None
    remote: Endpoint = Endpoint()
    users: list[Name] = []
    param: Param | None = None
    params: Param | None = None
    result: int = 0


class Text(msgspec.Struct, gc=False):
    """The same as its text."""

    param: msgspec.Raw = msgspec.Raw(b"")
    params: msgspec.Raw = msgspec.Raw(b"")


_NO_PARAM = Param()
_QUERY = EventType.QUERY
_decode_record = typed.decoder(AuditRecord)
_decode_ocsf = typed.decoder(ocsf.OcsfRecord)
_decode_text = typed.decoder(Text)
_BEHIND_SYSLOG = re.compile(rb"[^{]*?: (?=\{)")
_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class AuditDecoder:
    """Decodes records in their order; records that become no event are counted in ``left_out``."""

    def __init__(self, context: Context, left_out: dict[str, int]) -> None:
        self._context = context
        self._left_out = left_out
        self._detail = {"member": context.member} if context.member else None
        self._failed = FailedLogins()
        self._events: list[AuditEvent] = []
        self._append = self._events.append

    def take(self, line: bytes, key: str) -> None:
        """Raises RecordError for a record that cannot be understood."""
        try:
            record = _decode_record(line)
        except _ERRORS:
            self._take_other(line, key)
            return
        if record.atype == "authCheck":
            self._check(record, key)
        else:
            self._other(record, line, key)

    def _take_other(self, line: bytes, key: str) -> None:
        """A record of the other schema (OCSF), or one that syslog wrote into a file after its own prefix."""
        prefix = _BEHIND_SYSLOG.match(line)
        if prefix is not None:
            self.take(line[prefix.end() :], key)
        else:
            self._ocsf(line, key)

    def events(self) -> list[AuditEvent]:
        """The events, without duplicates of a failed log-in."""
        superseded = self._failed.superseded
        if not superseded:
            return self._events
        return [event for event in self._events if id(event) not in superseded]

    def _check(self, record: AuditRecord, key: str) -> None:
        check = record.param or record.params or _NO_PARAM
        operation, namespace = check.command, check.ns
        if operation.__class__ is not str or namespace.__class__ is not str:
            operation = operation if isinstance(operation, str) else None
            namespace = namespace if isinstance(namespace, str) else None
        context = self._context
        users = record.users
        user = users[0].user if users else None
        remote = record.remote
        ip, port = remote.ip, remote.port
        if ip.__class__ is not str or port.__class__ is not int or not is_address(ip):
            ip, port = endpoint_of(ip, port)
        if user == context.own_user and ip == context.own_ip:
            return
        date = record.ts.date
        time_us = text_us(date) if date.__class__ is str else stamp_us(record.ts)
        if time_us < context.since_us:
            return
        if operation in OF_THE_CONNECTION:
            leave_out(self._left_out, operation)
            return
        query = without_session(bytes(check.args).decode()) or None
        outcome, severity, code = _PLAIN if record.result == 0 else _failure(record.result)
        command_class = class_of(operation, query)
        database, objects, detail = database_of(namespace), objects_of(namespace), self._detail
        if objects is None or command_class is CommandClass.ROLE:
            database, objects = targets_of(operation, namespace, query)
            detail = with_detail(detail, accounts_of(operation, database, query))
        if len(users) > 1:
            detail = with_detail(detail, other_users((name.user, name.db) for name in users))
        # Positional arguments: keyword arguments would cost a tenth of all decoding.
        self._append(
            AuditEvent(
                key,
                _QUERY,
                time_us,
                severity,
                outcome,
                code,
                user,
                database,
                None,
                _session(record, ip, port),
                ip,
                port,
                None,
                operation,
                command_class,
                query,
                None,
                None,
                None,
                objects,
                None,
                detail,
            )
        )

    def _other(self, record: AuditRecord, line: bytes, key: str) -> None:
        context = self._context
        subject = record.param or record.params or _NO_PARAM
        ip, port = endpoint_of(record.remote.ip, record.remote.port)
        name = record.users[0] if record.users else Name()
        operation = record.atype
        outcome, severity, code = _PLAIN if record.result == 0 else _failure(record.result)
        event = AuditEvent(
            key,
            EventType.QUERY,
            stamp_us(record.ts),
            severity,
            outcome,
            code,
            name.user,
            session_id=_session(record, ip, port),
            source_ip=ip,
            source_port=port,
            detail=self._detail,
        )
        if event.time_us < context.since_us:
            return
        if len(record.users) > 1:
            event.detail = with_detail(self._detail, other_users((one.user, one.db) for one in record.users))
        own = ip == context.own_ip and context.own_user in (name.user, subject.user)
        if operation == "authenticate":
            if own and record.result == 0:
                return
            self._authentication(event, subject, failed=record.result != 0)
        elif own and name.user == context.own_user:
            return
        elif operation == "clientMetadata":
            if context.logged:
                return  # the server's log records every connection
            event.type = EventType.CONNECTION
            event.application = _application(subject)
            if (event.application, ip) == (context.own_application, context.own_ip):
                return
        elif operation == "logout" and subject.reason == ocsf.IMPLICIT_LOGOUT:
            if context.logged:
                return
            event.type = EventType.DISCONNECT
            event.user = _first_user(subject.initial_users) or event.user
        else:
            if operation == "logout":
                event.user = event.user or _first_user(subject.initial_users)
            self._action(event, operation, subject)
            event.query = _text(line)
        self._append(event)

    def _action(self, event: AuditEvent, operation: str, subject: Param) -> None:
        """What was done to which collections, users and roles."""
        event.operation, event.command_class = operation, class_of(operation)
        namespaces = [
            name for name in (subject.ns, subject.old, subject.new, subject.view_on) if isinstance(name, str)
        ]
        if any("." in name for name in namespaces):
            event.database, event.objects = of_several(None, namespaces)
            return
        database = subject.db if isinstance(subject.db, str) else None
        event.database = (namespaces[0] if namespaces else database) or None
        target = subject.role if isinstance(subject.role, str) else subject.user
        if event.command_class == "ROLE" and isinstance(target, str):
            event.objects = (f"{database}.{target}",) if database else (target,)
            event.detail = with_detail(event.detail, account(operation, target, database, subject.roles))

    def _authentication(self, event: AuditEvent, subject: Param, *, failed: bool) -> None:
        mechanism = subject.mechanism if isinstance(subject.mechanism, str) else None
        event.type = EventType.LOGIN_FAILED if failed else EventType.LOGIN_SUCCESS
        event.user = subject.user if isinstance(subject.user, str) else event.user
        event.database = (subject.db or None) if isinstance(subject.db, str) else None
        if mechanism:
            event.detail = with_detail(event.detail, {"mechanism": mechanism})
        if failed:
            self._failed.add(event, mechanism)

    def _ocsf(self, line: bytes, key: str) -> None:
        try:
            record = _decode_ocsf(line)
        except _ERRORS:
            raise RecordError("not a record of the audit log") from None
        event = ocsf.event_of(record, key, self._context, self._detail)
        if event is not None and event.time_us >= self._context.since_us:
            command = ocsf.command_of_the_connection(record)
            if command is not None:
                leave_out(self._left_out, command)
                return
        if event is None or event.time_us < self._context.since_us:
            return
        if event.type == EventType.LOGIN_FAILED:
            self._failed.add(event, record.auth_protocol)
        self._append(event)


def _failure(result: int) -> tuple[Outcome, Severity, str]:
    return Outcome.FAILURE, Severity.WARNING, error_name(result)


def _session(record: AuditRecord, ip: str | None, port: int | None) -> str | None:
    """The UUID of the connection (5.0 and later), else its client's address."""
    uuid = record.uuid
    if uuid is not None:
        if uuid.text is not None:
            return uuid.text
        binary = uuid.binary
        if isinstance(binary, dict):
            binary = binary.get("base64")
        if isinstance(binary, str):
            return ocsf.uuid_text(binary)
    return f"{ip}:{port}" if ip is not None and port is not None else None


def _text(line: bytes) -> str | None:
    """The parameters of a record that was decoded before, as JSON."""
    text = _decode_text(line)
    param = bytes(text.param or text.params).decode(errors="replace")
    return param if param not in ("", "{}") else None


def _first_user(users: object) -> str | None:
    name = users[0].get("user") if isinstance(users, list) and users and isinstance(users[0], dict) else None
    return name if isinstance(name, str) else None


def _application(subject: Param) -> str | None:
    """The client's name for itself: MongoDB nests what the client said, Percona does not."""
    metadata = subject.client_metadata
    value = metadata.get("application") if isinstance(metadata, dict) else subject.application
    name = value.get("name") if isinstance(value, dict) else None
    return name if isinstance(name, str) else None
