"""What a wrong body costs grows with its size, not with the square of it, whatever its shape."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import FrameType

import pytest

from tests.api.conftest import Api

SHAPES: dict[str, Callable[[int], str]] = {
    "unknown fields": lambda n: json.dumps({f"f{number}": 1 for number in range(n)}),
    "one field many times": lambda n: "{" + ",".join(['"name":1'] * n) + "}",
    "two fields by turns": lambda n: "{" + ",".join(['"name":1', '"host":1'] * (n // 2)) + "}",
    "tags that are one": lambda n: json.dumps({"tags": ["a"] * n}),
    "tags that differ": lambda n: json.dumps({"tags": [f"t{number}" for number in range(n)]}),
    "tags of a wrong type": lambda n: json.dumps({"tags": [1] * n}),
    "tags that are lists": lambda n: json.dumps({"tags": [["a"]] * n}),
    "options": lambda n: json.dumps({"audit_options": {"engine": {f"f{number}": 1 for number in range(n)}}}),
    "values of an option": lambda n: json.dumps({"audit_options": {"engine": {"a": ["x"] * n}}}),
    "long names": lambda n: json.dumps({"x" * 90 + str(number): 1 for number in range(n)}),
    "broken names": lambda n: "{" + ",".join(f'"\\ud800{number}":1' for number in range(n)) + "}",
}


def calls_of(work: Callable[[], object]) -> int:
    """How many calls of Python and C functions ``work`` takes: a measure that no other load disturbs."""
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("shape", SHAPES)
def test_ten_times_the_fields_cost_no_more_than_about_ten_times_the_calls(api: Api, shape: str) -> None:
    def send(fields: int) -> int:
        body = SHAPES[shape](fields)

        def request() -> None:
            answer = api.post("/v1/databases", data=body, content_type="application/json")
            assert answer.status_code == 400
            assert 1 <= len(answer.json["error"]["details"]) <= 100

        return calls_of(request)

    send(10)
    few, many = send(500), send(5000)
    assert many < 15 * few


@pytest.mark.parametrize("shape", ["options", "values of an option"])
def test_a_value_of_an_option_costs_a_few_calls(api: Api, shape: str) -> None:
    """The schema of the document for these is for others: a validator takes hundreds of calls for each."""
    body = SHAPES[shape](5000)

    def request() -> None:
        assert api.post("/v1/databases", data=body, content_type="application/json").status_code == 400

    request()
    assert calls_of(request) < 20 * 5000
