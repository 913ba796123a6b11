"""An engine over records in memory that does everything as it should, to be broken in one place at a time."""

import json
import time
from collections.abc import Sequence
from typing import Any

from dbaudit.engine import (
    AuditEvent,
    Capability,
    CheckStatus,
    Chunk,
    ConfigurationError,
    Cursor,
    Decoded,
    Diagnosis,
    DiagnosisStatus,
    Dialect,
    DriverStatus,
    Engine,
    ErrorCode,
    EventType,
    Health,
    Outcome,
    Rejected,
    Secret,
    Session,
    SslMode,
    Target,
    TestReport,
    add_operations,
    gap,
)
from dbaudit.testing import Monitored, Visitor

PASSWORD = "Tiger-5c1d0d7e-planted"
COLLECTOR, USER = "collector", "lena"
REMEDY = "GRANT read TO collector"


class Source:
    """Lines of JSON with numbers; ``first`` is the number of the first that is still there."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.first = 0
        self.granted = True

    @property
    def following(self) -> int:
        return self.first + len(self.lines)

    def write(self, kind: EventType, **fields: Any) -> None:
        at_us = time.time_ns() // 1000
        self.lines.append(json.dumps({"type": kind, "user": USER, "at_us": at_us, **fields}).encode())


class SoundEngine(Engine):
    """Reads a Source."""

    type = "sound"
    display_name = "Sound"
    default_port = 1
    supported_versions = ("1",)
    capabilities = frozenset(
        {Capability.CONNECTIONS, Capability.LOGIN_FAILURES, Capability.DISCONNECTS, Capability.QUERIES}
    )
    dialect = Dialect.POSTGRESQL

    def __init__(self) -> None:
        self.source = Source()

    def driver_status(self) -> DriverStatus:
        return DriverStatus("none", version="1")

    def open(self, target: Target) -> Session:
        if target.password.reveal() != PASSWORD:
            raise ConfigurationError(ErrorCode.AUTHENTICATION_FAILED, "The password is wrong.")
        return SoundSession(self.source)

    def decode(self, records: Sequence[Any]) -> Decoded:
        decoded = Decoded([], [])
        for number, line in records:
            try:
                fields = json.loads(line)
                event = AuditEvent(
                    f"{number}",
                    EventType(fields["type"]),
                    min(abs(int(fields["at_us"])), 10**16),
                    user=str(fields["user"]),
                    query=fields.get("query") and str(fields["query"]),
                )
                add_operations(event, SoundEngine.dialect)
                if event.type is EventType.LOGIN_FAILED:
                    event.outcome = Outcome.FAILURE
                decoded.events.append(event)
            except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
                decoded.rejected.append(Rejected(f"{number}", line, "not a record"))
        return decoded


class SoundSession(Session):
    def __init__(self, source: Source) -> None:
        self.source = source

    def test(self) -> TestReport:
        granted = self.source.granted
        status = DiagnosisStatus.OK if granted else DiagnosisStatus.FAILED
        remedy = None if granted else REMEDY
        return TestReport(
            reachable=True,
            success=granted,
            version="Sound 1",
            permissions={"read": granted},
            diagnoses=(Diagnosis("permission_read", status, "The right read.", remedy),),
            audit_source="memory",
        )

    def health(self) -> Health:
        return Health(connectivity=CheckStatus.HEALTHY, measured_at_us=time.time_ns() // 1000)

    def read(self, cursor: Cursor | None, limit_bytes: int) -> Chunk:
        source = self.source
        following = source.following if cursor is None else self.following(cursor)
        gaps: tuple[AuditEvent, ...] = ()
        if following < source.first:
            lost = source.first - following
            gaps = (gap(f"gap:{following}", time.time_ns() // 1000, "Lines are gone.", lost_records=lost),)
            following = source.first
        records: list[Any] = []
        size = 0
        while following < source.following and (not records or size < limit_bytes):
            line = source.lines[following - source.first]
            records.append((following, line))
            size += len(line)
            following += 1
        more = following < source.following
        return Chunk(records=records, cursor={"v": 1, "following": following}, gaps=gaps, more=more)

    def following(self, cursor: Cursor) -> int:
        match cursor:
            case {"v": 1, "following": int(following)}:
                return following
        raise ConfigurationError(ErrorCode.CURSOR_INVALID, "That cursor is another engine's.")

    def close(self) -> None:
        pass


class SoundVisitor(Visitor):
    user = USER

    def __init__(self, source: Source) -> None:
        self._source: Source | None = source
        source.write(EventType.LOGIN_SUCCESS)

    def run(self, text: str) -> str:
        assert self._source is not None
        self._source.write(EventType.QUERY, query=f"say {text}")
        return f"say {text}"

    def leave(self) -> None:
        if self._source is not None:
            self._source.write(EventType.DISCONNECT)
        self._source = None


class MonitoredSound(Monitored):
    connects = False
    rights = ("read",)
    mutations = 300

    def __init__(self, engine: SoundEngine) -> None:
        self.engine = engine
        self.source = engine.source

    def target(self) -> Target:
        return Target(
            database_id="db_sound",
            host="nowhere",
            port=1,
            database="d",
            username=COLLECTOR,
            password=Secret(PASSWORD),
            ssl_mode=SslMode.DISABLE,
        )

    def visit(self) -> Visitor:
        return SoundVisitor(self.source)

    def fail_to_log_in(self) -> str:
        self.source.write(EventType.LOGIN_FAILED)
        return USER

    def lose(self) -> None:
        self.source.first, self.source.lines = self.source.following, []

    def write_hostile(self, raw: bytes) -> None:
        self.source.lines.append(raw)

    def rotate(self) -> None:
        """Lines have no files."""

    def revoke(self, right: str) -> None:
        self.source.granted = False

    def carry_out(self, remedy: str) -> None:
        assert remedy == REMEDY
        self.source.granted = True
