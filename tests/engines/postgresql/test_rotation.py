"""Files that follow each other, are used again, are truncated or vanish: each record once, each loss told."""

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from dbaudit.core.event import EventType

from tests.engines.postgresql.collecting import Collecting, collector_on
from tests.engines.postgresql.conftest import Open
from tests.engines.postgresql.logged import JSONLOG, record, written
from tests.servers.postgresql import PostgresServer
from tests.servers.processes import wait_for

StartServer = Callable[..., PostgresServer]
CLIENTS = 3


# -- a directory that the test writes


class Folder:
    """Log files with times that the test gives them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._line = 0

    def add(self, name: str, text: str, second: int, *, truncate: bool = False) -> Path:
        self._line += 1
        file = self.path / f"{name}.json"
        with file.open("wb" if truncate else "ab") as out:
            at_ms = 1000 * (second - 1000) + self._line
            out.write(written(JSONLOG, [record(f"statement: {text}", line=self._line, at_ms=at_ms)]))
        os.utime(file, (second, second))
        return file


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_files_are_read_in_the_order_they_were_written_whatever_their_names(
    opened: Open,
    folder: Folder,
) -> None:
    for second, name in enumerate(("m", "z", "a", "k"), 1000):
        folder.add(name, f"select {second}", second)
    log = opened(JSONLOG)
    log.until(lambda: len(log.events) == 4, "all files")
    assert log.queries() == [f"select {second}" for second in range(1000, 1004)]
    assert log.gaps == []


def test_several_files_of_one_second_are_read_in_the_order_of_their_records(
    opened: Open,
    folder: Folder,
) -> None:
    for number, name in enumerate(("m", "z", "a", "k")):
        folder.add(name, f"select {number}", 1000)
    log = opened(JSONLOG)
    log.until(lambda: len(log.events) == 4, "all files")
    assert log.queries() == [f"select {number}" for number in range(4)]


def test_many_waiting_files_are_read_to_the_last(opened: Open, folder: Folder) -> None:
    for number in range(300):
        folder.add(f"{number * 7919 % 1000:03}", f"select {number}", 1000 + number)
    log = opened(JSONLOG)
    log.until(lambda: len(log.events) == 300, "all files")
    assert log.queries() == [f"select {number}" for number in range(300)]


def test_truncated_file_is_a_gap_and_its_new_records_are_read(opened: Open, folder: Folder) -> None:
    file = folder.add("a", "select 'old'", 1000)
    folder.add("a", "select 'older than the agent'", 1000)
    log = opened(JSONLOG)
    log.to_the_end(file)
    folder.add("a", "select 'new'", 1001, truncate=True)
    log.until(lambda: "select 'new'" in log.queries(), "the new record")
    (lost,) = log.gaps
    assert lost.type == EventType.GAP
    assert lost.detail is not None
    assert (lost.detail["source"], lost.detail["known_unread_bytes"]) == ("a.json", 0)


def test_name_used_again_for_a_longer_file_is_a_gap_and_is_read_from_its_beginning(
    opened: Open,
    folder: Folder,
) -> None:
    file = folder.add("a", "select 'old'", 1000)
    log = opened(JSONLOG)
    log.to_the_end(file)
    folder.add("a", "select 'first of many'", 1001, truncate=True)
    for number in range(50):
        folder.add("a", f"select {number}", 1002)
    log.until(lambda: len(log.events) == 52, "the records of the new file")
    assert log.queries()[1:] == ["select 'first of many'", *(f"select {n}" for n in range(50))]
    assert len(log.gaps) == 1


def test_files_written_between_are_read_before_a_name_that_was_used_again(
    opened: Open,
    folder: Folder,
) -> None:
    """A week's names, an agent that was away for longer, and log_truncate_on_rotation."""
    file = folder.add("mon", "select 'last week'", 1000)
    log = opened(JSONLOG)
    log.to_the_end(file)
    for second, name in enumerate(("tue", "wed", "sun"), 1001):
        folder.add(name, f"select '{name}'", second)
    folder.add("mon", "select 'this week'", 1004, truncate=True)
    log.until(lambda: "select 'this week'" in log.queries(), "this week's file")
    assert log.queries()[1:] == ["select 'tue'", "select 'wed'", "select 'sun'", "select 'this week'"]
    assert len(log.gaps) == 1


def test_file_that_vanished_before_it_was_read_to_its_end_is_a_gap_that_says_how_much(
    opened: Open,
    folder: Folder,
) -> None:
    for number in range(20):
        first = folder.add("a", f"select {number}", 1000)
    size = first.stat().st_size
    log = opened(JSONLOG)
    log.until(lambda: log.events, "the first records", limit_bytes=1000)
    read_to = log.cursor["offset"]
    folder.add("b", "select 'b'", 1001)
    first.unlink()
    log.until(lambda: "select 'b'" in log.queries(), "the next file")
    (lost,) = log.gaps
    assert lost.detail is not None
    assert lost.detail["known_unread_bytes"] == size - read_to > 0
    assert lost.detail["source"] == "a.json"


def test_file_that_vanished_after_the_next_one_was_begun_is_no_gap(opened: Open, folder: Folder) -> None:
    first = folder.add("a", "select 'a'", 1000)
    log = opened(JSONLOG)
    log.to_the_end(first)
    second = folder.add("b", "select 'b'", 1001)
    log.to_the_end(second)
    first.unlink()
    log.read()
    assert log.gaps == []
    assert log.queries() == ["select 'a'", "select 'b'"]


def test_all_files_vanished_is_one_gap_and_the_next_file_is_read(opened: Open, folder: Folder) -> None:
    log = opened(JSONLOG)
    log.to_the_end(folder.add("a", "select 'a'", 1000))
    for file in folder.path.iterdir():
        file.unlink()
    for _again in range(5):
        assert not log.read().more or log.gaps
    log.reopen()
    log.read()
    assert len(log.gaps) == 1
    folder.add("b", "select 'b'", 1001)
    log.until(lambda: "select 'b'" in log.queries(), "the new file")
    assert len(log.gaps) == 1


def test_folder_without_files_is_waited_for(opened: Open, folder: Folder) -> None:
    for start_from in ("now", "beginning"):
        log = opened(JSONLOG, start_from)
        log.read()
        log.reopen()
        log.read()
        file = folder.add(start_from, f"select '{start_from}'", 1000)
        os.utime(file, (time.time() + 60,) * 2)
        log.until(lambda log=log: log.events, "the first file")
        assert log.queries() == [f"select '{start_from}'"]
        file.unlink()


def test_statement_and_its_failure_in_two_files_are_one_event(opened: Open, folder: Folder) -> None:
    audit = "AUDIT: SESSION,1,1,READ,SELECT,,,select f(),<not logged>"
    of_failure = {"error_severity": "ERROR", "state_code": "P0001", "statement": "select f()"}
    failure = record("no", line=2, at_ms=20, **of_failure)
    first, second = folder.path / "a.json", folder.path / "b.json"
    first.write_bytes(written(JSONLOG, [record("statement: select 1", line=0), record(audit)]))
    log = opened(JSONLOG)
    log.read()
    log.reopen()
    second.write_bytes(written(JSONLOG, [failure]))
    os.utime(second, (time.time() + 5,) * 2)
    log.to_the_end(second)
    assert [(e.query, e.error_code) for e in log.events] == [("select 1", None), ("select f()", "P0001")]


def test_records_torn_at_the_end_of_a_file_are_put_aside_when_the_next_one_is_begun(
    opened: Open,
    folder: Folder,
) -> None:
    first = folder.add("a", "select 'a'", 1000)
    with first.open("ab") as out:
        out.write(b'{"timestamp":"2026-11-21 19:00:0')
    os.utime(first, (1000, 1000))
    log = opened(JSONLOG)
    log.until(lambda: log.events, "the whole record")
    assert log.rejected == []
    log.to_the_end(folder.add("b", "select 'b'", 1001))
    assert log.queries() == ["select 'a'", "select 'b'"]
    assert [r.raw for r in log.rejected] == [b'{"timestamp":"2026-11-21 19:00:0']


# -- a server that rotates


class Load:
    """Clients that run numbered statements until the end."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._stop = threading.Event()
        self.run: list[str] = []
        self._threads = [
            threading.Thread(target=self._client, args=(n,), daemon=True) for n in range(CLIENTS)
        ]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *ignored: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _client(self, client: int) -> None:
        number = 0
        with contextlib.suppress(psycopg.OperationalError), self._server.connect_admin() as connection:
            while not self._stop.is_set():
                number += 1
                statement = f"select 'c{client}-{number}', '{'x' * 200}\n{'y' * 100}'"
                connection.execute(statement)
                self.run.append(statement)


@pytest.fixture(scope="module")
def rotating() -> Iterator[PostgresServer]:
    """A server without pgaudit that logs statements, and rotates by size as fast as its names allow."""
    settings = {"log_statement": "all", "log_rotation_size": "64kB"}
    with PostgresServer(17, settings=settings) as server, collector_on(server):
        yield server


def each_once(log: Collecting, load: Load) -> None:
    told = Counter(q for q in log.queries("postgres") if q and q.startswith("select 'c"))
    assert set(told) >= set(load.run)
    assert not [q for q, count in told.items() if count > 1]


@pytest.mark.parametrize("options", [{}, {"log_source": "local"}, {"log_format": "csvlog"}], ids=str)
def test_rotation_under_load_loses_and_repeats_nothing(
    rotating: PostgresServer, options: dict[str, str]
) -> None:
    local = {"log_directory": str(rotating.log_directory)} if "log_source" in options else {}
    with Collecting(rotating, **options, **local) as log:
        log.read()
        files = set(rotating.log_files())
        with Load(rotating) as load:
            log.until(lambda: len(set(rotating.log_files()) - files) >= 3, "three rotations", 64 * 1024)
            log.reopen()
        log.until(lambda: set(load.run) <= set(log.queries("postgres")), "every statement")
        each_once(log, load)
        assert log.gaps == []
        assert log.rejected == []


def test_backlog_of_many_files_is_read_after_the_agent_was_away(rotating: PostgresServer) -> None:
    with Collecting(rotating) as log:
        log.read()
        files = set(rotating.log_files())
        with Load(rotating) as load:
            wait_for(lambda: len(set(rotating.log_files()) - files) >= 4, "four rotations")
        log.reopen()
        log.until(lambda: set(load.run) <= set(log.queries("postgres")), "every statement")
        each_once(log, load)
        assert log.gaps == []


@pytest.mark.parametrize("source", ["remote", "local"])
def test_several_rotations_of_a_server_within_a_second_are_read_in_their_order(
    postgres_server: StartServer, source: str
) -> None:
    server = postgres_server(17, settings={"log_statement": "all"})
    with collector_on(server), Collecting(server, log_source=source) as log:
        log.read()
        names = ["zz", "mm", "aa", "kk"]
        for name in names:
            server.configure(log_filename=f"{name}.log")
            server.reload()
            wait_for(lambda name=name: server.current_log("jsonlog").stem == name, "the rotation")
            server.execute_admin(f"select '{name}'")
        log.reopen()
        log.until(lambda: "select 'kk'" in log.queries("postgres"), "the last file")
        marks = [q for q in log.queries("postgres") if q and q.startswith("select '")]
        assert marks == [f"select '{name}'" for name in names]
        assert log.gaps == []


def test_server_killed_in_the_middle_of_writing_leaves_every_whole_record(
    postgres_server: StartServer,
) -> None:
    # One name for ever: the server appends to what it tore.
    server = postgres_server(
        17, durable=True, settings={"log_statement": "all", "log_filename": "server.log"}
    )
    with collector_on(server), Collecting(server) as log:
        log.read()
        file = server.log_directory / "server.json"
        for _again in range(3):
            with Load(server) as load:
                log.until(lambda load=load: len(load.run) > 50, "statements under load")
                server.kill(spare_logger=True)
            with file.open("ab") as torn:
                torn.write(b'{"timestamp":"2026-11-21 19:00:00.000 UTC","user":"tor')
            server.start()
            log.reopen()
        log.to_the_end(file)
        told = [q for q in log.queries("postgres") if q and q.startswith("select 'c")]
        assert len(told) == file.read_bytes().count(b"\"statement: select 'c")
        assert len(log.rejected) == 3
        assert log.gaps == []
