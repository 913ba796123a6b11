"""An engine of a third party, over records in memory, whose every call can be made to go wrong."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from dbaudit.engine import (
    AuditEvent,
    Capability,
    CheckStatus,
    Chunk,
    Cursor,
    Decoded,
    Diagnosis,
    Dialect,
    DriverStatus,
    Engine,
    EventType,
    Health,
    Session,
    Target,
    TestReport,
)

START_US = time.time_ns() // 1000 - 60_000_000


class Unruly(Engine):
    """``source`` are the records: texts of statements, whole events, and `/Ping` for a record of a class that
    makes no event. ``instead`` has, by the name of a call, what happens first in it: it may raise, wait, or
    return what the call then returns, unless that is None.

    ``acknowledged`` are the cursors it was told of, ``targets`` those that were opened, ``reads`` how often
    it was read, ``decoded`` how many records. ``repeatable`` says whether sessions may read for each other.
    """

    display_name = "Unruly"
    default_port = 1
    supported_versions = ("1",)
    capabilities = frozenset({Capability.QUERIES})
    dialect = Dialect.POSTGRESQL

    def __init__(self, kind: str = "unruly", source: Sequence[Any] = ()) -> None:
        self.type = kind  # type: ignore[misc]  # one class for several engines
        self.source = list(source)
        self.instead: dict[str, Callable[[], Any]] = {}
        self.acknowledged: list[Cursor] = []
        self.targets: list[Target] = []
        self.closed = 0
        self.reads = 0
        self.decoded = 0
        self.repeatable = False
        self.chunk_records = 1000

    def happens(self, call: str) -> Any:
        return self.instead[call]() if call in self.instead else None

    def driver_status(self) -> DriverStatus:
        return DriverStatus("none", version="1")

    def open(self, target: Target) -> Session:
        self.targets.append(target)
        found: Session | None = self.happens("open")
        return found or UnrulySession(self)

    def decode(self, records: Sequence[Any]) -> Decoded:
        found: Decoded | None = self.happens("decode")
        if found is not None:
            return found
        self.decoded += len(records)
        events = []
        left_out: Counter[str] = Counter()
        for number, text in records:
            if isinstance(text, AuditEvent):
                events.append(msgspec.structs.replace(text, key=str(number), time_us=START_US + number))
                continue
            if isinstance(text, str) and text.startswith("/"):
                left_out[text[1:]] += 1
                continue
            if text == "poison":
                raise KeyError(text)
            event = AuditEvent(str(number), EventType.QUERY, START_US + number, query=text, rows_affected=1)
            events.append(event)
        return Decoded(events, left_out=dict(left_out))


class UnrulySession(Session):
    def __init__(self, engine: Unruly) -> None:
        self._engine = engine

    def test(self) -> TestReport:
        return self._engine.happens("test") or TestReport(reachable=True, success=True)

    def health(self) -> Health:
        return self._engine.happens("health") or Health(
            connectivity=CheckStatus.HEALTHY, measured_at_us=time.time_ns() // 1000
        )

    def read(self, cursor: Cursor | None, limit_bytes: int) -> Chunk:
        self._engine.reads += 1
        found: Chunk | None = self._engine.happens("read")
        if found is not None:
            return found
        position = 0 if cursor is None else cursor["position"]
        end = min(len(self._engine.source), position + self._engine.chunk_records)
        records = list(enumerate(self._engine.source))[position:end]
        more = end < len(self._engine.source)
        return Chunk(records=records, cursor={"v": 1, "position": end}, more=more)

    def is_repeatable(self, cursor: Cursor) -> bool:
        return self._engine.repeatable

    def check_source(self) -> Diagnosis | None:
        found: Diagnosis | None = self._engine.happens("check_source")
        return found

    def databases(self) -> list[str] | None:
        found: list[str] | None = self._engine.happens("databases")
        return found

    def acknowledge(self, cursor: Cursor) -> None:
        self._engine.happens("acknowledge")
        self._engine.acknowledged.append(cursor)

    def close(self) -> None:
        self._engine.closed += 1
        self._engine.happens("close")


class Hanging:
    """What never returns, until the test is over. ``entered`` is set once somebody hangs in it."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._over = threading.Event()

    def __call__(self) -> None:
        self.entered.set()
        self._over.wait()

    def end(self) -> None:
        self._over.set()


def raising(error: BaseException) -> Callable[[], None]:
    """What raises ``error``."""

    def happens() -> None:
        raise error

    return happens


def once(happens: Callable[[], Any]) -> Callable[[], Any]:
    """What happens the first time only."""
    left = [happens]

    def first() -> Any:
        return left.pop()() if left else None

    return first
