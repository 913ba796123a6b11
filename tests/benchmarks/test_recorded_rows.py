"""The benchmarks of the engines that have no server here still fit the engines."""

from collections.abc import Callable

import pytest

from tests.benchmarks import fn_get_audit_file, unified_audit_trail


@pytest.mark.parametrize("main", [fn_get_audit_file.main, unified_audit_trail.main])
def test_recorded_rows_become_events(
    main: Callable[[int, int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    main(2000, 1)
    name, rate, unit = capsys.readouterr().out.split()
    assert name.endswith("_events_per_second")
    assert (float(rate) > 0, unit) == (True, "events/s")
