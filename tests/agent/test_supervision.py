"""What an agent does for all its databases: leases, heartbeats, figures, retention, a clean end."""

import time

import msgspec
import pytest
from dbaudit.core.clock import now_us
from dbaudit.core.database import AuditOptions, AuditStatus
from dbaudit.core.report import CheckStatus, Health, judge_disk, judge_latency
from dbaudit.state.collectors import CollectorState

from tests.agent import unruly
from tests.agent.conftest import Installation
from tests.agent.unruly import Hanging
from tests.patience import PATIENCE_SECONDS

UNMASKED = AuditOptions(mask_sensitive_data=False)
DAY_US = 24 * 3600 * 1_000_000


def test_agent_is_seen_by_its_name_while_it_runs(dbaudit: Installation) -> None:
    end = dbaudit.start(node_name="rack-7")
    dbaudit.wait_until(lambda: len(dbaudit.state.nodes.all(alive_only=True)) == 1, "the agent's life")
    (node,) = dbaudit.state.nodes.all()
    assert node.name == "rack-7"
    assert {"engine:postgresql", "engine:unruly"} <= set(node.capabilities)
    end()
    assert dbaudit.state.nodes.all() == []


def test_two_agents_share_the_databases_and_one_takes_all_when_the_other_leaves(
    dbaudit: Installation,
) -> None:
    databases = [dbaudit.declare() for _number in range(7)]

    def shares() -> list[int]:
        nodes = [dbaudit.collector(d).node_id for d in databases]
        running = all(dbaudit.collector(d).state is CollectorState.RUNNING for d in databases)
        return sorted(nodes.count(node) for node in set(nodes)) if running else []

    end_first = dbaudit.start(node_name="first")
    dbaudit.wait_until(lambda: shares() == [7], "one agent's holding them all")
    second = dbaudit.open()
    end_second = dbaudit.start(second, node_name="second")
    dbaudit.wait_until(lambda: shares() == [3, 4], "equal shares")
    end_first()
    dbaudit.wait_until(lambda: shares() == [7], "the other one's taking over")
    end_second()
    second.close()


def test_database_is_collected_by_the_agent_that_has_its_engine(dbaudit: Installation) -> None:
    second = dbaudit.open()
    end_first = dbaudit.start(node_name="without", without="unruly")
    end_second = dbaudit.start(second, node_name="with")
    dbaudit.wait_until(lambda: len(dbaudit.state.nodes.all(alive_only=True)) == 2, "two agents")
    names = {node.id: node.name for node in dbaudit.state.nodes.all()}
    special = [dbaudit.declare("unruly") for _number in range(4)]
    common = [dbaudit.declare("orderly") for _number in range(4)]
    for database in (*special, *common):
        dbaudit.wait_for_active(database)
    assert {names[dbaudit.collector(d).node_id or ""] for d in special} == {"with"}
    assert sorted(names[dbaudit.collector(d).node_id or ""] for d in common) == ["with"] * 2 + ["without"] * 2
    end_second()
    second.close()
    dbaudit.wait_for_error(special[0], "No engine 'unruly'")
    end_first()


def test_collector_beats_and_tells_its_rate(dbaudit: Installation) -> None:
    dbaudit.unruly.source = ["select 1"] * 120
    database = dbaudit.declare()
    started = time.monotonic()
    dbaudit.start()
    dbaudit.wait_for_active(database)
    dbaudit.wait_until(lambda: dbaudit.collector(database).events_per_second > 0, "the rate")
    seconds = max(1.0, time.monotonic() - started)
    assert 120 / seconds * 0.5 <= dbaudit.collector(database).events_per_second <= 120
    beat = dbaudit.collector(database).heartbeat_at_us or 0
    dbaudit.wait_until(lambda: (dbaudit.collector(database).heartbeat_at_us or 0) > beat, "another beat")


def test_collector_stays_the_holder_while_one_chunk_takes_longer_than_a_lease(
    dbaudit: Installation, hanging: Hanging
) -> None:
    dbaudit.unruly.source = ["select 1"]
    database = dbaudit.declare()
    first = dbaudit.open(lease_seconds=2.0)
    end_first = dbaudit.start(first, node_name="first")
    dbaudit.wait_for_active(database)
    dbaudit.unruly.instead["decode"] = hanging
    dbaudit.unruly.source.append("select 2")
    assert hanging.entered.wait(PATIENCE_SECONDS)
    holder = dbaudit.collector(database).node_id
    rival = dbaudit.open(lease_seconds=2.0)
    end_rival = dbaudit.start(rival, node_name="rival")
    beat = dbaudit.state.nodes.all()[0].heartbeat_at_us
    dbaudit.wait_until(
        lambda: dbaudit.state.nodes.all()[0].heartbeat_at_us > beat + 6_000_000, "three leases"
    )
    dbaudit.unruly.instead.clear()
    hanging.end()
    dbaudit.wait_until(lambda: len(dbaudit.queries(database)) == 2, "storing the slow chunk")
    assert dbaudit.collector(database).node_id == holder
    for end in (end_first, end_rival):
        end()
    for state in (first, rival):
        state.close()


@pytest.mark.parametrize(
    ("latency_ms", "free", "latency", "disk"),
    [
        (249.9, 0.2, CheckStatus.HEALTHY, CheckStatus.HEALTHY),
        (250.0, 0.19, CheckStatus.WARNING, CheckStatus.WARNING),
        (999.9, 0.1, CheckStatus.WARNING, CheckStatus.WARNING),
        (1000.0, 0.09, CheckStatus.CRITICAL, CheckStatus.CRITICAL),
    ],
)
def test_health_is_measured_again_and_again(
    latency_ms: float, free: float, latency: CheckStatus, disk: CheckStatus, dbaudit: Installation
) -> None:
    measured = Health(latency=CheckStatus.HEALTHY, measured_at_us=1)
    dbaudit.unruly.instead["health"] = lambda: measured
    database = dbaudit.declare()
    dbaudit.start(health_interval_seconds=0.1)
    dbaudit.wait_for_active(database)
    measured = Health(latency=judge_latency(latency_ms), disk_space=judge_disk(free), measured_at_us=2)
    flowing = msgspec.structs.replace(measured, audit_source=CheckStatus.HEALTHY)
    dbaudit.wait_until(lambda: dbaudit.collector(database).health == flowing, "the new health")
    assert (measured.latency, measured.disk_space) == (latency, disk)


def test_events_are_dropped_when_their_retention_ends(
    dbaudit: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unruly, "START_US", now_us() - 10 * DAY_US)
    dbaudit.unruly.source = [f"select {number}" for number in range(20)]
    kept, short = dbaudit.declare(audit_options=UNMASKED), dbaudit.declare(audit_options=UNMASKED)
    deleted = dbaudit.declare(audit_options=UNMASKED)
    dbaudit.start(retention_interval_seconds=0.1)
    for database in (kept, short, deleted):
        dbaudit.wait_until(lambda database=database: len(dbaudit.queries(database)) == 20, "events")  # type: ignore[misc]
    dbaudit.change(short, retention_days=9)
    dbaudit.change(deleted, retention_days=9)
    dbaudit.state.databases.delete(deleted.id)
    dbaudit.wait_until(lambda: dbaudit.queries(short) == [] == dbaudit.queries(deleted), "dropping")
    assert len(dbaudit.queries(kept)) == 20


def test_end_in_the_middle_of_a_large_backlog_is_quick_and_loses_nothing(dbaudit: Installation) -> None:
    dbaudit.unruly.source = [f"select {number}" for number in range(60_000)]
    dbaudit.unruly.chunk_records = 20_000
    database = dbaudit.declare(audit_options=UNMASKED)
    end = dbaudit.start()
    dbaudit.wait_until(lambda: (dbaudit.collector(database).events_total) > 0, "the first chunk")
    started = time.monotonic()
    end()
    assert time.monotonic() - started < 10
    assert dbaudit.collector(database).state is CollectorState.STOPPED
    dbaudit.start()
    dbaudit.wait_until(lambda: dbaudit.collector(database).events_total == 60_000, "the rest")
    assert dbaudit.queries(database) == dbaudit.unruly.source


def test_paused_database_is_let_go_and_goes_on_where_it_was(dbaudit: Installation) -> None:
    dbaudit.unruly.source = ["select 1"]
    database = dbaudit.declare(audit_options=UNMASKED)
    dbaudit.start()
    dbaudit.wait_for_active(database)
    dbaudit.change(database, audit_status=AuditStatus.PAUSED)
    dbaudit.wait_until(lambda: dbaudit.collector(database).state is CollectorState.STOPPED, "letting go")
    assert dbaudit.unruly.closed == 1
    dbaudit.unruly.source.append("select 2")
    assert dbaudit.queries(database) == ["select 1"]
    dbaudit.change(database, audit_status=AuditStatus.ACTIVE)
    dbaudit.wait_until(lambda: dbaudit.queries(database) == ["select 1", "select 2"], "what came meanwhile")


def test_deleted_database_is_let_go(dbaudit: Installation) -> None:
    dbaudit.unruly.source = ["select 1"]
    database = dbaudit.declare()
    dbaudit.start()
    dbaudit.wait_for_active(database)
    dbaudit.state.databases.delete(database.id)
    dbaudit.wait_until(lambda: dbaudit.unruly.closed == 1, "closing the session")
    assert dbaudit.queries(database) == ["select ?"], "its events stay until their retention ends"


def test_changed_options_hold_without_a_new_connection(dbaudit: Installation) -> None:
    dbaudit.unruly.source = ["select 1"]
    database = dbaudit.declare()
    dbaudit.start()
    dbaudit.wait_for_active(database)

    def last() -> tuple[str | None, int | None]:
        event = dbaudit.events(database)[-1].event
        return event.query, event.rows_affected

    def goes_on_as(expected: tuple[str | None, int | None]) -> None:
        def look() -> bool:
            dbaudit.unruly.source.append("select 7")
            return last() == expected

        dbaudit.wait_until(look, f"events like {expected}")

    assert last() == ("select ?", None)
    dbaudit.change(database, mask_sensitive_data=False)
    goes_on_as(("select 7", None))
    dbaudit.change(database, capture_queries=False)
    goes_on_as((None, None))
    assert len(dbaudit.unruly.targets) == 1
    dbaudit.change(database, capture_queries=True, capture_results=True)
    goes_on_as(("select 7", 1))
