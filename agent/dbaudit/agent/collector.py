"""Collecting one database: open, test, then read, decode, protect, store, again and again.

Everything that an engine does wrong ends here: it is logged, shown in the state, and tried again later, and
no other database notices.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from dbaudit.agent.backoff import Backoff
from dbaudit.agent.protection import protect
from dbaudit.agent.rate import Rate
from dbaudit.agent.settings import AgentSettings
from dbaudit.core.clock import now_us
from dbaudit.core.database import AuditStatus, ConnectionStatus, Database
from dbaudit.core.errors import (
    ConfigurationError,
    DbauditError,
    ErrorCode,
    PluginError,
    RequestError,
    TransientError,
)
from dbaudit.core.report import DiagnosisStatus, TestReport
from dbaudit.core.secret import Secret
from dbaudit.core.statements import Fingerprints
from dbaudit.core.tracebacks import safe_traceback
from dbaudit.engine import Chunk, Decoded, Engine, Rejected, Session
from dbaudit.engine.manager import EngineRegistry
from dbaudit.state import State
from dbaudit.state.collectors import CollectorState
from dbaudit.state.events import StoredCursor
from dbaudit.state.nodes import Lease
from dbaudit.state.wakeup import Topic

_log = logging.getLogger(__name__)
_ROUTINE_INTERVAL_SECONDS = 1.0


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
    ) -> None:
        super().__init__(name=f"collector-{lease.database_id}", daemon=True)
        self._state = state
        self._registry = registry
        self._settings = settings
        self._lease = lease
        self._node_id = node_id
        self._version = version
        self._stopping = threading.Event()
        self._backoff = Backoff(settings.backoff_initial_seconds, settings.backoff_max_seconds)
        self._fingerprints = Fingerprints()
        self._secrets: tuple[Secret | None, ...] = ()

    def stop(self) -> None:
        """Ask it to end after the chunk that it is working on."""
        self._stopping.set()

    def run(self) -> None:
        """Collect until stopped, or until another node holds the lease."""
        while not self._stopping.is_set():
            seen = self._state.wakeup.count(Topic.DATABASES)
            try:
                self._collect()
            except RequestError:
                return  # the database was deleted meanwhile
            except DbauditError as error:
                if error.code is ErrorCode.LEASE_LOST:
                    _log.info("%s is collected by another agent now", self._lease.database_id)
                    return
                self._failed(error, seen)
            except Exception as error:  # noqa: BLE001  # a plugin's code: it fails for itself
                _log.error("%s: %s", self._lease.database_id, safe_traceback(error, self._secrets))
                self._failed(PluginError(f"The engine failed: {type(error).__name__}."), seen)
        self._quietly(self._set_state, CollectorState.STOPPED)

    def _collect(self) -> None:
        database = self._state.databases.get(self._lease.database_id)
        engine = self._registry.get(database.type)
        self._set_state(CollectorState.STARTING)
        target = self._state.databases.target(database.id)
        self._secrets = (target.password, target.ssl_key)
        with engine.open(target) as session:
            self._begin(database, session)
            while not self._stopping.is_set():
                self._follow(database, engine, session)
                changed = self._state.databases.get(database.id)
                if changed.connection_version != database.connection_version or (
                    changed.audit_options.engine != database.audit_options.engine
                ):
                    return
                database = changed

    def _begin(self, database: Database, session: Session) -> None:
        report = session.test()
        self._state.collectors.set_report(self._lease.database_no, report)
        if not report.success:
            raise _unusable(report)
        self._state.collectors.set_health(self._lease.database_no, session.health())
        self._state.databases.set_status(
            database.id,
            database.connection_version,
            ConnectionStatus.CONNECTED,
            audit_status=AuditStatus.INITIALIZING,
        )

    def _follow(self, database: Database, engine: Engine, session: Session) -> None:
        """Collect until the declarations change or this collector is stopped."""
        rate = Rate(time.monotonic())
        cursor = self._state.events.cursor(self._lease.database_no)
        next_routine = next_health = 0.0
        started = False
        declarations = self._state.wakeup.count(Topic.DATABASES)
        while not self._stopping.is_set():
            chunk = session.read(cursor.cursor, self._settings.chunk_bytes)
            if chunk.records or chunk.gaps or chunk.cursor != cursor.cursor:
                cursor, stored = self._store(database, engine, cursor, chunk)
                session.acknowledge(chunk.cursor)
                rate.add(time.monotonic(), stored)
            if not started:
                # Only now is it true that nothing which happens from here on will be missed.
                started = True
                self._backoff.reset()
                self._set_state(CollectorState.RUNNING)
                self._state.databases.set_status(
                    database.id,
                    database.connection_version,
                    ConnectionStatus.CONNECTED,
                    audit_status=AuditStatus.ACTIVE,
                )
                next_health = time.monotonic() + self._settings.health_interval_seconds
            now = time.monotonic()
            if now >= next_routine:
                next_routine = now + _ROUTINE_INTERVAL_SECONDS
                self._state.collectors.beat(self._lease.database_no, rate.per_second(now))
                if self._state.wakeup.count(Topic.DATABASES) != declarations:
                    return
            if now >= next_health:
                next_health = now + self._settings.health_interval_seconds
                self._state.collectors.set_health(self._lease.database_no, session.health())
            if not chunk.more:
                self._stopping.wait(self._settings.poll_interval_seconds)

    def _store(
        self, database: Database, engine: Engine, cursor: StoredCursor, chunk: Chunk
    ) -> tuple[StoredCursor, int]:
        decoded = _decode(engine, chunk.records)
        events = [*chunk.gaps, *decoded.events]
        for gap in chunk.gaps:
            _log.warning(
                "%s: records were lost at the source: %s", database.id, (gap.detail or {}).get("reason")
            )
        protect(events, database.audit_options, self._fingerprints)
        while True:
            try:
                done = self._state.events.append(self._lease, cursor, chunk.cursor, events, decoded.rejected)
            except TransientError as error:
                if error.code is not ErrorCode.STATE_UNAVAILABLE:
                    raise
                # The state is away or full: what was read waits here, and nothing more is read.
                _log.warning("%s: collecting waits: %s", database.id, error)
                if self._stopping.wait(self._backoff.next_seconds()):
                    raise
            else:
                break
        if done.stored:
            self._state.wakeup.notify(Topic.EVENTS)
        return StoredCursor(chunk.cursor, done.revision), done.stored

    def _failed(self, error: DbauditError, seen: int) -> None:
        """Show what went wrong, and wait: until it may work again, the declaration changes, or the end."""
        code, reason = str(error.code), str(error)
        if error.remedy:
            reason = f"{reason} Remedy: {error.remedy}"
        passing = not isinstance(error, ConfigurationError)
        if isinstance(error, ConfigurationError):
            delay = self._settings.misconfigured_retry_seconds
        else:
            asked = error.retry_after_seconds if isinstance(error, TransientError) else None
            delay = self._backoff.next_seconds(asked)
        _log.warning("%s: %s; trying again in %.1f seconds", self._lease.database_id, reason, delay)
        self._quietly(
            self._set_state,
            CollectorState.BACKING_OFF if passing else CollectorState.FAILED,
            error_code=code,
            error=reason,
            next_try_at_us=now_us() + int(delay * 1_000_000),
        )
        self._quietly(self._set_failed_status, passing, code, reason)
        self._wait(delay, seen)

    def _set_failed_status(self, passing: bool, code: str, reason: str) -> None:
        database = self._state.databases.get(self._lease.database_id)
        self._state.databases.set_status(
            database.id,
            database.connection_version,
            ConnectionStatus.DISCONNECTED if passing else ConnectionStatus.ERROR,
            code=code,
            reason=reason,
        )

    def _wait(self, delay_seconds: float, seen: int) -> None:
        deadline = time.monotonic() + delay_seconds
        while not self._stopping.is_set() and (left := deadline - time.monotonic()) > 0:
            if self._state.wakeup.wait(Topic.DATABASES, seen, min(left, _ROUTINE_INTERVAL_SECONDS)):
                return

    def _set_state(self, state: CollectorState, **values: Any) -> None:
        self._state.collectors.set_state(
            self._lease.database_no, state, node_id=self._node_id, version=self._version, **values
        )

    def _quietly(self, write: Any, *arguments: Any, **values: Any) -> None:
        try:
            write(*arguments, **values)
        except DbauditError as error:
            _log.warning("%s: the state of collecting cannot be written: %s", self._lease.database_id, error)


def _decode(engine: Engine, records: Sequence[Any]) -> Decoded:
    """Decode; where the engine fails, record by record, so that only the one at fault is put aside."""
    try:
        return engine.decode(records)
    except Exception as error:  # noqa: BLE001  # a plugin's code: it fails for itself
        _log.warning(
            "the decoder of %s failed: %s; trying its records singly", engine.type, type(error).__name__
        )
    events, rejected = [], []
    for record in records:
        try:
            decoded = engine.decode([record])
        except Exception as error:  # noqa: BLE001  # a plugin's code: the record is put aside
            raw = _bytes_of(record)
            position = f"undecoded:{hash(raw):x}:{len(raw)}"
            rejected.append(Rejected(position, raw, f"the decoder failed: {type(error).__name__}"))
        else:
            events.extend(decoded.events)
            rejected.extend(decoded.rejected)
    return Decoded(events, rejected)


def _bytes_of(record: Any) -> bytes:
    if isinstance(record, bytes):
        return record
    return msgspec.json.encode(record, enc_hook=str)


def _unusable(report: TestReport) -> DbauditError:
    """Why collecting cannot start, from the report of the test."""
    failed = next((d for d in report.diagnoses if d.status is DiagnosisStatus.FAILED), None)
    if failed is None:
        return ConfigurationError(
            ErrorCode.CONNECTION_TEST_FAILED, report.error or "The test was not successful."
        )
    code = ErrorCode(failed.code) if failed.code in set(ErrorCode) else ErrorCode.AUDIT_SOURCE_MISSING
    return ConfigurationError(code, failed.detail, remedy=failed.remedy)
