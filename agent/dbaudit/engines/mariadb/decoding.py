"""From lines of server_audit to events: pure functions, which know only the format.

    20250203 10:15:03,db1,app,10.0.0.7,41,87,QUERY,shop,'select * from t where n=\\'a\\'',0

Statements are escaped; the names of users, databases and tables are not. A record with an odd name is cut
into its columns from its ends (columns.py), and a line without a time stamp belongs to the name that the line
before it began.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from dbaudit.core.event import AuditEvent, EventType, Outcome, Rejected, Severity
from dbaudit.core.operations import CommandClass, classify
from dbaudit.core.statements import Dialect
from dbaudit.engine.base import Decoded
from dbaudit.engines.mariadb.columns import (
    CONNECTION_OPERATIONS,
    LONGEST_NAMES_BYTES,
    Columns,
    connection_columns,
    enterprise_columns,
    query_columns,
    table_columns,
)
from dbaudit.engines.mariadb.fields import (
    SHORT_BYTES,
    addresses,
    database_name,
    name,
    session,
    short_statement,
    statement,
)
from dbaudit.engines.mariadb.records import LineBlock, LineFormat
from dbaudit.engines.mariadb.stamps import stamps_of
from dbaudit.engines.mariadb.suspects import ambiguous_events, suspicion, threat
from dbaudit.engines.mariadb.syslog import prefix_of

_SECONDS_US = {
    b"%02d:%02d" % (minute, second): (minute * 60 + second) * 1_000_000
    for minute in range(60)
    for second in range(61)
}
_STAMP_BYTES = 18
_OTHER_STAMP = re.compile(rb"[^,\n]*\d[^,\n]*,([^,\n]*),.*,-?\d{1,11},\d{1,19},[A-Z_]+,", re.DOTALL)
"""What may be a record with a time stamp of another format, and the server that it names."""

_HEAD = re.compile(rb"([^,\n]*),([^,]*),([^,\n]*),(-?\d{1,11}),(\d{1,19}),([A-Z_]+),")
_QUERY_END = re.compile(rb"',-?\d{1,10}\Z")
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
"""Tables that the server itself reads and writes while it runs a statement."""
_LOG_TABLES = frozenset({"general_log", "slow_log"})
"""Tables that only the server can write."""

# Looking a member up in its enumeration costs as much as decoding a column.
_QUERY, _INFO, _DIALECT = EventType.QUERY, Severity.INFO, Dialect.MYSQL
_SUCCESS, _FAILURE = Outcome.SUCCESS, Outcome.FAILURE

_MESSAGE = "The server wrote the message of an error in place of the database."
_NEW_USER = "The server does not write whom the session became: its next record says it."
_COMMA = "The names hold commas: where the name of the database ends cannot be said."


def decode(records: Sequence[Any]) -> Decoded:
    """The events of ``LineBlock``s."""
    events: list[AuditEvent] = []
    rejected: list[Rejected] = []
    left_out: Counter[str] = Counter()
    for block in records:
        if block.whole:
            _Lines(block, events, rejected, left_out).decode()
        else:
            rejected.append(Rejected(f"{block.file}:{block.offset}", block.data, "the record has no end"))
    return Decoded(events, rejected, left_out)


class _Lines:
    """Decodes the lines of one block; appends to ``events`` and ``rejected``, and counts ``left_out``."""

    def __init__(
        self,
        block: LineBlock,
        events: list[AuditEvent],
        rejected: list[Rejected],
        left_out: Counter[str],
    ) -> None:
        self._block = block
        self._events = events
        self._rejected = rejected
        self._left_out = left_out
        context = block.context
        self._own_user = context.own_user.encode()
        self._own_host = context.own_host.encode()
        self._own_host_with_port = self._own_host + b":"
        self._cut_at = context.query_log_limit - 1
        self._address = addresses(context.has_port)
        self._other_stamps = [known for known in map(stamps_of, context.time_stamps or ()) if known]

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
                placed = self._placed(line)
                if placed is not None:
                    last_offset, last_events, last_rejected = offset, len(self._events), len(self._rejected)
                    if not self._record(line, placed[1], placed[0], f"{file}:{offset}"):
                        self._reject(offset, line)
                elif last_offset < 0 or not self._continued(
                    data[last_offset - block.offset : offset - block.offset],
                    line,
                    last_offset,
                    last_events,
                    last_rejected,
                ):
                    self._reject(offset, line)
            offset += len(line) + 1

    def _placed(self, line: bytes) -> tuple[int, int] | None:
        """When a line was written that begins with no stamp of the usual format, and where its record goes
        on; None where it has none of the formats that the server is known to have used.
        """
        for stamps in self._other_stamps:
            placed = stamps.read(line, self._block.hours_us)
            if placed is not None:
                return placed
        hour_us = self._block.hours_us.get(line[:11])
        second_us = _SECONDS_US.get(line[12:17])
        usual = hour_us is not None and second_us is not None and line[17:18] == b","
        return (hour_us + second_us, _STAMP_BYTES) if usual else None  # type: ignore[operator]  # numbers where ``usual``

    def _continued(self, before: bytes, line: bytes, offset: int, events: int, rejected: int) -> bool:
        """Take a line that has no time stamp together with the one before it, where that makes a record."""
        if len(before) + len(line) > LONGEST_NAMES_BYTES:
            return False
        placed = self._placed(before)
        if placed is None or self._is_of_another_format(line, before[placed[1] :]):
            return False
        joined = before + line
        time_us, start = placed
        key = f"{self._block.file}:{offset}"
        not_understood = len(self._rejected) > rejected
        known = self._events[events:]
        del self._events[events:]
        if self._connection_record(joined, start, time_us, key) or (
            not_understood and self._record(joined, start, time_us, key)
        ):
            del self._rejected[rejected:]
            return True
        self._events += known
        return False

    def _is_of_another_format(self, line: bytes, before: bytes) -> bool:
        """Whether a line is rather a record with a stamp of an unknown format than the rest of a name: where
        the server can write other formats, and it names the same server as the record ``before``.
        """
        if self._block.context.time_stamps == ():
            return False
        found = _OTHER_STAMP.match(line)
        return found is not None and before.startswith(found[1] + b",")

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
        """Decode what follows the time stamp; returns whether it could be decoded."""
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
                # Statements have escaped quotes only: another quote shows that this one begins elsewhere.
                # find(), because "in" makes and drops an error for each text that is no number.
                usual = database.find(b",") < 0 and (
                    text.find(b"'") < 0 or text.count(b"'") == text.count(b"\\'")
                )
                if usual or query_columns(line, start) is None:
                    self._query(time_us, key, user, host, connection, query_id, database, text, code)
                    return True
            return self._unusual(line, start, time_us, key)
        parts = line[rest:].split(b",")
        if len(parts) == 3:
            database, thing, code = parts
            if operation in CONNECTION_OPERATIONS and code.removeprefix(b"-").isdigit():
                self._connection(time_us, key, user, host, connection, operation, database, thing, code)
                return True
            if not code and operation.decode() in _TABLE_CLASSES:
                self._table(time_us, key, user, host, connection, query_id, operation, database, thing)
                return True
            if operation == b"AUDIT_CONFIG" and code.isdigit():
                self._events.append(setting_event(time_us, key, thing, code))
                return True
        return self._unusual(line, start, time_us, key)

    def _unusual(self, line: bytes, start: int, time_us: int, key: str) -> bool:
        """A record with commas, quotes or line breaks in its names."""
        if _QUERY_END.search(line, max(start, len(line) - 16)):
            found = query_columns(line, start)
            if found is None:
                return False
            if found.readings > 1:
                self._events += ambiguous_events(found, line[start:], time_us, key, self._cut_at)
                return True
            ids = (found.user, found.host, found.connection, found.query_id)
            self._query(time_us, key, *ids, found.database, found.thing, found.code)
            return True
        if self._connection_record(line, start, time_us, key):
            return True
        found = table_columns(line, start)
        if found is not None and found.readings > 1:
            self._events += ambiguous_events(found, line[start:], time_us, key, self._cut_at)
            return True
        if found is not None:
            ids = (found.user, found.host, found.connection, found.query_id)
            self._table(time_us, key, *ids, found.operation, found.database, found.thing)
            return True
        found = enterprise_columns(line, start)
        return found is not None and self._connection_of(found, line[start:], time_us, key)

    def _connection_record(self, line: bytes, start: int, time_us: int, key: str) -> bool:
        """Decode a record of a connection, whatever is in its names; returns whether it is one."""
        found = connection_columns(line, start)
        return found is not None and self._connection_of(found, line[start:], time_us, key)

    def _connection_of(self, found: Columns, record: bytes, time_us: int, key: str) -> bool:
        if found.readings > 1:
            self._events += ambiguous_events(found, record, time_us, key, self._cut_at)
            return True
        ids = (found.user, found.host, found.connection, found.operation)
        self._connection(time_us, key, *ids, found.database, found.thing, found.code)
        reason = suspicion(found.user)
        if reason is not None:
            who = (name(found.user), self._address(found.host))
            self._events.append(threat(time_us, key, reason, record, *who))
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
        query = short_statement(text) if len(text) < SHORT_BYTES else statement(text, self._cut_at)
        database_now = database_name(database)
        detail: dict[str, Any] = {"query_id": int(query_id)}
        if len(text) >= self._cut_at:
            detail["truncated"] = True
        if database_now is None and database:
            detail["database"] = _MESSAGE
        found = classify(query, _DIALECT)
        if len(found.operations) > 1:
            found.add_all(detail)
        ip, port, host_name = self._address(host)
        failed = code != b"0"
        self._events.append(
            AuditEvent(
                key,
                _QUERY,
                time_us,
                _INFO,
                _FAILURE if failed else _SUCCESS,
                code.decode() if failed else None,
                name(user) or None,
                database_now,
                None,
                session(connection),
                ip,
                port,
                host_name,
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
        schema, table_name = name(database), name(table)
        if self._is_own(user, host):
            return
        action = operation.decode()
        if schema == "mysql" and (
            table_name in _STATISTICS or (action == "WRITE" and table_name in _LOG_TABLES)
        ):
            self._left_out[f"{action} mysql.{table_name}"] += 1
            return
        ip, port, host_name = self._address(host)
        whole = f"{schema}.{table_name}"
        detail = {"query_id": int(query_id), "record": "table"}
        is_unsure = "," in table_name
        if is_unsure:
            detail["names"] = _COMMA
        self._events.append(
            AuditEvent(
                key,
                EventType.QUERY,
                time_us,
                user=name(user) or None,
                database=None if is_unsure else schema or None,
                session_id=session(connection),
                source_ip=ip,
                source_port=port,
                source_host=host_name,
                operation=action,
                command_class=_TABLE_CLASSES[action],
                objects=tuple(whole.split("|", 1)) if action == "RENAME" else (whole,),
                detail=detail,
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
        ip, port, host_name = self._address(host)
        detail: dict[str, Any] = {}
        if thing:
            detail["proxy" if operation == b"PROXY_CONNECT" else "tls_protocol"] = name(thing)
        if operation == b"CHANGEUSER":
            detail["change_user"] = True
            if not user and not host:
                # What follows is memory that the server never set.
                database = b""
                detail["user"] = _NEW_USER
            elif database == b"mysql":
                # Left by the server's own writing to mysql.general_log, which may be all that is true of it.
                database = b""
        severity = Severity.INFO
        if failed:
            severity = Severity.WARNING
            reason = suspicion(user)
            if reason is not None:
                severity = Severity.CRITICAL
                detail["suspect"] = reason

        def event(kind: EventType, suffix: str = "", **values: Any) -> AuditEvent:
            return AuditEvent(
                key + suffix,
                kind,
                time_us,
                user=name(user) or None,
                database=database_name(database),
                session_id=session(connection),
                source_ip=ip,
                source_port=port,
                source_host=host_name,
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


def setting_event(time_us: int, key: str, setting: bytes, code: bytes) -> AuditEvent:
    """A change of the audit's own settings, which MariaDB Enterprise records."""
    failed = code != b"0"
    return AuditEvent(
        key,
        EventType.QUERY,
        time_us,
        outcome=Outcome.FAILURE if failed else Outcome.SUCCESS,
        error_code=code.decode() if failed else None,
        operation="AUDIT_CONFIG",
        command_class=CommandClass.MISC,
        detail={"record": "audit_config", "setting": name(setting)},
    )
