"""kill -9 in the middle of collecting: events, cursor and counters agree, and nothing is there twice."""

from __future__ import annotations

import random
import time
from pathlib import Path

from dbaudit.state import State
from sqlalchemy import text

from tests.state.conftest import Open
from tests.state.samples import leased
from tests.state.workers import collect, workers

KILLS = 30
BATCH = 7


def _stored(store: State) -> tuple[int, int, int, int, int, int]:
    """Events, different keys, counted, hourly counted, put aside, and what the cursor says, at one moment."""
    with store.backend.reading() as connection:

        def number(query: str) -> int:
            return int(connection.execute(text(query)).scalar_one() or 0)

        cursor = connection.execute(text("SELECT cursor FROM cursors")).scalar_one_or_none()
        return (
            number("SELECT count(*) FROM events"),
            number("SELECT count(DISTINCT key) FROM events"),
            number("SELECT events_total FROM collectors"),
            number("SELECT sum(events) FROM event_hours"),
            number("SELECT count(*) FROM rejected_records") * BATCH,
            0 if cursor is None else int(cursor.rpartition(":")[2].rstrip("}")),
        )


def test_no_kill_at_any_instant_loses_an_event_or_stores_one_twice(
    open_store: Open, url: str, key_file: Path
) -> None:
    store = open_store(lease_seconds=3600)
    _, lease = leased(store)
    instants = random.Random(4711)
    progress = [0]
    for kill in range(KILLS):
        with workers(1, collect, url, key_file, lease, BATCH) as (collector,):
            assert collector.receive() == "ready"
            time.sleep(instants.uniform(0, 0.06))  # the instant of the kill, whatever happens then
            collector.kill()
        seen = _stored(store)
        assert len(set(seen)) == 1, f"after kill {kill}: {seen}"
        assert seen[0] >= progress[-1]
        progress.append(seen[0])
    assert len(set(progress)) > KILLS // 2, "most of the processes stored something before they were killed"
