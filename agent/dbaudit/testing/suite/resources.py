"""A long run: neither memory, nor threads, nor descriptors grow."""

from __future__ import annotations

import contextlib
import gc
import threading
import tracemalloc
from pathlib import Path

from dbaudit.core.errors import DbauditError
from dbaudit.testing.collecting import CHUNK_BYTES, Collecting
from dbaudit.testing.monitored import Monitored
from dbaudit.testing.suite.resuming import workload

_SESSIONS = 20
_WARM_UP_ROUNDS = 30
_ROUNDS = 200
_ALLOWED_BYTES_A_ROUND = 64
_DESCRIPTORS = Path("/proc/self/fd")


class ResourceChecks:
    """What is left after doing the same again and again."""

    def test_sessions_leave_no_descriptor_and_no_thread(self, monitored: Monitored) -> None:
        monitored.engine.open(monitored.target()).close()
        gc.collect()
        descriptors, threads = _descriptors(), threading.active_count()
        for _each in range(_SESSIONS):
            with monitored.engine.open(monitored.target()) as session:
                session.read(None, CHUNK_BYTES)
        gc.collect()
        assert _descriptors() < descriptors + _SESSIONS // 2
        assert threading.active_count() < threads + _SESSIONS // 2

    def test_refused_sessions_leave_no_descriptor(self, monitored: Monitored) -> None:
        target = monitored.refused_target()
        descriptors = 0
        for number in range(_SESSIONS + 1):
            with contextlib.suppress(DbauditError):
                monitored.engine.open(target).close()
            gc.collect()
            if number == 0:
                descriptors = _descriptors()
        assert _descriptors() < descriptors + _SESSIONS // 2

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


def _descriptors() -> int:
    return len(list(_DESCRIPTORS.iterdir())) if _DESCRIPTORS.is_dir() else 0
