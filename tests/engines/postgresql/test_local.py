"""Reading on the server's own host, and settings that change while the agent reads."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.core.event import EventType
from psycopg import sql

from tests.engines.postgresql.collecting import Collecting, collector_on
from tests.servers.postgresql import PostgresServer

StartServer = Callable[..., PostgresServer]
SOURCES = pytest.mark.parametrize("source", ["remote", "local"])


@pytest.fixture
def server(postgres_server: StartServer) -> Iterator[PostgresServer]:
    """A server of the test's own that logs statements, without pgaudit."""
    with collector_on(postgres_server(17, settings={"log_statement": "all"})) as started:
        yield started


def marked(log: Collecting) -> list[str]:
    """The marks that were read, in their order."""
    return [q.split("'")[1] for q in log.queries("postgres") if q and q.startswith("select 'mark")]


class Marks:
    """Runs numbered statements; all of them have to be read, once each and in their order."""

    def __init__(self, server: PostgresServer, log: Collecting) -> None:
        self._server = server
        self._log = log
        self.run: list[str] = []

    def make(self, count: int = 1) -> None:
        with self._server.connect_admin() as connection:
            for _again in range(count):
                mark = f"mark {len(self.run)}"
                connection.execute(sql.SQL("select {}").format(sql.Literal(mark)))
                self.run.append(mark)

    def all_read(self) -> None:
        self._log.until(lambda: set(self.run) <= set(marked(self._log)), "every mark")
        replays = dict.fromkeys(marked(self._log))  # a replay has the key of what was stored before
        assert list(replays) == self.run
        keys = {}
        for key, event in zip(self._log.keys(), self._log.events, strict=True):
            assert keys.setdefault(key, event.query) == event.query
        assert len({k for k, q in keys.items() if q and q.startswith("select 'mark")}) == len(self.run)
        assert self._log.gaps == []
        assert self._log.rejected == []


def test_local_reading_gives_the_same_events_as_remote_reading(server: PostgresServer) -> None:
    with Collecting(server, log_source="local") as local, Collecting(server) as remote:
        local.read()
        remote.read()
        marks = Marks(server, local)
        marks.make(3)
        marks.all_read()
        remote.until(lambda: len(marked(remote)) == 3, "every mark")
        local.to_the_end(server.current_log("jsonlog"))
        remote.to_the_end(server.current_log("jsonlog"))
        assert local.keys() == remote.keys()


def test_cursor_of_remote_reading_is_gone_on_with_locally_and_back(server: PostgresServer) -> None:
    with Collecting(server) as first:
        first.read()
        marks = Marks(server, first)
        marks.make()
        marks.all_read()
        marks.make()
        server.rotate_log()
        with Collecting(server, first.cursor, log_source="local") as second:
            second.until(lambda: marked(second) == ["mark 1"], "what was logged between")
            marks.make()
            assert second.gaps == []
            with Collecting(server, second.cursor) as third:
                third.until(lambda: marked(third) == ["mark 2"], "what was logged after")
                assert third.gaps == []


def test_directory_that_cannot_be_read_is_told_with_its_remedy(
    server: PostgresServer, tmp_path: Path
) -> None:
    missing = tmp_path / "missing"
    with Collecting(server, log_source="local", log_directory=str(missing)) as log:
        with pytest.raises(ConfigurationError) as refused:
            log.read()
        assert refused.value.code is ErrorCode.PERMISSION_MISSING
        assert str(missing) in refused.value.message
        assert refused.value.remedy


# -- settings that change


@SOURCES
def test_log_directory_that_changes_loses_nothing(server: PostgresServer, source: str) -> None:
    with Collecting(server, log_source=source) as log:
        log.read()
        marks = Marks(server, log)
        marks.make(2)
        log.read()
        marks.make(2)
        server.configure(log_directory="elsewhere")
        server.reload()
        marks.make(2)
        marks.all_read()


@SOURCES
def test_log_format_that_changes_and_changes_back_loses_and_repeats_nothing(
    server: PostgresServer, source: str
) -> None:
    with Collecting(server, log_source=source) as log:
        log.read()
        marks = Marks(server, log)
        for destination in ("csvlog", "jsonlog", "csvlog,jsonlog", "csvlog"):
            marks.make(2)
            log.read()
            marks.make(2)
            server.configure(log_destination=destination)
            server.reload()
            marks.make(2)
            if destination == "jsonlog":
                log.reopen()
            marks.all_read()
        assert log.cursor["format"] == "csvlog"


def test_format_that_is_asked_for_is_changed_to_without_a_loss(server: PostgresServer) -> None:
    with Collecting(server, log_format="csvlog") as log:
        log.read()
        marks = Marks(server, log)
        marks.make(3)
        marks.all_read()
        marks.make(3)
        with Collecting(server, log.cursor, log_format="jsonlog") as other:
            other.until(lambda: set(marks.run[3:]) <= set(marked(other)), "what was not read yet")
            assert other.cursor["format"] == "jsonlog"
            replayed = set(log.keys()) & set(other.keys())
            assert {k for k, e in zip(log.keys(), log.events, strict=True) if e.query} <= replayed
            assert other.gaps == []


def test_server_that_stops_to_write_a_log_is_read_to_its_end_and_then_told(server: PostgresServer) -> None:
    with Collecting(server) as log:
        log.read()
        marks = Marks(server, log)
        marks.make(3)
        server.configure(log_destination="stderr")
        server.reload()
        with pytest.raises(ConfigurationError, match="neither jsonlog nor csvlog"):
            log.until(lambda: False, "the end of the log")
        assert marked(log) == marks.run
        server.configure(log_destination="jsonlog")
        server.reload()
        marks.make(2)
        marks.all_read()


@SOURCES
def test_log_timezone_that_changes_puts_nothing_aside(server: PostgresServer, source: str) -> None:
    with Collecting(server, log_source=source) as log:
        log.read()
        marks = Marks(server, log)
        for zone in ("Europe/Berlin", "Asia/Kolkata", "America/St_Johns", "UTC"):
            marks.make(2)
            server.configure(log_timezone=zone)
            server.reload()
            marks.make(2)
            if zone == "Asia/Kolkata":
                log.reopen()  # records of the zone before are still waiting
            marks.all_read()
        times = [e.time_us for e in log.of("postgres", EventType.QUERY)]
        assert times == sorted(times)
        assert times[-1] - times[0] < 60_000_000


def test_what_is_logged_may_change_while_the_agent_reads(server: PostgresServer) -> None:
    with Collecting(server) as log:
        log.read()
        marks = Marks(server, log)
        marks.make()
        server.configure(log_connections=False)
        server.reload()
        marks.make()
        marks.all_read()
        log_ins = len(log.of("postgres", EventType.LOGIN_SUCCESS))
        server.configure(log_connections=True)
        server.reload()
        marks.make()
        marks.all_read()
        assert len(log.of("postgres", EventType.LOGIN_SUCCESS)) > log_ins
