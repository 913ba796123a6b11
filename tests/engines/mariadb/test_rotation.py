"""The files of server_audit when the server numbers them in another way, and when people touch them."""

import gzip
import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dbaudit.core.event import AuditEvent
from dbaudit.engines.mariadb.options import Source
from dbaudit.testing import Collecting

from tests.conftest import missing_engine_is_told
from tests.engines.mariadb.monitored import USER, USER_PASSWORD
from tests.engines.mariadb.reading import collecting
from tests.engines.mariadb.targets import COLLECTOR, PASSWORD
from tests.servers.mariadb import MariaDBServer
from tests.servers.mysql import Setting

both_ways = pytest.mark.parametrize("source", [Source.FILE, Source.REMOTE_FILE])
PER_FILE = 25
SETTINGS: dict[str, Setting] = {
    "server_audit_file_rotate_size": 2000,
    "server_audit_events": "QUERY",
    "server_audit_excl_users": COLLECTOR,
}
_logs = itertools.count(1)


class Log:
    """A new file of server_audit, and numbered statements of which about PER_FILE fill a file."""

    def __init__(self, server: MariaDBServer, path: Path) -> None:
        self._server = server
        self.path = path
        self.run: list[str] = []
        self._set("server_audit_file_path", repr(str(self.path)))

    def keep(self, rotations: int) -> None:
        self._set("server_audit_file_rotations", rotations)

    def fill(self, files: float) -> None:
        connection = self._server.connect(USER, USER_PASSWORD)
        with connection.cursor() as cursor:
            for _number in range(int(files * PER_FILE)):
                self.run.append(f"select 'mark {len(self.run):04d}'")
                cursor.execute(self.run[-1])
        connection.close()

    def named(self, suffix: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{suffix}")

    def _set(self, name: str, value: object) -> None:
        self._server.execute_admin(f"set global {name} = {value}")


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDBServer]:
    with missing_engine_is_told(), MariaDBServer(umask="0644", settings=SETTINGS) as server:
        server.create_user(COLLECTOR, PASSWORD, "FILE ON *.*")
        server.create_user(USER, USER_PASSWORD)
        yield server


@pytest.fixture
def log(server: MariaDBServer) -> Log:
    return Log(server, server.folder / "log" / f"numbered_{next(_logs)}.log")


def wait_for_the_next_second() -> None:
    """Records have whole seconds; within one it is the clock of the files that says their order."""
    now = int(time.time())
    while int(time.time()) == now:
        time.sleep(0.01)


def told(reading: Collecting) -> list[str]:
    return [query for query in reading.queries() if query and query.startswith("select 'mark")]


def read_to_the_end(reading: Collecting, log: Log) -> None:
    """Until the last statement came and nothing is left; there reading stands still."""
    reading.until_query(log.run[-1], limit_bytes=700)
    cursor = reading.cursor
    for _look in range(3):
        assert not reading.read().more
    assert reading.cursor == cursor
    assert reading.rejected == []


@both_ways
@pytest.mark.parametrize(
    ("read_before", "stages"),
    [
        (5.5, ((9, 0.2), (60, 2.5))),
        (5.5, ((9, 0.2), (60, 12.5))),
        (0.2, ((9, 5.5), (60, 3.5))),
        (0.2, ((60, 12.5), (9, 3.5))),
        (0.2, ((9, 3.5), (60, 3.5), (9, 2.5))),
        (6.5, ((9, 3.5), (60, 3.5), (999, 2.5), (60, 2.5))),
        (0.2, ((9, 3.5), (0, 3.5), (60, 2.5))),
    ],
    ids=str,
)
def test_files_numbered_in_another_way_are_read_once_and_in_order(
    server: MariaDBServer,
    log: Log,
    source: Source,
    stages: tuple[tuple[int, float], ...],
    read_before: float,
) -> None:
    log.keep(stages[0][0])
    with collecting(server, source) as reading:
        log.fill(read_before)
        reading.until_query(log.run[-1])
        for rotations, files in stages:
            log.keep(rotations)
            log.fill(files)
        read_to_the_end(reading, log)
    assert told(reading) == log.run
    assert reading.gaps == []


@both_ways
def test_remedy_for_a_short_history_may_be_carried_out_while_the_agent_is_away(
    server: MariaDBServer, log: Log, source: Source
) -> None:
    log.keep(9)
    with collecting(server, source) as reading:
        log.fill(5.5)
        reading.until_query(log.run[-1])
        reading.session.close()
        log.keep(60)
        for _round in range(3):
            log.fill(8)
            reading.reopen()
            read_to_the_end(reading, log)
    assert told(reading) == log.run
    assert reading.gaps == []


def _touched(log: Log) -> None:
    os.utime(log.named("1"))


def _copied_to_a_free_number(log: Log) -> None:
    shutil.copyfile(log.named("2"), log.named("50"))


def _copied_over_an_old_one(log: Log) -> None:
    shutil.copyfile(log.named("1"), log.named("3"))


def _compressed(log: Log) -> None:
    for number in ("1", "2", "3"):
        with gzip.open(log.named(f"{number}.gz"), "wb") as file:
            file.write(log.named(number).read_bytes())
        log.named(number).unlink()


def _removed(log: Log) -> None:
    log.named("2").unlink()


@both_ways
@pytest.mark.parametrize(
    "meddle", [_touched, _copied_to_a_free_number, _copied_over_an_old_one, _compressed, _removed]
)
def test_old_files_that_people_touch_copy_compress_or_remove_change_nothing(
    server: MariaDBServer, log: Log, source: Source, meddle: Callable[[Log], None]
) -> None:
    log.keep(9)
    with collecting(server, source) as reading:
        log.fill(4.5)
        reading.until_query(log.run[-1])
        log.keep(60)
        wait_for_the_next_second()
        log.fill(3.5)
        meddle(log)
        read_to_the_end(reading, log)
        meddled = told(reading)
        log.fill(3.5)
        read_to_the_end(reading, log)
    assert meddled == log.run[: len(meddled)]
    assert told(reading) == log.run
    assert reading.gaps == []


def losses(gaps: list[AuditEvent]) -> int:
    return len({gap.key for gap in gaps})


@both_ways
def test_files_of_the_new_numbering_that_were_overwritten_are_one_gap(
    server: MariaDBServer, log: Log, source: Source
) -> None:
    """The files of the old numbering stay: where they end, the ring of the new one was overrun."""
    log.keep(60)
    with collecting(server, source) as reading:
        log.fill(0.2)
        reading.until_query(log.run[-1])
        log.fill(3.5)
        log.keep(9)
        log.fill(15.5)
        read_to_the_end(reading, log)
    found = told(reading)
    lost = len(log.run) - len(found)
    assert lost > 3 * PER_FILE
    assert found == [mark for mark in log.run if mark in set(found)]
    assert found[-9 * PER_FILE :] == log.run[-9 * PER_FILE :]
    assert losses(reading.gaps) == len(reading.gaps) == 1


@both_ways
def test_unread_file_that_was_removed_is_one_gap(server: MariaDBServer, log: Log, source: Source) -> None:
    log.keep(9)
    with collecting(server, source) as reading:
        log.fill(0.2)
        reading.until_query(log.run[-1])
        log.fill(2.5)
        log.keep(60)
        log.fill(4.5)
        log.named("03").unlink()
        read_to_the_end(reading, log)
    found = told(reading)
    assert 0 < len(log.run) - len(found) <= PER_FILE + 2
    assert found == [mark for mark in log.run if mark in set(found)]
    assert losses(reading.gaps) == len(reading.gaps) == 1


def test_numbering_that_a_restart_puts_back_is_followed(started: Callable[..., MariaDBServer]) -> None:
    """SET GLOBAL lasts until the restart: then it is 9 files again, beside those of before."""
    server = started("10.11", settings=SETTINGS)
    log = Log(server, server.audit_file)
    with collecting(server, Source.FILE) as reading:
        log.fill(3.5)
        reading.until_query(log.run[-1])
        log.keep(60)
        log.fill(3.5)
        reading.session.close()
        server.stop()
        server.start()
        log.fill(3.5)
        reading.reopen()
        read_to_the_end(reading, log)
    assert told(reading) == log.run
    assert reading.gaps == []
