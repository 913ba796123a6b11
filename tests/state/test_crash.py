"""kill -9 in the middle of collecting: events, cursor and counters agree, and nothing is there twice."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dbaudit.state import State, open_state
from dbaudit.state.encryption import keyring_from_file
from sqlalchemy import text

from tests.servers.processes import wait_for
from tests.state.conftest import Open
from tests.state.samples import PASSWORD, leased
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
    lease = leased(store)[1]
    instants = random.Random(4711)
    progress = [0]
    for kill in range(KILLS):
        with workers(1, collect, url, key_file, lease, BATCH) as (collector,):
            assert collector.receive() == "ready"
            for _turn in range(instants.randrange(3)):
                assert collector.receive() == "appended"
            time.sleep(instants.uniform(0, 0.02))  # the instant of the kill, whatever happens then
            collector.kill()
        seen = _stored(store)
        assert len(set(seen)) == 1, f"after kill {kill}: {seen}"
        assert seen[0] >= progress[-1]
        progress.append(seen[0])
    assert progress[-1] >= KILLS // 2 * BATCH, "there was something to lose"


BACKUP = (
    "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=30).execute('VACUUM INTO ?', sys.argv[2:])"
)


@pytest.mark.parametrize("backend_name", ["sqlite"], indirect=True)
def test_a_backup_made_as_documented_while_collecting_is_whole(
    open_store: Open, url: str, key_file: Path, tmp_path: Path
) -> None:
    store = open_store(lease_seconds=3600)
    database, lease = leased(store)
    with workers(1, collect, url, key_file, lease, BATCH) as (collector,):
        assert collector.receive() == "ready"
        wait_for(lambda: _stored(store)[0] > 0, "the first events")
        # By another process: SQLite may be in a process only once.
        command = [sys.executable, "-c", BACKUP, url.removeprefix("sqlite:///"), str(tmp_path / "backup.db")]
        subprocess.run(command, check=True)
    restored = open_state(f"sqlite:///{tmp_path}/backup.db", keyring_from_file(key_file, create=False))
    seen = _stored(restored)
    assert seen[0] > 0
    assert len(set(seen)) == 1
    assert restored.databases.target(database.id).password == PASSWORD
    restored.close()
