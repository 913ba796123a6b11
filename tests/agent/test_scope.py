"""Whose events a declaration gets when the server has several databases."""

from collections.abc import Callable
from typing import Any

import pytest
from dbaudit.core.database import AuditOptions, AuditStatus, Scope
from dbaudit.core.event import AuditEvent, EventType

from tests.agent.conftest import Installation
from tests.agent.unruly import once, raising

PLACE = {"host": "server.example.com", "port": 1}
PLAIN = AuditOptions(mask_sensitive_data=False)
WHOLE = AuditOptions(mask_sensitive_data=False, scope=Scope.SERVER)


def ran(database: str | None, text: str, **fields: Any) -> AuditEvent:
    return AuditEvent("", EventType.QUERY, 0, database=database, query=text, **fields)


def session(session_id: str, kind: EventType, database: str | None = None) -> AuditEvent:
    return AuditEvent("", kind, 0, database=database, session_id=session_id)


def test_a_declaration_gets_its_databases_events_and_the_oldest_the_servers(dbaudit: Installation) -> None:
    shop, hr = (dbaudit.declare(database=name, audit_options=PLAIN, **PLACE) for name in ("shop", "hr"))
    dbaudit.unruly.source = [
        ran("shop", "in shop"),
        ran("hr", "in hr"),
        ran("other", "in an undeclared one"),
        ran(None, "in none"),
        ran("hr", "at last"),
    ]
    dbaudit.start()
    dbaudit.wait_until(lambda: dbaudit.queries(hr) == ["in hr", "at last"], "the events of hr")
    dbaudit.wait_until(lambda: len(dbaudit.queries(shop)) == 2, "the events of shop")
    assert set(dbaudit.queries(shop)) == {"in shop", "in none"}


def test_the_whole_server_is_for_whoever_asks_for_it(dbaudit: Installation) -> None:
    shop = dbaudit.declare(database="shop", audit_options=PLAIN, **PLACE)
    whole = dbaudit.declare(database="hr", audit_options=WHOLE, **PLACE)
    dbaudit.unruly.source = [ran("shop", "in shop"), ran("hr", "in hr"), ran(None, "in none")]
    dbaudit.start()
    dbaudit.wait_until(lambda: len(dbaudit.queries(whole)) == 3, "everything")
    dbaudit.wait_until(lambda: dbaudit.queries(shop) == ["in shop"], "the events of shop")
    assert set(dbaudit.queries(whole)) == {"in shop", "in hr", "in none"}


def test_a_change_of_the_scope_holds_from_the_next_events_on(dbaudit: Installation) -> None:
    shop = dbaudit.declare(database="shop", audit_options=PLAIN, **PLACE)
    dbaudit.unruly.source = [ran("hr", "before"), ran("shop", "in shop")]
    dbaudit.start()
    dbaudit.wait_until(lambda: dbaudit.queries(shop) == ["in shop"], "the first events")
    dbaudit.change(shop, scope=Scope.SERVER)

    def seen() -> bool:
        dbaudit.unruly.source.append(ran("hr", f"{len(dbaudit.unruly.source)}"))
        return len(dbaudit.queries(shop)) > 1

    dbaudit.wait_until(seen, "the whole server")
    dbaudit.unruly.source.append(ran("hr", "last"))
    dbaudit.wait_until(lambda: "last" in dbaudit.queries(shop), "the last one")
    first = int(str(dbaudit.queries(shop)[1]))
    later = [str(number) for number in range(first, len(dbaudit.unruly.source) - 1)]
    assert dbaudit.queries(shop) == ["in shop", *later, "last"]


def test_a_change_while_the_database_is_opened_is_not_overlooked(dbaudit: Installation) -> None:
    shop = dbaudit.declare(database="shop", audit_options=PLAIN, **PLACE)
    dbaudit.unruly.instead["test"] = once(lambda: dbaudit.change(shop, scope=Scope.SERVER))
    dbaudit.start()
    dbaudit.wait_for_active(shop)

    def seen() -> bool:
        dbaudit.unruly.source.append(ran("hr", f"{len(dbaudit.unruly.source)}"))
        return dbaudit.queries(shop) != []

    dbaudit.wait_until(seen, "the whole server, long before the next health check")


def test_a_connection_goes_with_the_log_in_that_it_was_opened_for(dbaudit: Installation) -> None:
    shop, hr = (dbaudit.declare(database=name, **PLACE) for name in ("shop", "hr"))
    dbaudit.unruly.source = [
        session("1", EventType.CONNECTION),
        session("2", EventType.CONNECTION),
        session("1", EventType.LOGIN_SUCCESS, "hr"),
        session("3", EventType.CONNECTION),
        session("3", EventType.LOGIN_SUCCESS, "other"),
        session("2", EventType.LOGIN_FAILED),
    ]

    def sessions(database: Any) -> list[tuple[str | None, str]]:
        return [(found.event.session_id, found.event.type) for found in dbaudit.events(database)]

    dbaudit.start()
    expected = [("1", EventType.CONNECTION), ("1", EventType.LOGIN_SUCCESS)]
    dbaudit.wait_until(lambda: sessions(hr) == expected, "the session of hr")
    expected = [("2", EventType.CONNECTION), ("2", EventType.LOGIN_FAILED)]
    dbaudit.wait_until(lambda: sessions(shop) == expected, "the session that has no database")
    assert [found.event.database for found in dbaudit.events(hr)] == [None, "hr"]


@pytest.mark.parametrize(
    ("stricter", "expected"),
    [(AuditOptions(), "in ?"), (AuditOptions(capture_queries=False, mask_sensitive_data=False), None)],
)
def test_the_servers_events_are_protected_as_the_strictest_declaration_asks(
    dbaudit: Installation, stricter: AuditOptions, expected: str | None
) -> None:
    shop = dbaudit.declare(database="shop", audit_options=PLAIN, **PLACE)
    dbaudit.declare(database="hr", audit_options=stricter, **PLACE)
    dbaudit.unruly.source = [ran(None, "in 4711"), ran("shop", "in 4712")]
    dbaudit.start()
    dbaudit.wait_until(lambda: len(dbaudit.events(shop)) == 2, "both events")
    assert [found.event.query for found in dbaudit.events(shop)] == [expected, "in 4712"]


def test_records_that_cannot_be_decoded_are_put_aside_once(dbaudit: Installation) -> None:
    declared = [dbaudit.declare(database=name, audit_options=PLAIN, **PLACE) for name in ("shop", "hr")]
    dbaudit.unruly.source = [ran("shop", "in shop"), "poison", ran("hr", "in hr")]
    dbaudit.start()
    dbaudit.wait_until(lambda: [len(dbaudit.events(d)) for d in declared] == [1, 1], "both events")
    assert [dbaudit.collector(d).rejected_total for d in declared] == [1, 0]


def test_an_event_that_the_state_refuses_does_not_change_whose_the_others_are(dbaudit: Installation) -> None:
    shop, hr = (dbaudit.declare(database=name, audit_options=PLAIN, **PLACE) for name in ("shop", "hr"))
    dbaudit.unruly.source = [
        ran(None, "too big", source_port=1 << 70),
        ran(None, "a\0b"),
        ran("hr", "in hr"),
        ran(None, "last"),
    ]
    dbaudit.start()
    dbaudit.wait_until(lambda: dbaudit.queries(hr) == ["in hr"], "the event of hr")
    dbaudit.wait_until(lambda: dbaudit.queries(shop) == ["a\ufffdb", "last"], "the server's events")


def test_an_engine_says_which_names_are_the_declared_databases(
    dbaudit: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    same: Callable[[Any, str, str], bool] = lambda _, name, declared: name.lower() == declared  # noqa: E731
    monkeypatch.setattr("tests.agent.unruly.UnrulySession.is_declared", same)
    shop = dbaudit.declare(database="shop", audit_options=PLAIN, **PLACE)
    dbaudit.unruly.source = [ran("Shop", "one"), ran("hr", "other"), ran("SHOP", "two")]
    dbaudit.start()
    dbaudit.wait_until(lambda: dbaudit.queries(shop) == ["one", "two"], "the events of shop")


def test_a_paused_keepers_server_events_go_to_the_next_and_come_once(dbaudit: Installation) -> None:
    shop, hr = (dbaudit.declare(database=name, audit_options=PLAIN, **PLACE) for name in ("shop", "hr"))
    dbaudit.unruly.source = [ran(None, "first")]
    dbaudit.start()
    dbaudit.wait_until(lambda: dbaudit.queries(shop) == ["first"], "the first")
    dbaudit.wait_for_active(hr)
    dbaudit.change(shop, audit_status=AuditStatus.PAUSED)
    dbaudit.unruly.source += [ran(None, "second")]
    dbaudit.wait_until(lambda: "second" in dbaudit.queries(hr) + dbaudit.queries(shop), "the second")
    dbaudit.change(shop, audit_status=AuditStatus.ACTIVE)
    dbaudit.unruly.source += [ran("shop", "in shop"), ran(None, "third")]
    expected = {"first", "in shop", "second", "third"}

    def stored() -> list[str | None]:
        return dbaudit.queries(shop) + dbaudit.queries(hr)

    dbaudit.wait_until(lambda: expected <= set(stored()), "the others")
    assert len(stored()) == len(expected)


def undeclared(dbaudit: Installation, database: Any) -> tuple[str, str] | None:
    """Status and detail of the step of the report that names them; None where there is no such step."""
    report = dbaudit.collector(database).report
    steps = () if report is None else report.diagnoses
    return next(((d.status, d.detail) for d in steps if d.code == "undeclared_databases"), None)


def test_the_report_names_the_databases_that_nobody_has_declared(dbaudit: Installation) -> None:
    dbaudit.unruly.instead["databases"] = lambda: ["shop", "hr", "old", "new"]
    hr = dbaudit.declare(database="hr", **PLACE)
    shop = dbaudit.declare(database="shop", **PLACE)
    dbaudit.start()
    dbaudit.wait_for_active(shop)
    dbaudit.wait_for_active(hr)
    found = undeclared(dbaudit, shop)
    assert found is not None
    assert found[0] == "warning"
    assert found[1].endswith(": new, old.")


def test_nothing_is_undeclared_where_the_whole_server_is_stored_or_nothing_is_known(
    dbaudit: Installation,
) -> None:
    dbaudit.unruly.instead["databases"] = lambda: ["shop", "old"]
    dbaudit.orderly.instead["databases"] = lambda: ["shop"]
    shop = dbaudit.declare(database="shop", **PLACE)
    whole = dbaudit.declare(database="hr", audit_options=WHOLE, **PLACE)
    alone = dbaudit.declare("orderly", database="shop")
    dbaudit.start()
    for database in (shop, whole, alone):
        dbaudit.wait_for_active(database)
    assert undeclared(dbaudit, shop) is undeclared(dbaudit, whole) is None
    assert undeclared(dbaudit, alone) == ("ok", "Every database of the server is declared.")


def test_databases_that_cannot_be_listed_hinder_nothing(dbaudit: Installation) -> None:
    dbaudit.unruly.instead["databases"] = raising(ValueError("what"))
    shop = dbaudit.declare(database="shop", audit_options=PLAIN, **PLACE)
    dbaudit.unruly.source = [ran("shop", "in shop")]
    dbaudit.start()
    dbaudit.wait_until(lambda: dbaudit.queries(shop) == ["in shop"], "the event")
    assert undeclared(dbaudit, shop) is None


def test_a_refused_log_in_to_a_database_that_is_not_there_is_the_servers(dbaudit: Installation) -> None:
    dbaudit.unruly.instead["databases"] = lambda: ["shop", "hr"]
    shop = dbaudit.declare(database="shop", **PLACE)
    dbaudit.unruly.source = [
        session("1", EventType.LOGIN_FAILED, "hr"),
        session("2", EventType.LOGIN_FAILED, "nowhere"),
        session("3", EventType.LOGIN_SUCCESS, "new"),
        session("4", EventType.LOGIN_FAILED, "shop"),
    ]
    dbaudit.start()
    dbaudit.wait_until(lambda: len(dbaudit.events(shop)) == 2, "the refused log-ins")
    assert [found.event.session_id for found in dbaudit.events(shop)] == ["2", "4"]
