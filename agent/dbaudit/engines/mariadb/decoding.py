"""From lines of server_audit to events. Pure: it knows the format and nothing else.

    20250203 10:15:03,db1,app,10.0.0.7,41,87,QUERY,shop,'select * from t where n=\\'a\\'',0

Statements are escaped; the names of users, hosts, databases and tables are not, and whoever fails to log in
chooses the user and the database that the line shows. So the kind of a record is told by its end, where
nobody but the server writes, and a line without a time stamp belongs to the name that the line before it
began.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from dbaudit.core.event import AuditEvent, EventType, Outcome, Rejected, Severity
from dbaudit.core.operations import CommandClass, classify
from dbaudit.core.statements import Dialect
from dbaudit.engine.base import Decoded
from dbaudit.engines.mariadb.records import LineBlock, LineFormat
from dbaudit.engines.mariadb.syslog import prefix_of

_SECONDS_US = {
    b"%02d:%02d" % (minute, second): (minute * 60 + second) * 1_000_000
    for minute in range(60)
    for second in range(61)
}
_STAMP_BYTES = 18
_LONGEST_NAMES_BYTES = 4096
"""server_audit makes records of connections and tables in a buffer of 1024 bytes."""

_HEAD = re.compile(rb"([^,\n]*),([^,]*),([^,\n]*),(-?\d{1,11}),(\d{1,19}),([A-Z_]+),")
_CONNECTION = re.compile(
    rb"([^,\n]*),(.*),([^,\n]*),(-?\d{1,11}),(\d{1,19}),"
    rb"(CONNECT|FAILED_CONNECT|DISCONNECT|CHANGEUSER|PROXY_CONNECT),(.*),([^,\n]*),(-?\d+)\Z",
    re.DOTALL,
)
_QUERY = re.compile(
    rb"([^,\n]*),(.{0,1024}?),([^,\n]{0,1024}),(-?\d{1,11}),(\d{1,19}),QUERY,(.{0,1024}?),'(.*)',(-?\d+)\Z",
    re.DOTALL,
)
_TABLE = re.compile(
    rb"([^,\n]*),(.*?),([^,\n]*),(-?\d{1,11}),(\d{1,19}),(READ|WRITE|CREATE|ALTER|DROP|RENAME),([^,]*),(.*),\Z",
    re.DOTALL,
)
_QUERY_END = re.compile(rb"',-?\d{1,10}\Z")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_UNESCAPED = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "0": "\0"}
_TABLE_CLASSES = {
    "READ": CommandClass.READ,
    "WRITE": CommandClass.WRITE,
    "CREATE": CommandClass.DDL,
    "ALTER": CommandClass.DDL,
    "DROP": CommandClass.DDL,
    "RENAME": CommandClass.DDL,
}
_STATISTICS = frozenset(
    {
        *("table_stats", "column_stats", "index_stats", "innodb_table_stats", "innodb_index_stats"),
        "transaction_registry",
    }
)
"""What the server itself reads and writes beside a statement."""

_LARGEST_PORT = 65535
_FORGED = "The user name holds line breaks: records just before this one may be forged."

Address = tuple[str | None, int | None, str | None]


def decode(records: Sequence[Any]) -> Decoded:
    """The events of ``LineBlock``s."""
    events: list[AuditEvent] = []
    rejected: list[Rejected] = []
    for block in records:
        if block.whole:
            _Lines(block, events, rejected).decode()
        else:
            rejected.append(Rejected(f"{block.file}:{block.offset}", block.data, "the record has no end"))
    return Decoded(events, rejected)


class _Lines:
    """Decodes the lines of one block; appends to ``events`` and ``rejected``."""

    def __init__(self, block: LineBlock, events: list[AuditEvent], rejected: list[Rejected]) -> None:
        self._block = block
        self._events = events
        self._rejected = rejected
        context = block.context
        self._own_user = context.own_user.encode()
        self._own_host = context.own_host.encode()
        self._own_host_with_port = self._own_host + b":"
        self._cut_at = context.query_log_limit - 1

    def decode(self) -> None:
        if self._block.format is LineFormat.SYSLOG:
            self._decode_syslog()
        else:
            self._decode_file()

    def _decode_file(self) -> None:
        block = self._block
        data = block.data
        hours_us, file = block.hours_us, block.file
        offset = block.offset
        last_offset = -1
        last_events = last_rejected = 0
        for line in data.split(b"\n"):
            hour_us = hours_us.get(line[:11])
            second_us = _SECONDS_US.get(line[12:17])
            if hour_us is not None and second_us is not None and line[17:18] == b",":
                last_offset, last_events, last_rejected = offset, len(self._events), len(self._rejected)
                if not self._record(line, _STAMP_BYTES, hour_us + second_us, f"{file}:{offset}"):
                    self._reject(offset, line)
            elif line:
                joined = (
                    b""
                    if last_offset < 0
                    else data[last_offset - block.offset : offset - block.offset] + line
                )
                if not self._continued(joined, last_offset, last_events, last_rejected):
                    self._reject(offset, line)
            offset += len(line) + 1

    def _continued(self, joined: bytes, offset: int, events: int, rejected: int) -> bool:
        """Take a line that has no time stamp together with the one before it, where that makes a record."""
        if not joined or len(joined) > _LONGEST_NAMES_BYTES:
            return False
        time_us = self._block.hours_us[joined[:11]] + _SECONDS_US[joined[12:17]]
        key = f"{self._block.file}:{offset}"
        not_understood = len(self._rejected) > rejected
        before = self._events[events:]
        del self._events[events:]
        if self._connection_record(joined, _STAMP_BYTES, time_us, key) or (
            not_understood and self._record(joined, _STAMP_BYTES, time_us, key)
        ):
            del self._rejected[rejected:]
            return True
        self._events += before
        return False

    def _decode_syslog(self) -> None:
        block = self._block
        read_prefix = prefix_of(block.context, block.hours_us)
        offset = block.offset
        for line in block.data.split(b"\n"):
            found = read_prefix(line)
            if found is not None:
                time_us, start = found
                if time_us is None or not self._record(line, start, time_us, f"{block.file}:{offset}"):
                    self._reject(offset, line)
            offset += len(line) + 1

    def _reject(self, offset: int, line: bytes) -> None:
        self._rejected.append(Rejected(f"{self._block.file}:{offset}", line, "not a record of server_audit"))

    # -- one record

    def _record(self, line: bytes, start: int, time_us: int, key: str) -> bool:
        """Decode what follows the time stamp; whether it was understood."""
        head = _HEAD.match(line, start)
        if head is None:
            return self._unusual(line, start, time_us, key)
        _server, user, host, connection, query_id, operation = head.groups()
        rest = head.end()
        if operation == b"QUERY":
            end = line.rfind(b"',")
            begin = line.find(b",'", rest)
            code = line[end + 2 :]
            if rest <= begin < end - 1 and code.isdigit():
                database, text = line[rest:begin], line[begin + 2 : end]
                self._query(time_us, key, user, host, connection, query_id, database, text, code)
                return True
            return self._unusual(line, start, time_us, key)
        parts = line[rest:].split(b",")
        if len(parts) == 3:
            database, thing, code = parts
            if operation in _CONNECTION_OPERATIONS and code.removeprefix(b"-").isdigit():
                self._connection(time_us, key, user, host, connection, operation, database, thing, code)
                return True
            if not code and operation.decode() in _TABLE_CLASSES:
                self._table(time_us, key, user, host, connection, query_id, operation, database, thing)
                return True
        return self._unusual(line, start, time_us, key)

    def _unusual(self, line: bytes, start: int, time_us: int, key: str) -> bool:
        """A record with commas, quotes or line breaks in its names."""
        if _QUERY_END.search(line, max(start, len(line) - 16)):
            found = _QUERY.match(line, start)
            if found is None:
                return False
            _server, user, host, connection, query_id, database, text, code = found.groups()
            self._query(time_us, key, user, host, connection, query_id, database, text, code)
            return True
        if self._connection_record(line, start, time_us, key):
            return True
        if len(line) > _LONGEST_NAMES_BYTES:
            return False
        found = _TABLE.match(line, start)
        if found is None:
            return False
        _server, user, host, connection, query_id, operation, database, thing = found.groups()
        self._table(time_us, key, user, host, connection, query_id, operation, database, thing)
        return True

    def _connection_record(self, line: bytes, start: int, time_us: int, key: str) -> bool:
        """Decode a record of a connection, whatever is in its names; whether it is one."""
        if len(line) > _LONGEST_NAMES_BYTES:
            return False
        found = _CONNECTION.match(line, start)
        if found is None:
            return False
        _server, user, host, connection, _query_id, operation, database, thing, code = found.groups()
        self._connection(time_us, key, user, host, connection, operation, database, thing, code)
        return True

    def _is_own(self, user: bytes, host: bytes) -> bool:
        return user == self._own_user and (
            host == self._own_host or host.startswith(self._own_host_with_port)
        )

    def _query(
        self,
        time_us: int,
        key: str,
        user: bytes,
        host: bytes,
        connection: bytes,
        query_id: bytes,
        database: bytes,
        text: bytes,
        code: bytes,
    ) -> None:
        if self._is_own(user, host):
            return
        query = _name(text) if len(text) < 64 else text.decode("utf-8", "replace")
        detail: dict[str, Any] = {"query_id": int(query_id)}
        if len(text) >= self._cut_at:
            query = query.rstrip("\ufffd")
            detail["truncated"] = True
        if "\\" in query:
            query = _ESCAPED.sub(_unescaped, query)
        found = classify(query, Dialect.MYSQL)
        if len(found.operations) > 1:
            found.add_all(detail)
        ip, port, name = _address(host)
        failed = code != b"0"
        self._events.append(
            AuditEvent(
                key,
                EventType.QUERY,
                time_us,
                Severity.INFO,
                Outcome.FAILURE if failed else Outcome.SUCCESS,
                code.decode() if failed else None,
                _name(user) or None,
                _name(database) or None,
                None,
                _session(connection),
                ip,
                port,
                name,
                found.operation,
                found.command_class,
                query,
                None,
                None,
                None,
                None,
                None,
                detail,
            )
        )

    def _table(
        self,
        time_us: int,
        key: str,
        user: bytes,
        host: bytes,
        connection: bytes,
        query_id: bytes,
        operation: bytes,
        database: bytes,
        table: bytes,
    ) -> None:
        schema, name = _name(database), _name(table)
        if self._is_own(user, host) or (schema == "mysql" and name in _STATISTICS):
            return
        ip, port, host_name = _address(host)
        action = operation.decode()
        objects = tuple(f"{schema}.{name}".split("|", 1)) if action == "RENAME" else (f"{schema}.{name}",)
        self._events.append(
            AuditEvent(
                key,
                EventType.QUERY,
                time_us,
                user=_name(user) or None,
                database=schema or None,
                session_id=_session(connection),
                source_ip=ip,
                source_port=port,
                source_host=host_name,
                operation=action,
                command_class=_TABLE_CLASSES[action],
                objects=objects,
                detail={"query_id": int(query_id), "record": "table"},
            )
        )

    def _connection(
        self,
        time_us: int,
        key: str,
        user: bytes,
        host: bytes,
        connection: bytes,
        operation: bytes,
        database: bytes,
        thing: bytes,
        code: bytes,
    ) -> None:
        failed = code != b"0" or operation == b"FAILED_CONNECT"
        own = self._is_own(user, host)
        if own and not failed:
            return
        ip, port, name = _address(host)
        user_name = _name(user) or None
        detail: dict[str, Any] = {}
        if thing:
            detail["proxy" if operation == b"PROXY_CONNECT" else "tls_protocol"] = _name(thing)
        if operation == b"CHANGEUSER":
            detail["change_user"] = True
        severity = Severity.INFO
        if failed:
            severity = Severity.WARNING
            if b"\n" in user:
                severity = Severity.CRITICAL
                detail["suspect"] = _FORGED

        def event(kind: EventType, suffix: str = "", **values: Any) -> AuditEvent:
            return AuditEvent(
                key + suffix,
                kind,
                time_us,
                user=user_name,
                database=_name(database) or None,
                session_id=_session(connection),
                source_ip=ip,
                source_port=port,
                source_host=name,
                detail=detail or None,
                **values,
            )

        success = {"outcome": Outcome.SUCCESS}
        if operation == b"DISCONNECT":
            self._events.append(event(EventType.DISCONNECT, **success))
            return
        if operation in (b"CONNECT", b"FAILED_CONNECT") and not own:
            self._events.append(event(EventType.CONNECTION, **success))
        if failed:
            values = {"outcome": Outcome.FAILURE, "error_code": code.decode(), "severity": severity}
            self._events.append(event(EventType.LOGIN_FAILED, ":login", **values))
        else:
            self._events.append(event(EventType.LOGIN_SUCCESS, ":login", **success))


_CONNECTION_OPERATIONS = frozenset(
    {b"CONNECT", b"FAILED_CONNECT", b"DISCONNECT", b"CHANGEUSER", b"PROXY_CONNECT"}
)


@lru_cache(maxsize=10_000)
def _name(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


@lru_cache(maxsize=10_000)
def _session(connection: bytes) -> str:
    """The connection's id: server_audit writes an unsigned number as if it had a sign."""
    number = int(connection)
    return str(number + (1 << 32) if number < 0 else number)


@lru_cache(maxsize=10_000)
def _address(host: bytes) -> Address:
    """Address, port and name of a client: from MariaDB 12 on the port follows the host."""
    text = host.decode("utf-8", "replace")
    if not text:
        return None, None, None
    try:
        return str(ipaddress.ip_address(text)), None, None
    except ValueError:
        place, _colon, digits = text.rpartition(":")
    port = int(digits) if digits.isdecimal() and len(digits) <= 5 and int(digits) <= _LARGEST_PORT else None
    if port is None or not place:
        return None, None, text
    try:
        return str(ipaddress.ip_address(place.strip("[]"))), port, None
    except ValueError:
        return None, port, place


def _unescaped(found: re.Match[str]) -> str:
    letter = found[1]
    return _UNESCAPED.get(letter, letter)
