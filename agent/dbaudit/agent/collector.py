"""Collecting one database: open, test, then read, decode, protect and store in a loop.

Every failure of an engine is handled here: it is logged, shown in the state, and tried again later. No other
database is affected.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import msgspec

from dbaudit.agent.backoff import Backoff
from dbaudit.agent.calls import EngineCalls
from dbaudit.agent.decoding import chunk_name, decode
from dbaudit.agent.failures import error_of, shown, unusable
from dbaudit.agent.flow import Flow
from dbaudit.agent.marks import Marks
from dbaudit.agent.mending import mend
from dbaudit.agent.pace import Pace
from dbaudit.agent.protection import protect, strictest
from dbaudit.agent.rate import Rate
from dbaudit.agent.routing import Router
from dbaudit.agent.settings import AgentSettings
from dbaudit.agent.sharing import Member, Shared, SharedReads
from dbaudit.agent.turns import Turns
from dbaudit.agent.undeclared import databases_of, is_of_interest, with_undeclared
from dbaudit.core.clock import now_us
from dbaudit.core.database import AuditOptions, AuditStatus, ConnectionStatus, Database, Target
from dbaudit.core.errors import (
    ConfigurationError,
    DbauditError,
    ErrorCode,
    RequestError,
    TransientError,
)
from dbaudit.core.event import AuditEvent
from dbaudit.core.report import CheckStatus, Diagnosis, DiagnosisStatus, Health
from dbaudit.core.statements import Fingerprints
from dbaudit.core.tracebacks import safe_traceback
from dbaudit.engine import Chunk, Cursor, Decoded, Engine, Session
from dbaudit.engine.manager import EngineRegistry
from dbaudit.state import State
from dbaudit.state.collectors import CollectorState, Pulse
from dbaudit.state.events import Appended, StoredCursor
from dbaudit.state.nodes import Lease
from dbaudit.state.wakeup import Topic

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 0.5
_STEADY_SECONDS = 10.0
"""After so long without a failure the back-off starts short again."""
_LONGEST_DELAY_SECONDS = 3600.0


class Collector(threading.Thread):
    """Collects one database for as long as this node holds its lease."""

    def __init__(
        self,
        state: State,
        registry: EngineRegistry,
        settings: AgentSettings,
        *,
        lease: Lease,
        node_id: str,
        version: str,
        marks: Marks,
        pace: Pace,
        turns: Turns,
        reads: SharedReads,
    ) -> None:
        super().__init__(name=f"collector-{lease.database_id}", daemon=True)
        self.lease = lease
        self._state = state
        self._registry = registry
        self._settings = settings
        self._node_id = node_id
        self._version = version
        self._marks = marks
        self._pace = pace
        self._turns = turns
        self._reads = reads
        self._member: Member | None = None
        self._stopping = threading.Event()
        self._abandoned = False
        self._backoff = Backoff(settings.backoff_initial_seconds, settings.backoff_max_seconds)
        self._state_backoff = Backoff(settings.backoff_initial_seconds, settings.state_retry_max_seconds)
        self._fingerprints = Fingerprints()
        self._rate = Rate(time.monotonic())
        self._lived_at_us = now_us()
        self._running_since: float | None = None
        self._database: Database | None = None
        self._calls: EngineCalls | None = None
        self._router: Router | None = None
        self._existing: frozenset[str] | None = None
        self._flow = Flow()
        self._shown_flow = CheckStatus.HEALTHY
        self._health = Health()
        self._shared_options: AuditOptions | None = None

    def stop(self) -> None:
        """Ask it to end after the chunk that it is working on."""
        self._stopping.set()

    def pulse(self) -> Pulse:
        """When it last did something, and how many events a second it stored over the last minute."""
        return Pulse(self.lease, self._lived_at_us, self._rate.per_second(time.monotonic()))

    def stuck_in(self) -> str | None:
        """The call into the engine that has lasted too long, such as ``read()``; None if no call has."""
        since = None if self._calls is None else self._calls.since()
        if since is None or since[1] < self._settings.call_seconds:
            return None
        return f"{since[0]}()"

    def abandon(self, error: DbauditError, delay_seconds: float) -> None:
        """Stop waiting for this collector, whose call hangs, and show ``error``. Called from another thread;
        from now on the collector writes no state.
        """
        self._abandoned = True
        self._stopping.set()
        self._show(error, delay_seconds)

    def hold_back(self, error: DbauditError, delay_seconds: float) -> None:
        """Show ``error`` instead of starting."""
        if self._quietly(self._know_database):
            self._show(error, delay_seconds)

    def run(self) -> None:
        """Collect until stopped, or until another node holds the lease."""
        while not self._stopping.is_set():
            seen = self._state.wakeup.count(Topic.DATABASES)
            try:
                with self._turns.taken(self._stopping) as is_mine:
                    if is_mine:
                        self._collect(seen)
            except RequestError:
                return  # the database was deleted meanwhile
            except DbauditError as error:
                if error.code is ErrorCode.LEASE_LOST:
                    _log.info("%s is not collected here any more", self.lease.database_id)
                    break
                self._failed(error, seen)
            except Exception as error:  # noqa: BLE001  # one database's failure is its own
                _log.error("%s: %s", self.lease.database_id, safe_traceback(error, ()))
                message = f"The agent failed: {type(error).__name__}; its log has more."
                self._failed(DbauditError(ErrorCode.INTERNAL_ERROR, message), seen)
        self._set_state(CollectorState.STOPPED)

    def _collect(self, seen: int) -> None:
        """``seen`` is how many changes of declarations were known of before this one is looked up."""
        database = self._state.databases.get(self.lease.database_id)
        self._database = database
        engine = self._registry.get(database.type)
        target = self._state.databases.target(database.id)
        self._set_state(CollectorState.STARTING)
        mark = self._marks.take(database.id)
        try:
            self._work(database, engine, target, EngineCalls(engine.type, target, mark), seen)
        finally:
            self._marks.give_back(mark)

    def _work(
        self, database: Database, engine: Engine, target: Target, calls: EngineCalls, seen: int
    ) -> None:
        self._calls = calls
        session = calls.open(engine, target, self._settings.host_limits)
        try:
            self._flow = Flow()
            self._test(database, engine, target, calls, session)
            self._member = self._reads.join(engine.type, target)
            self._follow(database, engine, target, calls, session, seen)
        finally:
            if self._member is not None:
                self._member.leave()
                self._member = None
            self._close(calls, session)

    def _test(
        self, database: Database, engine: Engine, target: Target, calls: EngineCalls, session: Session
    ) -> None:
        report = calls.test(session)
        self._lived()
        if report.success:
            self._list_databases(database, engine, calls, session)
            if self._existing is not None:
                report = with_undeclared(report, self._state, engine, calls, session, target, self._existing)
        self._quietly(lambda: self._state.collectors.set_report(self.lease, report))
        if not report.success:
            raise unusable(report)

    def _know_database(self) -> None:
        self._database = self._state.databases.get(self.lease.database_id)

    def _follow(
        self,
        database: Database,
        engine: Engine,
        target: Target,
        calls: EngineCalls,
        session: Session,
        declared: int,
    ) -> None:
        """Collect until a new connection is needed or this collector is stopped.

        ``declared`` is how many changes of declarations were known of when ``database`` was looked up.
        """
        cursor = self._state.events.cursor(self.lease.database_no)
        if cursor.cursor is not None:
            # The agent may have died after it stored events and before it acknowledged them.
            calls.call("acknowledge", object, session.acknowledge, cursor.cursor)
        next_health = time.monotonic() + self._settings.health_interval_seconds
        self._running_since = last_new = last_tested = time.monotonic()
        self._shared_options = None
        shown_running = measured = False
        while not self._stopping.is_set():
            before = cursor
            cursor, more = self._advance(database, engine, calls, session, cursor)
            calls.has_collected()
            if not shown_running:
                if not measured:
                    measured = True
                    self._measure_health(calls, session)
                # Only now is it certain that no later event will be missed.
                shown_running = self._show_running(database)
                self._turns.give_back(self._stopping)
            look = time.monotonic() >= next_health
            if look:
                next_health = time.monotonic() + self._settings.health_interval_seconds
                if time.monotonic() - max(last_new, last_tested) >= self._settings.quiet_seconds:
                    self._test(database, engine, target, calls, session)
                    last_tested = time.monotonic()
                self._measure_health(calls, session)
                self._check_source(calls, session)
                self._list_databases(database, engine, calls, session)
            if shown_running:
                self._show_flow()
            notices = self._state.wakeup.count(Topic.DATABASES)
            if look or notices != declared:
                declared = notices
                changed = self._declaration(database)
                if _needs_new_session(database, changed):
                    break
                self._database = database = changed
                self._shared_options = None
            now = time.monotonic()
            if cursor is not before:
                last_new = now
            if not more or self._flow.gets_nowhere:
                self._stopping.wait(self._pace.pause_seconds(now - last_new))
        more = calls.call("finish", bool, session.finish)
        while more and not self._flow.gets_nowhere:
            cursor, more = self._advance(database, engine, calls, session, cursor)

    def _advance(
        self, database: Database, engine: Engine, calls: EngineCalls, session: Session, cursor: StoredCursor
    ) -> tuple[StoredCursor, bool]:
        """Read and store what follows ``cursor``; returns the cursor then, and whether more is waiting."""
        chunk, decoded = self._read(engine, calls, session, cursor.cursor)
        if chunk.records or chunk.gaps or chunk.cursor != cursor.cursor:
            router = self._router
            if router is None or not router.is_for(database, session):
                self._router = router = Router(engine, session, database)
            router.existing = self._existing
            stored = self._store(database, engine, calls, router, cursor, chunk, decoded)
            if stored is None:
                return self._state.events.cursor(self.lease.database_no), True
            cursor = StoredCursor(chunk.cursor, stored.revision)
            calls.call("acknowledge", object, session.acknowledge, chunk.cursor)
            self._rate.add(time.monotonic(), stored.stored)
        else:
            self._flow.nothing(more=chunk.more)
        self._lived()
        return cursor, chunk.more

    def _read(
        self, engine: Engine, calls: EngineCalls, session: Session, cursor: Cursor | None
    ) -> tuple[Chunk, Decoded | None]:
        """What follows ``cursor``, and what it was decoded to where it is shared with other declarations."""

        def read() -> Chunk:
            return calls.call("read", Chunk, session.read, cursor, self._settings.chunk_bytes)

        def decoded(chunk: Chunk) -> Decoded:
            return decode(engine, calls, chunk.records, lambda events: events, cursor)

        member = self._member
        if (
            cursor is None
            or member is None
            or member.alone
            or not calls.call("is_repeatable", bool, session.is_repeatable, cursor)
        ):
            return read(), None
        got = member.read(cursor, read, decoded)
        return (got.chunk, got.decoded) if isinstance(got, Shared) else (got, None)

    def _store(
        self,
        database: Database,
        engine: Engine,
        calls: EngineCalls,
        router: Router,
        cursor: StoredCursor,
        chunk: Chunk,
        shared: Decoded | None,
    ) -> Appended | None:
        """Store the chunk with its cursor; None if the stored cursor has moved already."""
        routed = router.chunk()
        shared_options = database.audit_options if router.takes_all else self._options_of_server(database)

        def prepared(events: list[AuditEvent]) -> list[AuditEvent]:
            kept = routed.take(events)
            own, of_server = routed.parted(kept)
            protect(own, database.audit_options, self._fingerprints, engine.dialect)
            if of_server:
                protect(of_server, shared_options, self._fingerprints, engine.dialect)
            routed.decoded += len(events)
            return kept

        decoded = decode(engine, calls, chunk.records, prepared, cursor.cursor, shared)
        routed.add_gaps(chunk.gaps)
        events, rejected = [*chunk.gaps, *decoded.events], decoded.rejected
        of_server = routed.places(events)
        for gap in chunk.gaps:
            _log.warning(
                "%s: records were lost at the source: %s", database.id, (gap.detail or {}).get("reason")
            )
        mended = False
        while True:
            try:
                done = self._state.events.append(
                    self.lease, cursor, chunk.cursor, events, rejected, of_server, decoded.left_out
                )
                break
            except DbauditError as error:
                if error.code is ErrorCode.STATE_CHANGED_ELSEWHERE:
                    # An earlier try had committed before the connection to the state was lost.
                    _log.info("%s: the cursor was moved already; going on from there", database.id)
                    return None
                if error.code is not ErrorCode.STATE_UNAVAILABLE:
                    raise
                # The state is unavailable or full: keep the chunk, and read no more until it is stored.
                _log.warning("%s: collecting waits: %s", database.id, error)
                if self._stopping.wait(self._state_backoff.next_seconds()):
                    raise
            except Exception as error:  # a value that the driver refuses: tried once more, then raised
                if mended:
                    raise
                mended = True
                _log.warning("%s: the state refuses a value: %s", database.id, type(error).__name__)
                good, rejected = mend(events, rejected, chunk_name(cursor.cursor))
                events = list(good.values())
                of_server = None if of_server is None else of_server.moved(good)
        self._state_backoff.reset()
        if rejected:
            _log.warning("%s: %d records were put aside", database.id, len(rejected))
        self._flow.saw(
            cursor.cursor,
            chunk.cursor,
            records=len(chunk.records),
            events=routed.decoded,
            rejected=len(decoded.rejected),
            new=max(0, done.stored - len(chunk.gaps)),
            more=chunk.more,
        )
        if done.stored:
            self._quietly(lambda: self._state.wakeup.notify(Topic.EVENTS))
        return done

    def _options_of_server(self, database: Database) -> AuditOptions:
        """What is stored of the server's events: what all its declarations allow, as far as is known."""
        if self._shared_options is None:
            try:
                declared = self._state.databases.on_server(database.type, database.host, database.port)
            except TransientError:
                return strictest([database.audit_options])
            self._shared_options = strictest([database.audit_options, *(d.audit_options for d in declared)])
        return self._shared_options

    def _list_databases(
        self, database: Database, engine: Engine, calls: EngineCalls, session: Session
    ) -> None:
        of_interest = is_of_interest(engine, database.audit_options.scope)
        self._existing = databases_of(calls, session) if of_interest else None

    def _measure_health(self, calls: EngineCalls, session: Session) -> None:
        """Measure the health. No failure of health() stops collecting: only reading decides on that."""
        try:
            health: Health = calls.call("health", Health, session.health)
        except DbauditError as error:
            _log.warning("%s: health cannot be measured: %s", self.lease.database_id, error)
            health = Health(measured_at_us=now_us())
        self._lived()
        self._health = health
        self._write_health()

    def _write_health(self) -> bool:
        health = msgspec.structs.replace(self._health, audit_source=self._flow.finding().status)
        return self._quietly(lambda: self._state.collectors.set_health(self.lease, health))

    def _check_source(self, calls: EngineCalls, session: Session) -> None:
        """Raises what the engine says of a source that is not there any more."""
        try:
            found = calls.call("check_source", object, session.check_source)
        except DbauditError as error:
            _log.warning("%s: the source cannot be checked: %s", self.lease.database_id, error)
            return
        self._lived()
        if isinstance(found, Diagnosis) and found.status is DiagnosisStatus.FAILED:
            raise error_of(found)

    def _show_flow(self) -> None:
        """Show, once, that reading gets nowhere, and that it gets on again."""
        finding = self._flow.finding()
        if finding.status is self._shown_flow:
            return  # the words may differ by a number
        code = None if finding.reason is None else str(ErrorCode.AUDIT_SOURCE_STUCK)
        if finding.reason is not None:
            _log.warning("%s: %s", self.lease.database_id, finding.reason)

        def write() -> None:
            self._write_state(CollectorState.RUNNING, error_code=code, error=finding.reason)

        if self._quietly(write) and self._write_health():
            self._shown_flow = finding.status

    def _close(self, calls: EngineCalls, session: Session) -> None:
        try:
            calls.call("close", object, session.close)
        except DbauditError as error:
            _log.warning("%s: %s", self.lease.database_id, error)

    def _failed(self, error: DbauditError, seen: int) -> None:
        """Show what went wrong, and wait: until it may work again, the declaration changes, or the end."""
        if self._running_since is not None and time.monotonic() - self._running_since > _STEADY_SECONDS:
            self._backoff.reset()
        self._running_since = None
        if error.code is ErrorCode.STATE_UNAVAILABLE:
            delay = self._state_backoff.next_seconds()
            _log.warning("%s: %s; trying again in %.1f seconds", self.lease.database_id, error, delay)
        else:
            delay = self._delay_seconds(error)
            self._show(error, delay)
        self._wait(delay, seen)

    def _delay_seconds(self, error: DbauditError) -> float:
        if isinstance(error, ConfigurationError):
            return self._settings.misconfigured_retry_seconds
        asked = error.retry_after_seconds if isinstance(error, TransientError) else None
        return min(self._backoff.next_seconds(asked), _LONGEST_DELAY_SECONDS)

    def _show(self, error: DbauditError, delay_seconds: float) -> None:
        what = shown(error)
        _log.warning(
            "%s: %s; trying again in %.1f seconds", self.lease.database_id, what.reason, delay_seconds
        )

        def write() -> None:
            self._write_state(
                what.state,
                error_code=what.code,
                error=what.reason,
                next_try_at_us=now_us() + int(delay_seconds * 1_000_000),
            )
            self._state.collectors.set_health(self.lease, what.health)
            if self._database is not None:
                self._state.databases.set_status(
                    self._database.id,
                    self._database.connection_version,
                    what.status,
                    code=what.code,
                    reason=what.reason,
                    lease=self.lease,
                )

        self._quietly(write)

    def _show_running(self, database: Database) -> bool:
        def write() -> None:
            self._write_state(CollectorState.RUNNING)
            self._shown_flow = CheckStatus.HEALTHY
            self._state.databases.set_status(
                database.id,
                database.connection_version,
                ConnectionStatus.CONNECTED,
                audit_status=AuditStatus.ACTIVE,
                lease=self.lease,
            )

        return self._quietly(write)

    def _wait(self, delay_seconds: float, seen: int) -> None:
        deadline = time.monotonic() + delay_seconds
        while not self._stopping.is_set() and (left := deadline - time.monotonic()) > 0:
            self._lived()
            if self._state.wakeup.wait(Topic.DATABASES, seen, min(left, _LOOK_SECONDS)):
                seen = self._state.wakeup.count(Topic.DATABASES)
                if self._database is None or self._is_changed(self._database):
                    return

    def _is_changed(self, database: Database) -> bool:
        try:
            return self._declaration(database).updated_at_us != database.updated_at_us
        except RequestError:
            return True

    def _declaration(self, known: Database) -> Database:
        """The declaration as it is now, or ``known`` while the state is away."""
        try:
            return self._state.databases.get(known.id)
        except TransientError:
            return known

    def _lived(self) -> None:
        self._lived_at_us = now_us()

    def _set_state(self, state: CollectorState) -> None:
        if not self._abandoned:
            self._quietly(lambda: self._write_state(state))

    def _write_state(
        self,
        state: CollectorState,
        *,
        error_code: str | None = None,
        error: str | None = None,
        next_try_at_us: int | None = None,
    ) -> None:
        self._state.collectors.set_state(
            self.lease,
            state,
            node_id=self._node_id,
            version=self._version,
            error_code=error_code,
            error=error,
            next_try_at_us=next_try_at_us,
        )

    def _quietly(self, write: Callable[[], object]) -> bool:
        """Call ``write`` and return whether it worked. A failure is only logged: such reports can wait."""
        try:
            write()
        except DbauditError as error:
            _log.warning("%s: the state of collecting cannot be written: %s", self.lease.database_id, error)
            return False
        return True


def _needs_new_session(before: Database, after: Database) -> bool:
    return (
        after.connection_version != before.connection_version
        or after.audit_options.engine != before.audit_options.engine
        or after.audit_options.capture_results != before.audit_options.capture_results
    )
