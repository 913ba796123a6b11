"""A plugin that ends the process of the agent, by an engine that reads the lines of a file otherwise.

The options of a database: ``file`` has the lines; while the file ``fuse`` is there, the call ``dies_in`` ends
the process in the ``way``. ``dies_in`` is also `thread`: one of the engine's own, beside the first read.
"""

import ctypes
import os
import signal
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from dbaudit.engine import (
    AuditEvent,
    Capability,
    CheckStatus,
    Chunk,
    Cursor,
    Decoded,
    Dialect,
    DriverStatus,
    Engine,
    EventType,
    Health,
    Session,
    Target,
    TestReport,
    hookimpl,
)

WAYS = {
    "leave": lambda: os._exit(3),
    "fault": lambda: ctypes.string_at(0),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
}


def _strike(options: Any, call: str) -> None:
    if options.get("dies_in") == call and Path(options["fuse"]).exists():
        WAYS[options["way"]]()


class Deadly(Engine):
    type = "deadly"
    display_name = "Deadly"
    default_port = 1
    supported_versions = ("1",)
    capabilities = frozenset({Capability.QUERIES})
    dialect = Dialect.POSTGRESQL
    options_schema: ClassVar[dict[str, Any]] = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in ("file", "fuse", "dies_in", "way")},
    }

    def driver_status(self) -> DriverStatus:
        return DriverStatus("none", version="1")

    def open(self, target: Target) -> Session:
        _strike(target.options, "open")
        return _DeadlySession(target.options)

    def decode(self, records: Sequence[Any]) -> Decoded:
        events = []
        for number, text, options in records:
            _strike(options, "decode")
            time_us = time.time_ns() // 1000
            events.append(AuditEvent(str(number), EventType.QUERY, time_us, query=text, rows_affected=1))
        return Decoded(events)


class _DeadlySession(Session):
    def __init__(self, options: Any) -> None:
        self._options = options
        self._thread: threading.Thread | None = None

    def test(self) -> TestReport:
        _strike(self._options, "test")
        return TestReport(reachable=True, success=True)

    def health(self) -> Health:
        return Health(connectivity=CheckStatus.HEALTHY, measured_at_us=time.time_ns() // 1000)

    def read(self, cursor: Cursor | None, limit_bytes: int) -> Chunk:
        _strike(self._options, "read")
        if self._thread is None:
            self._thread = threading.Thread(target=_strike, args=(self._options, "thread"))
            self._thread.start()
        position = 0 if cursor is None else cursor["position"]
        lines = Path(self._options["file"]).read_text().splitlines()
        records = [(n, text, self._options) for n, text in enumerate(lines) if n >= position]
        return Chunk(records=records, cursor={"v": 1, "position": len(lines)})

    def close(self) -> None:
        pass


@hookimpl
def dbaudit_engines() -> Iterable[Engine]:
    yield Deadly()
