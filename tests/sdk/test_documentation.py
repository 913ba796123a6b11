"""The examples of docs/sdk.md run as they are written."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from dbaudit import sdk

from tests.sdk.conftest import Api

Create = Callable[..., sdk.Database]
PAGE = (Path(__file__).parents[2] / "docs" / "sdk.md").read_text()


def examples(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


EXPECTED = [
    "Shop: pending, 0.0 events per second\n",
    "1 databases\n",
    r"\S+\n",
    "not_found 404\n['limit']\n",
]


def test_every_example_has_an_expectation() -> None:
    assert len(examples("python")) == len(EXPECTED)


@pytest.mark.parametrize("number", range(len(EXPECTED)))
def test_an_example_of_python_runs_as_it_is_written(
    number: int,
    api: Api,
    create: Create,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    create(name="Orders")
    monkeypatch.setenv("DBAUDIT_API_URL", api.url)
    monkeypatch.setenv("DBAUDIT_API_KEY", api.key)
    exec(examples("python")[number], {"__name__": "__main__"})
    told = capsys.readouterr().out
    expected = EXPECTED[number]
    assert re.fullmatch(expected, told) if number == 2 else told == expected
