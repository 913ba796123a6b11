"""What is stored is stored before it is acknowledged, and a state that is busy is waited for."""

from dbaudit.core.database import AuditOptions

from tests.agent.conftest import Installation

UNMASKED = AuditOptions(mask_sensitive_data=False)


def test_locked_state_delays_and_loses_nothing(dbaudit: Installation) -> None:
    database = dbaudit.declare(audit_options=UNMASKED)
    dbaudit.start()
    dbaudit.wait_for_active(database)
    other = dbaudit.open()
    with other.backend.writing():
        dbaudit.unruly.source = ["select 1"]
        read = len(dbaudit.unruly.acknowledged)
        assert dbaudit.queries(database) == []
    dbaudit.wait_until(lambda: dbaudit.queries(database) == ["select 1"], "storing after the lock")
    dbaudit.wait_until(lambda: len(dbaudit.unruly.acknowledged) > read, "acknowledging what is stored")
    other.close()


def test_nothing_is_acknowledged_before_it_is_stored(dbaudit: Installation) -> None:
    database = dbaudit.declare(audit_options=UNMASKED)
    dbaudit.unruly.source = [f"select {number}" for number in range(50)]
    dbaudit.unruly.chunk_records = 5
    seen: list[bool] = []

    def acknowledged() -> None:
        stored = dbaudit.state.events.cursor(dbaudit.state.databases.retentions()[0][0]).cursor
        seen.append(stored is not None and stored["position"] == len(dbaudit.queries(database)))

    dbaudit.unruly.instead["acknowledge"] = acknowledged
    dbaudit.start()
    dbaudit.wait_until(lambda: len(seen) >= 10, "acknowledging it all")
    assert len(dbaudit.queries(database)) == 50
    assert all(seen[:10])
