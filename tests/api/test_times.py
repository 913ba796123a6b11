"""Times in answers: whole seconds of the service's own objects, the exact time of events."""

from __future__ import annotations

import re
from typing import Any

import pytest
from dbaudit.core.clock import format_us

from tests.api.conftest import Api

SECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.mark.parametrize(
    ("time_us", "exact", "whole"),
    [
        (1_705_314_600_000_000, "2024-01-15T10:30:00Z", "2024-01-15T10:30:00Z"),
        (1_705_314_600_000_001, "2024-01-15T10:30:00.000001Z", "2024-01-15T10:30:00Z"),
        (1_705_314_600_999_999, "2024-01-15T10:30:00.999999Z", "2024-01-15T10:30:00Z"),
        (1_705_314_600_500_000, "2024-01-15T10:30:00.500000Z", "2024-01-15T10:30:00Z"),
        (-1, "1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59Z"),
    ],
)
def test_a_fraction_is_shown_where_it_says_something(time_us: int, exact: str, whole: str) -> None:
    assert format_us(time_us) == exact
    assert format_us(time_us, whole_seconds=True) == whole


def test_the_objects_of_the_service_have_whole_seconds(api: Api) -> None:
    database = api.declared()
    with api.agent():
        details = api.get(f"/v1/databases/{database['id']}").json
        shown = [database, details, *_data(api, "nodes"), *_data(api, "keys")]
    times = {
        name: value
        for each in shown
        for name, value in each.items()
        if value is not None and (name.endswith("_at") or name == "last_heartbeat")
    }
    assert times.keys() >= {"created_at", "updated_at", "started_at", "last_heartbeat"}
    for name, value in times.items():
        assert SECONDS.fullmatch(value), name


def _data(api: Api, what: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(f"/v1/{what}").json["data"]
    return found
