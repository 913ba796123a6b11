"""Whatever a plugin does: the others go on, the state tells what happened, and it recovers by itself."""

from collections.abc import Callable
from typing import Any

import pytest
from dbaudit.core.database import AuditOptions, ConnectionStatus
from dbaudit.core.report import CheckStatus
from dbaudit.engine import Chunk, ConfigurationError, ErrorCode, RecordError, TransientError
from dbaudit.state.collectors import CollectorState

from tests.agent.conftest import Installation
from tests.agent.unruly import once, raising

UNMASKED = AuditOptions(mask_sensitive_data=False)
DEADLY_CALLS = ["open", "test", "read", "acknowledge"]
WAYS: dict[str, Callable[[], Any]] = {
    "an exception": raising(ValueError("wrong")),
    "SystemExit": raising(SystemExit(3)),
    "KeyboardInterrupt": raising(KeyboardInterrupt()),
    "an error that is not for engines": raising(RecordError("misplaced")),
    "a code of the state": raising(TransientError(ErrorCode.LEASE_LOST, "misplaced")),
    "something else returned": lambda: "something else",
}


@pytest.mark.parametrize(
    ("call", "way"),
    [
        pytest.param(call, way, id=f"{call}-{name}")
        for call in DEADLY_CALLS
        for name, way in WAYS.items()
        if (call, name) != ("acknowledge", "something else returned")  # which means nothing
    ],
)
def test_engine_that_fails_in_a_call_is_told_of_and_tried_again(
    call: str, way: Callable[[], Any], dbaudit: Installation
) -> None:
    dbaudit.unruly.source = ["select 1"]
    dbaudit.orderly.source = ["select 2"]
    dbaudit.unruly.instead[call] = way
    broken, other = dbaudit.declare("unruly"), dbaudit.declare("orderly")
    dbaudit.start()
    collector = dbaudit.wait_for_error(broken, f"The engine failed in {call}()")
    assert collector.error_code == "engine_failed"
    assert collector.state in (CollectorState.BACKING_OFF, CollectorState.STARTING)
    dbaudit.wait_for_status(broken, ConnectionStatus.ERROR)
    dbaudit.wait_for_active(other)
    dbaudit.unruly.instead.clear()
    dbaudit.wait_for_active(broken)
    dbaudit.wait_until(lambda: dbaudit.collector(broken).error is None, "the error's going")
    assert dbaudit.queries(broken) == dbaudit.queries(other) == ["select ?"]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_engine_whose_health_fails_is_collected_all_the_same(
    way: Callable[[], Any], dbaudit: Installation
) -> None:
    dbaudit.unruly.source = ["select 1"]
    dbaudit.unruly.instead["health"] = way
    database = dbaudit.declare()
    dbaudit.start()
    dbaudit.wait_for_active(database)
    assert dbaudit.queries(database) == ["select ?"]
    health = dbaudit.collector(database).health
    assert health is not None
    assert health.connectivity is CheckStatus.UNKNOWN


def test_engine_whose_close_fails_does_not_hide_why_it_was_closed(dbaudit: Installation) -> None:
    dbaudit.unruly.instead["close"] = raising(ValueError("cannot close"))
    dbaudit.unruly.instead["read"] = raising(TransientError(ErrorCode.CONNECTION_LOST, "The wire is cut."))
    database = dbaudit.declare()
    dbaudit.start()
    assert dbaudit.wait_for_error(database, "The wire is cut.").error_code == "connection_lost"
    assert dbaudit.wait_for_status(database, ConnectionStatus.DISCONNECTED).status_code == "connection_lost"


def test_record_that_cannot_be_decoded_is_put_aside_and_the_others_are_stored(dbaudit: Installation) -> None:
    dbaudit.unruly.source = ["select 1", "poison", "select 2", "poison", "select 3"]
    database = dbaudit.declare(audit_options=UNMASKED)
    dbaudit.start()
    dbaudit.wait_for_active(database)
    assert dbaudit.queries(database) == ["select 1", "select 2", "select 3"]
    assert dbaudit.collector(database).rejected_total == 2
    dbaudit.unruly.source += ["select 4"]
    dbaudit.wait_until(lambda: dbaudit.queries(database)[-1] == "select 4", "what comes after the poison")


def test_decoder_that_exits_loses_no_record(dbaudit: Installation) -> None:
    dbaudit.unruly.source = ["select 1", "select 2"]
    dbaudit.unruly.instead["decode"] = once(raising(SystemExit()))
    database = dbaudit.declare(audit_options=UNMASKED)
    dbaudit.start()
    dbaudit.wait_for_active(database)
    assert dbaudit.queries(database) == ["select 1", "select 2"]


def test_value_that_no_state_can_hold_does_not_stop_the_stream(dbaudit: Installation) -> None:
    dbaudit.unruly.source = ["select 1", "select '\ud800'", 5, "select 2"]
    database = dbaudit.declare(audit_options=UNMASKED)
    dbaudit.start()
    dbaudit.wait_for_active(database)
    assert dbaudit.queries(database) == ["select 1", "select '\ufffd'", "select 2"]
    assert dbaudit.collector(database).rejected_total == 1


def test_cursor_that_is_not_json_is_told_of_and_changes_nothing(dbaudit: Installation) -> None:
    dbaudit.unruly.instead["read"] = lambda: Chunk(records=[], cursor={"v": 1, "place": object()})
    database = dbaudit.declare()
    dbaudit.start()
    dbaudit.wait_for_status(database, ConnectionStatus.ERROR)
    assert dbaudit.state.events.cursor(1).cursor is None


def test_agent_killed_before_it_acknowledged_does_so_when_it_starts_again(dbaudit: Installation) -> None:
    dbaudit.unruly.source = ["select 1"]
    dbaudit.unruly.instead["acknowledge"] = raising(TransientError(ErrorCode.CONNECTION_LOST, "Cut."))
    database = dbaudit.declare()
    end = dbaudit.start()
    dbaudit.wait_for_error(database, "Cut.")
    end()
    assert dbaudit.unruly.acknowledged == []
    dbaudit.unruly.instead.clear()
    dbaudit.start()
    dbaudit.wait_until(lambda: dbaudit.unruly.acknowledged == [{"v": 1, "position": 1}], "acknowledging")


def test_wrong_configuration_waits_for_somebody_and_goes_on_as_soon_as_it_is_changed(
    dbaudit: Installation,
) -> None:
    refused = ConfigurationError(ErrorCode.AUTHENTICATION_FAILED, "Wrong password.", remedy="Set it.")
    dbaudit.unruly.instead["open"] = raising(refused)
    database, other = dbaudit.declare(), dbaudit.declare("orderly")
    dbaudit.start(misconfigured_retry_seconds=3600.0)
    assert dbaudit.wait_for_error(database, "Wrong password.").state is CollectorState.FAILED
    shown = dbaudit.wait_for_status(database, ConnectionStatus.ERROR)
    assert (shown.status_code, shown.status_reason) == (
        "authentication_failed",
        "Wrong password. Remedy: Set it.",
    )
    opened = len(dbaudit.unruly.targets)
    dbaudit.change(other, tags=("changed",))
    dbaudit.wait_for_active(other)
    assert len(dbaudit.unruly.targets) == opened, "another database's change is no reason to try again"
    dbaudit.unruly.instead.clear()
    dbaudit.change(database, username="another")
    dbaudit.wait_for_active(database)
