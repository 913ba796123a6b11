"""How often databases are read, and how many are opened at once."""

import pytest
from dbaudit.agent.pace import Pace

from tests.agent.conftest import Installation
from tests.agent.unruly import Hanging
from tests.patience import PATIENCE_SECONDS


@pytest.mark.parametrize(
    ("databases", "quiet_seconds", "pause_seconds"),
    [
        pytest.param(1, 3600.0, 0.1, id="few are always read often"),
        pytest.param(1000, 0.0, 0.1, id="what has just told something is read often"),
        pytest.param(1000, 10.0, 1.0, id="a tenth of the quiet time at most"),
        pytest.param(1000, 3600.0, 2.0, id="many that are idle share the reads"),
    ],
)
def test_pause_before_the_next_read(databases: int, quiet_seconds: float, pause_seconds: float) -> None:
    pace = Pace(0.1)
    pace.databases = databases
    assert pace.pause_seconds(quiet_seconds) == pause_seconds


def test_many_servers_that_hang_while_they_are_opened_hold_up_no_other(
    dbaudit: Installation, hanging: Hanging
) -> None:
    dbaudit.unruly.instead["open"] = hanging
    stuck = [dbaudit.declare() for _database in range(20)]
    end = dbaudit.start(shutdown_seconds=1.0)
    assert hanging.entered.wait(PATIENCE_SECONDS)
    good = dbaudit.declare("orderly")
    dbaudit.wait_for_active(good)
    assert {dbaudit.status(database) for database in stuck} == {"pending"}
    end()
