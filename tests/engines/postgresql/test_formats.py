"""The same workload on every server: the events it has to become, once each, the same from both formats."""

from collections.abc import Callable, Iterator

import msgspec
import pytest
from dbaudit.core.event import AuditEvent, EventType

from tests.engines.postgresql import workload
from tests.engines.postgresql.collecting import Collecting, collector_on
from tests.servers.installations import MAJORS, PGAUDIT_MAJORS
from tests.servers.postgresql import PostgresServer

StartServer = Callable[..., PostgresServer]


@pytest.fixture(scope="module")
def each_major(postgres_of_each_major: PostgresServer) -> Iterator[PostgresServer]:
    with collector_on(postgres_of_each_major) as server:
        yield server


@pytest.fixture
def restored(each_major: PostgresServer) -> Iterator[PostgresServer]:
    """The settings as they were."""
    before = dict(each_major._settings)
    yield each_major
    each_major._settings = before
    each_major.configure()
    each_major.reload()


def formats_of(server: PostgresServer) -> list[str]:
    return ["csvlog", "jsonlog"] if server.major >= 15 else ["csvlog"]


def collected_in_each_format(server: PostgresServer) -> dict[str, list[AuditEvent]]:
    """What became of the workload, by format."""
    logs = {name: Collecting(server, log_format=name) for name in formats_of(server)}
    for log in logs.values():
        log.read()
    with workload.role_of_the_workload(server, "worked"):
        workload.run(server, "worked")
        for name, log in logs.items():
            log.until(
                lambda log=log: (
                    workload.Told(EventType.LOGIN_FAILED, error_code="3D000")
                    in [workload.told(e) for e in log.of(workload.USER)]
                ),
                f"the end of the workload in {name}",
            )
    for log in logs.values():
        assert log.rejected == []
        assert log.gaps == []
        log.session.close()
    return {name: log.events for name, log in logs.items()}


def test_workload_becomes_its_events_once_each_and_the_same_in_both_formats(
    restored: PostgresServer,
) -> None:
    pgaudit = restored.pgaudit
    if not pgaudit:
        restored.configure(log_statement="all")
        restored.reload()
    logs = collected_in_each_format(restored)
    events = logs["csvlog"]
    own = workload.by_session([e for e in events if e.user == workload.USER])
    assert [workload.told(e) for e in own] == workload.expected(pgaudit=pgaudit)
    assert workload.outcomes_are_told(own)
    refused = [workload.told(e) for e in events if e.user == "nobody"]
    assert refused == [workload.Told(EventType.LOGIN_FAILED, error_code="28P01")]
    assert not [e for e in events if e.user == "dbaudit_collector"]
    assert {e.source_ip for e in own} == {"127.0.0.1"}
    # The server writes two processes' records in another order to one file than to the other.
    by_key = {name: sorted(log, key=lambda e: e.key) for name, log in logs.items()}
    for other in by_key.values():
        assert [msgspec.to_builtins(e) for e in other] == [msgspec.to_builtins(e) for e in by_key["csvlog"]]


def test_pgaudit_and_log_statement_and_durations_together_tell_nothing_twice(
    restored: PostgresServer,
) -> None:
    restored.configure(log_statement="all", log_min_duration_statement=0)
    restored.reload()
    events = collected_in_each_format(restored)[formats_of(restored)[-1]]
    own = workload.by_session([e for e in events if e.user == workload.USER])
    assert [workload.told(e) for e in own] == workload.expected(pgaudit=restored.pgaudit)
    timed = [e.query for e in own if e.type == EventType.QUERY and e.duration_ms is not None]
    assert timed == [s for s in workload.PARSED if s not in workload.FAILING]
    parameters = next(e.parameters for e in own if e.query == workload.PARAMETERS)
    assert parameters == ("7", "a 'quoted', \"text\"\nin two lines")


def test_log_min_duration_statement_alone_tells_of_statements_at_their_end(
    restored: PostgresServer,
) -> None:
    settings: dict[str, str | int] = {"log_min_duration_statement": 0}
    if restored.pgaudit:
        settings["pgaudit__log"] = "none"
    restored.configure(**settings)
    restored.reload()
    events = collected_in_each_format(restored)["csvlog"]
    own = [e for e in events if e.user == workload.USER and e.type == EventType.QUERY]
    assert [e.query for e in own] == [
        *(s for s in (workload.CREATE, workload.INSERT, workload.SECOND, workload.FAKE)),
        workload.PARAMETERS,
        workload.DO,
        *workload.FAILING,
        workload.DROP,
    ]
    assert all((e.duration_ms is None) == (e.query in workload.FAILING) for e in own)


@pytest.mark.parametrize("major", [m for m in PGAUDIT_MAJORS if m in MAJORS])
def test_object_audit_tells_objects_parameters_and_rows_of_one_statement_in_one_event(
    postgres_server: StartServer, major: int
) -> None:
    settings = {
        "pgaudit.role": "auditor",
        "pgaudit.log": "none",
        "pgaudit.log_parameter": True,
        "pgaudit.log_rows": True,
    }
    server = postgres_server(major, pgaudit=True, settings=settings)
    with collector_on(server), Collecting(server) as log:
        with server.connect_admin() as connection:
            connection.execute(
                "create table a (id int, v text); create table b (id int); create table c (id int)"
            )
            connection.execute("create role auditor; grant select, insert on a, b to auditor")
        log.read()
        with server.connect_admin() as connection:
            connection.execute("insert into a values (%s, %s)", (7, 'p, "q"\nr\'s'))
            connection.execute("select a.v from a join b using (id) where a.id = %s", (7,))
            connection.execute("select * from c")
        log.until(lambda: len(log.of("postgres", EventType.DISCONNECT)) == 1, "the disconnection")
        first, second = log.of("postgres", EventType.QUERY)
    assert (first.operation, first.command_class, first.objects) == ("INSERT", "WRITE", ("TABLE public.a",))
    assert first.parameters == ("7", 'p, "q"\nr\'s')
    assert first.detail == {"audit": "object", "statement": 1, "substatement": 1}
    rows = major >= 15  # pgaudit 1.5 has no log_rows
    assert first.rows_affected == (1 if rows else None)
    assert second.objects == ("TABLE public.a", "TABLE public.b")
    assert second.query == "select a.v from a join b using (id) where a.id = $1"
    assert second.rows_affected == (0 if rows else None)
