"""Reading one server: its log, its audit log and its profilers, each from its own position."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from dbaudit.core.clock import now_us
from dbaudit.core.database import Target
from dbaudit.core.errors import ConfigurationError, DbauditError, ErrorCode, RecordError
from dbaudit.core.event import AuditEvent, gap
from dbaudit.core.host_limits import HostLimits
from dbaudit.engine.local_files import FilePosition, LocalLog, Portion
from dbaudit.engine.options import StartFrom
from dbaudit.engines.mongodb import audit_files
from dbaudit.engines.mongodb.addresses import split_remote
from dbaudit.engines.mongodb.connection import MemberConnection
from dbaudit.engines.mongodb.connections import Connections, Known
from dbaudit.engines.mongodb.members import Member
from dbaudit.engines.mongodb.options import LogSource, Options
from dbaudit.engines.mongodb.parts import may_have_parts, note_part
from dbaudit.engines.mongodb.position import MemberPosition, ProfilePosition
from dbaudit.engines.mongodb.probing import AuditDestination, Probe, probe
from dbaudit.engines.mongodb.profiler import profile_now, profiled_databases, read_profile
from dbaudit.engines.mongodb.records import Block, Context, FileBlock, ProfileBlock, RingBlock
from dbaudit.engines.mongodb.ring import read_ring
from dbaudit.engines.mongodb.server_log import OF_CONNECTIONS, note, parse_ring_line
from dbaudit.engines.mongodb.tails import first_waiting

_PROBE_HOLDS_SECONDS = 60.0
_RING_SECONDS = 0.25
_RING_IDLE_SECONDS = 1.0
_PROFILE_SECONDS = 1.0
_PROFILE_BYTES = 1024
"""About how many bytes a document of the profiler has."""
_REMEMBERED_OWN = 32
_TAIL_BYTES = 64 << 10

_NAMES = re.compile(r'"ctx":"(conn\d+)"|"connectionId":(\d+)')
_OF_CONNECTIONS = re.compile(rf'"id":(?:{"|".join(map(str, sorted(OF_CONNECTIONS)))}),')
_LOG_REMEDY = (
    "Let the agent's account read the file (chmod g+r, and the account in the server's group), set the "
    "option log_path to where it is here, or use log_source: remote."
)
_AUDIT_REMEDY = (
    "Let the agent's account read the file (chmod g+r, and the account in the server's group), or set the "
    "option audit_log_path to where it is here."
)


class MemberChunk(NamedTuple):
    """What one read of one server gave."""

    records: list[Block]
    after: MemberPosition
    gaps: tuple[AuditEvent, ...] = ()
    more: bool = False


class MemberReader:
    """Reads one server. ``label`` is its address where several are read, else empty."""

    def __init__(
        self, member: Member, options: Options, label: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.member = member
        self._options = options
        self._label = label
        self._clock = clock
        self._probe: Probe | None = None
        self._probed_at = 0.0
        self._own_user = ("", "")
        self._profiled: dict[str, int] = {}
        self._connections = Connections()
        self._log: LocalLog | None = None
        self._audit: LocalLog | None = None
        self._due = {"ring": 0.0, "profile": 0.0}
        self._held: tuple[str, int] | None = None

    def close(self) -> None:
        for log in (self._log, self._audit):
            if log is not None:
                log.close()
        self.member.drop()

    def read(self, position: MemberPosition | None, since_us: int, limit_bytes: int) -> MemberChunk:
        """The records after ``position``; None means that this server was never read.

        ``since_us`` is when collecting of the deployment began; 0 where it begins now. Raises
        ConfigurationError or TransientError.
        """
        try:
            present = self._ask_when_due(position)
            if position is None:
                position = self._first_position(present, since_us)
                if not since_us:
                    return MemberChunk([], self._with_own(position), more=False)
            return self._read(present, position, limit_bytes)
        except DbauditError as error:
            if error.code in (ErrorCode.CONNECTION_LOST, ErrorCode.STATEMENT_TIMEOUT):
                self._probe = None
                self.member.drop()
            raise

    # -- what there is to read

    def _ask_when_due(self, position: MemberPosition | None) -> Probe:
        now = self._clock()
        if self._probe is not None and now - self._probed_at < _PROBE_HOLDS_SECONDS:
            return self._probe
        connection = self.member.connection()
        is_first = self._probe is None
        found = probe(connection, self._options, declared=self.member.declared)
        self._profiled = {} if found.mongos else profiled_databases(connection)
        if self._probe is None or self._probe.process != found.process:
            users = connection.command({"connectionStatus": 1})["authInfo"].get("authenticatedUsers") or [{}]
            self._own_user = (str(users[0].get("user", "")), str(users[0].get("db", "")))
        self._probe, self._probed_at = found, now
        if is_first:
            self._remember_connections(connection, found, position)
            for name, part in position.parts.items() if position is not None else ():
                self._connections.at(name).part = part
        limits = self.member.target.limits
        self._log = _followed(self._log, found.log_path, _LOG_REMEDY, limits)
        self._audit = _followed(self._audit, found.audit_path, _AUDIT_REMEDY, limits)
        return found

    def _remember_connections(
        self, connection: MemberConnection, found: Probe, position: MemberPosition | None
    ) -> None:
        """Those that are open already: what the log said of them may have been read by another session."""
        for name in position.own if position is not None else ():
            self._connections.put(name, Known(own=True))
        try:
            open_now = connection.aggregate(
                [
                    {"$currentOp": {"allUsers": True, "idleConnections": True}},
                    {"$match": {"connectionId": {"$exists": True}}},
                    {"$project": {"connectionId": 1, "client": 1, "appName": 1, "effectiveUsers": 1}},
                ]
            )
        except ConfigurationError as error:
            if error.code not in (ErrorCode.PERMISSION_MISSING, ErrorCode.SERVER_NOT_SUPPORTED):
                raise
            return
        context = self._context(found, MemberPosition())
        for operation in open_now:
            ip, port = split_remote(str(operation.get("client", "")))
            application = operation.get("appName")
            known = Known(ip, port, application)
            for user in operation.get("effectiveUsers") or []:
                known.log_in(user.get("user"), user.get("db"), single=context.single_user)
            known.own = (application, ip) == (context.own_application, context.own_ip) and (
                known.user in (None, context.own_user)
            )
            self._connections.put(f"conn{operation['connectionId']}", known)

    def _context(self, found: Probe, position: MemberPosition) -> Context:
        target: Target = self.member.target
        audited = self._audit is not None and not found.audit_filter
        return Context(
            member=self._label,
            since_us=position.since_us,
            own_user=self._own_user[0],
            own_user_database=self._own_user[1],
            own_application=target.application_name,
            own_ip=found.own_ip,
            audited=audited,
            audited_statements=audited and found.audit_successes,
            logged=not found.quiet,
            profiled=frozenset(self._profiled),
            replica_set=found.replica_set,
            single_user=found.major >= (6, 0),
        )

    # -- where to begin

    def _first_position(self, found: Probe, since_us: int) -> MemberPosition:
        """Where to begin. A server that came later is read from its beginning: what is older than
        ``since_us`` is left out when it is decoded.
        """
        if self._options.start_from is StartFrom.BEGINNING:
            return MemberPosition()
        if since_us:
            return MemberPosition(since_us=since_us)
        position = MemberPosition(since_us=found.now_us or now_us())
        if self._log is not None:
            position = msgspec.structs.replace(position, file=self._log.first_position())
        else:
            connection = self.member.connection()
            position = msgspec.structs.replace(
                position, ring=read_ring(connection, found.process, None).after
            )
        if self._audit is not None:
            audit_files.check(self._audit.path, self.member.target.limits)
            position = msgspec.structs.replace(position, audit=self._audit.first_position())
        connection = self.member.connection()
        profiles = {name: profile_now(connection, name) for name in self._profiled}
        return msgspec.structs.replace(position, profiles=profiles)

    # -- reading

    def _read(self, found: Probe, position: MemberPosition, limit_bytes: int) -> MemberChunk:
        context = self._context(found, position)
        records: list[Block] = []
        gaps: list[AuditEvent] = []
        more = False
        for read in (self._read_audit, self._read_log, self._read_profiles):
            chunk = read(found, context, position, limit_bytes)
            records += chunk.records
            gaps += chunk.gaps
            position = chunk.after
            more = more or chunk.more
        return MemberChunk(records, self._with_own(position), tuple(gaps), more)

    def _with_own(self, position: MemberPosition) -> MemberPosition:
        own, parts = tuple(self._connections.own()[-_REMEMBERED_OWN:]), self._connections.parts()
        if (own, parts) == (position.own, position.parts):
            return position
        return msgspec.structs.replace(position, own=own, parts=parts)

    def _read_audit(
        self, found: Probe, context: Context, position: MemberPosition, limit_bytes: int
    ) -> MemberChunk:
        demanded = self._options.audit_log_path is not None or self._options.log_source is LogSource.LOCAL
        if found.audit_destination is AuditDestination.BSON_FILE and demanded:
            audit_files.refuse_bson(Path(self._options.audit_log_path or found.audit_written_to or ""))
        if self._audit is None:
            return MemberChunk([], position)
        if position.audit is None:
            audit_files.check(self._audit.path, self.member.target.limits)
            first = self._audit.first_position(beginning=True)
            return MemberChunk([], msgspec.structs.replace(position, audit=first), more=True)
        portion = self._audit.read(position.audit, limit_bytes)
        block = _block(context, f"{self.member.place}:audit:{portion.start.head}", True, portion)
        if portion.start.offset == 0 and portion.data:
            audit_files.check_beginning(self._audit.path, portion.data)
        return MemberChunk(
            [block] if portion.data else [],
            msgspec.structs.replace(position, audit=portion.after),
            tuple(loss.event() for loss in portion.losses),
            portion.more,
        )

    def _read_log(
        self, found: Probe, context: Context, position: MemberPosition, limit_bytes: int
    ) -> MemberChunk:
        if self._log is None:
            return self._read_ring(found, context, position)
        if position.file is None:
            return self._to_file(self._log, position)
        portion = self._log.read(position.file, limit_bytes)
        after, data = portion.after, portion.data
        if data and portion.whole and not portion.more:
            waiting = self._waiting_bytes(portion.start, data)
            if waiting:
                data = data[:-waiting]
                after = msgspec.structs.replace(after, offset=after.offset - waiting)
        portion = msgspec.structs.replace(portion, data=data, after=after)
        records: list[Block] = []
        if data:
            block = _block(context, f"{self.member.place}:log:{portion.start.head}", False, portion)
            text = data.decode(errors="replace")
            records.append(msgspec.structs.replace(block, known=self._known(text)))
            self._note(text.split("\n"), text, context)
        return MemberChunk(
            records,
            msgspec.structs.replace(position, file=after, ring=None),
            tuple(loss.event() for loss in portion.losses),
            portion.more,
        )

    def _to_file(self, log: LocalLog, position: MemberPosition) -> MemberChunk:
        """The first time that the log is read from the disk; by getLog it may have been read before."""
        if position.ring is None:
            first = log.first_position(beginning=True)
            return MemberChunk([], msgspec.structs.replace(position, file=first), more=True)
        lost = _source_changed(self.member.place, f"{position.ring.process}:{position.ring.lines}")
        changed = msgspec.structs.replace(position, file=log.first_position(), ring=None)
        return MemberChunk([], changed, (lost,), more=True)

    def _read_ring(self, found: Probe, context: Context, position: MemberPosition) -> MemberChunk:
        now = self._clock()
        if now < self._due["ring"]:
            return MemberChunk([], position)
        process, connection = found.process, self.member.connection()
        while True:
            ring = read_ring(connection, process, position.ring)
            # A process that is there afterwards was there before; one that is new came in between.
            hello = connection.command({"hello": 1}).get("topologyVersion") or {}
            present = str(hello.get("processId", process))
            if present == process:
                break
            process = present
            self._probe = None
        if process != found.process:
            self._connections.clear()
        gaps = ring.gaps
        if position.file is not None:
            gaps = (*gaps, _source_changed(self.member.place, f"{position.file.head}:{position.file.offset}"))
        lines, first, after = ring.lines, ring.first, ring.after
        waiting = first_waiting(lines)
        if waiting is not None and not (waiting == 0 and self._held == ("ring", first)):
            lines = lines[:waiting]
            self._held = ("ring", first + waiting)
            after = msgspec.structs.replace(after, lines=first + waiting)
        self._due["ring"] = now + (_RING_SECONDS if ring.lines else _RING_IDLE_SECONDS)
        changed = msgspec.structs.replace(position, ring=after, file=None)
        if not lines:
            return MemberChunk([], changed, gaps)
        text = "\n".join(lines)
        block = RingBlock(
            context=context,
            source=f"{self.member.place}:ring:{process}",
            first=first,
            lines=lines,
            known=self._known(text),
        )
        self._note(lines, text, context)
        return MemberChunk([block], changed, gaps)

    def _read_profiles(
        self, found: Probe, context: Context, position: MemberPosition, limit_bytes: int
    ) -> MemberChunk:
        now = self._clock()
        if context.audited_statements or not self._profiled or now < self._due["profile"]:
            return MemberChunk([], position)
        connection = self.member.connection()
        profiles = dict(position.profiles)
        records: list[Block] = []
        gaps: tuple[AuditEvent, ...] = ()
        more = False
        most = max(100, limit_bytes // _PROFILE_BYTES)
        for database in self._profiled:
            chunk = read_profile(connection, database, profiles.get(database, ProfilePosition()), most)
            profiles[database] = chunk.after
            gaps += chunk.gaps
            more = more or chunk.more
            if chunk.documents:
                records.append(ProfileBlock(context=context, database=database, documents=chunk.documents))
        if not more:
            self._due["profile"] = now + _PROFILE_SECONDS
        return MemberChunk(records, msgspec.structs.replace(position, profiles=profiles), gaps, more)

    # -- connections

    def _known(self, text: str) -> dict[str, Known]:
        """What is known of the connections that these lines name, before the lines are decoded."""
        return self._connections.of({name or f"conn{number}" for name, number in _NAMES.findall(text)})

    def _note(self, lines: Sequence[str], text: str, context: Context) -> None:
        have_parts = may_have_parts(self._connections, text)
        for line in lines if have_parts or _OF_CONNECTIONS.search(text) else ():
            if _OF_CONNECTIONS.search(line):
                try:
                    note(self._connections, parse_ring_line(line), context)
                except (RecordError, ValueError, OverflowError):
                    continue  # the decoder puts it aside
            elif have_parts:
                note_part(self._connections, line)

    def _waiting_bytes(self, start: FilePosition, data: bytes) -> int:
        """How many bytes at the end wait for the line that explains them."""
        begin = max(0, len(data) - _TAIL_BYTES)
        lines = data[begin:].split(b"\n")
        place = first_waiting([line.decode(errors="replace") for line in lines])
        if place is None:
            return 0
        waiting = len(b"\n".join(lines[place:]))
        offset = start.offset + len(data) - waiting
        if waiting == len(data) and self._held == ("file", offset):
            return 0
        self._held = ("file", offset)
        return waiting


def _followed(
    log: LocalLog | None, path: Path | None, remedy: str, limits: HostLimits | None
) -> LocalLog | None:
    """The follower of a path: the present one if it follows this path, else a new one."""
    if log is not None and log.path == path:
        return log
    if log is not None:
        log.close()
    return LocalLog(path, remedy=remedy, limits=limits) if path is not None else None


def _block(context: Context, source: str, audit: bool, portion: Portion) -> FileBlock:
    return FileBlock(
        context=context,
        audit=audit,
        source=source,
        offset=portion.start.offset,
        data=portion.data,
        whole=portion.whole,
    )


def _source_changed(place: str, at: str) -> AuditEvent:
    return gap(
        key=f"gap:source:{place}:{at}",
        time_us=now_us(),
        reason="The server's log is read in another way from now on; what was logged in between is not read.",
        source=place,
        lost_records=None,
    )
