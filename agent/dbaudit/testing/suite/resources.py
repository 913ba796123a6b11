"""A long run: neither memory, nor threads, nor descriptors grow."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from dbaudit.core.errors import DbauditError
from dbaudit.testing.collecting import CHUNK_BYTES, Collecting
from dbaudit.testing.monitored import Monitored
from dbaudit.testing.suite.resuming import workload

_SESSIONS = 20
_WARM_UP_ROUNDS = 30
_ROUNDS = 200
_ALLOWED_BYTES_A_ROUND = 64
_PAUSE_SECONDS = 0.05
_DESCRIPTORS = Path("/proc/self/fd")


class ResourceChecks:
    """What is left after doing the same again and again."""

    def test_sessions_leave_no_descriptor_and_no_thread(self, monitored: Monitored) -> None:
        def once() -> None:
            with monitored.engine.open(monitored.target()) as session:
                session.read(None, CHUNK_BYTES)

        _check_left(monitored, once)

    def test_refused_sessions_leave_no_descriptor_and_no_thread(self, monitored: Monitored) -> None:
        target = monitored.refused_target()

        def once() -> None:
            with contextlib.suppress(DbauditError):
                monitored.engine.open(target).close()

        _check_left(monitored, once)

    def test_memory_does_not_grow_over_a_long_run(self, monitored: Monitored) -> None:
        start, keys = workload(monitored)
        with Collecting(monitored, start, acknowledging=False) as reading:

            def rounds(number: int) -> None:
                for _each in range(number):
                    chunk = reading.session.read(start, CHUNK_BYTES)
                    assert len(monitored.engine.decode(chunk.records).events) <= 10 * len(keys)

            tracemalloc.start()
            try:
                rounds(_WARM_UP_ROUNDS)
                gc.collect()
                before = tracemalloc.get_traced_memory()[0]
                rounds(_ROUNDS)
                gc.collect()
                grown = tracemalloc.get_traced_memory()[0] - before
            finally:
                tracemalloc.stop()
        assert grown < _ROUNDS * _ALLOWED_BYTES_A_ROUND, f"{grown} bytes more after {_ROUNDS} reads"


def _check_left(monitored: Monitored, once: Callable[[], None]) -> None:
    """That doing something many times leaves no more than doing it once did, or soon no more."""
    once()
    before = _held()
    for _each in range(_SESSIONS):
        once()
    deadline = time.monotonic() + monitored.deadline_seconds
    # Some drivers end their threads a moment after their connections.
    while any(now >= then + _SESSIONS // 2 for now, then in zip(_held(), before, strict=True)):
        assert time.monotonic() < deadline, f"descriptors and threads: {before} before, {_held()} after"
        time.sleep(_PAUSE_SECONDS)


def _held() -> tuple[int, int]:
    """The descriptors and threads of this process."""
    gc.collect()
    descriptors = len(list(_DESCRIPTORS.iterdir())) if _DESCRIPTORS.is_dir() else 0
    return descriptors, threading.active_count()
