"""Cursors: what was read comes again from the same cursor, and what follows it from every cursor between."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dbaudit.engine import Capability, ConfigurationError, ErrorCode
from dbaudit.testing.collecting import CHUNK_BYTES, Collecting
from dbaudit.testing.monitored import Monitored
from dbaudit.testing.outcomes import refusal
from dbaudit.testing.suite.collecting import marks

_STATEMENTS = 8
_LIMITS = (1, 100, 1000, 10_000)

Key = tuple[int, str]


class ResumingChecks:
    """An agent may be killed at any instant: it resumes at the last cursor that it stored."""

    def test_cursor_is_json_with_a_version(self, monitored: Monitored) -> None:
        with monitored.engine.open(monitored.target()) as session:
            for cursor in (None, session.read(None, CHUNK_BYTES).cursor):
                chunk = session.read(cursor, CHUNK_BYTES)
                stored = json.dumps(chunk.cursor, allow_nan=False)
                assert json.loads(stored) == chunk.cursor
                assert isinstance(chunk.cursor["v"], int)

    @pytest.mark.parametrize("cursor", [{}, {"v": 10**6}, {"v": "1"}, {"v": 1, "no_such_field": []}], ids=str)
    def test_cursor_of_somebody_else_is_refused(self, monitored: Monitored, cursor: Any) -> None:
        target = monitored.target()
        with monitored.engine.open(target) as session:
            session.read(None, CHUNK_BYTES)
            error = refusal(lambda: session.read(cursor, CHUNK_BYTES), target)
        assert isinstance(error, ConfigurationError)
        assert error.code is ErrorCode.CURSOR_INVALID

    def test_same_cursor_gives_the_same_keys_again(self, monitored: Monitored) -> None:
        start, keys = workload(monitored)
        with Collecting(monitored, start, acknowledging=False) as reading:
            for _again in range(3):
                reading.cursor, reading.events = start, []
                assert _read(reading, len(keys)) == keys
        with Collecting(monitored, start, acknowledging=False) as another_session:
            assert _read(another_session, len(keys)) == keys

    @pytest.mark.parametrize("limit_bytes", _LIMITS)
    def test_size_of_the_chunks_changes_no_event(self, monitored: Monitored, limit_bytes: int) -> None:
        start, keys = workload(monitored)
        with Collecting(monitored, start, acknowledging=False) as reading:
            assert _read(reading, len(keys), limit_bytes) == keys

    def test_reading_resumes_after_every_prefix_of_a_batch(self, monitored: Monitored) -> None:
        start, keys = workload(monitored)
        with Collecting(monitored, start, acknowledging=False) as reading:
            _read(reading, len(keys), limit_bytes=1)
            steps = [(cursor, came) for cursor, came in reading.steps if came < len(keys)]
        for cursor, came in steps:
            with Collecting(monitored, cursor, acknowledging=False) as resumed:
                assert _read(resumed, len(keys) - came) == keys[came:], f"resumed at {cursor}"

    def test_nothing_is_lost_while_nobody_reads(self, monitored: Monitored) -> None:
        _needs_queries(monitored)
        with Collecting(monitored) as reading:
            visitor = monitored.visit()
            try:
                for mark in marks(3):
                    reading.session.close()
                    run = visitor.run(mark)
                    reading.reopen()
                    reading.until_query(run)
                    assert reading.queries().count(run) == 1
            finally:
                visitor.leave()
            assert reading.gaps == []


def workload(monitored: Monitored) -> tuple[Any, list[Key]]:
    """A cursor, and the keys of what happened after it, which was not acknowledged."""
    _needs_queries(monitored)
    with Collecting(monitored, acknowledging=False) as reading:
        start = reading.cursor
        visitor = monitored.visit()
        try:
            run = [visitor.run(mark) for mark in marks(_STATEMENTS)]
        finally:
            visitor.leave()
        reading.until_query(run[-1])
        end = reading.queries().index(run[-1]) + 1
        return start, reading.keys()[:end]


def _read(reading: Collecting, number: int, limit_bytes: int = CHUNK_BYTES) -> list[Key]:
    """The keys of the next ``number`` events."""
    reading.until(lambda: len(reading.events) >= number, f"the next {number} events", limit_bytes)
    return reading.keys()[:number]


def _needs_queries(monitored: Monitored) -> None:
    if Capability.QUERIES not in monitored.engine.capabilities:
        pytest.skip("the engine has not the capability queries")
