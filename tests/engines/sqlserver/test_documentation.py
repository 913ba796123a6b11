"""What docs/engines/sqlserver.md says to run and to set, held against the engine."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from dbaudit.core.report import DiagnosisStatus
from dbaudit.engines.sqlserver import SQLServerEngine
from dbaudit.engines.sqlserver.options import OPTIONS_SCHEMA

from tests.engines.sqlserver.double import LOGIN, PASSWORD, SqlServerDouble
from tests.engines.sqlserver.model import Model

PAGE = (Path(__file__).parents[3] / "docs" / "engines" / "sqlserver.md").read_text()


def documented(name: str) -> str:
    """The statements of the block with that name."""
    found = re.search(rf"<!-- sql: {re.escape(name)} -->\n```sql\n(.*?)```", PAGE, re.DOTALL)
    assert found, name
    return found[1]


@pytest.mark.parametrize(
    ("block", "version", "events"),
    [
        ("login 2022", (16, 0, 4125), False),
        ("login 2016", (13, 0, 6300), False),
        ("login 2016", (15, 0, 4300), False),
        ("event session", (13, 0, 6300), True),
        ("event session", (15, 0, 4300), True),
    ],
)
def test_documented_grants_suffice_and_none_can_be_left_out(
    start: Callable[..., SqlServerDouble],
    freetds: str,
    block: str,
    version: tuple[int, int, int],
    events: bool,
) -> None:
    grants = re.findall(rf"GRANT ([A-Z ]+) TO \[{LOGIN}\];", documented(block))
    assert grants
    model = Model(version)
    model.add_login(LOGIN, PASSWORD, *grants)
    if events:
        model.add_event_session()
    else:
        model.add_audit("dbaudit")
    double = start(model)
    with SQLServerEngine().open(double.target(freetds)) as session:
        report = session.test()
        assert report.success
        assert all(report.permissions.values())
        session.read(None, 1 << 20)
    for left_out in grants:
        model.rights[LOGIN] = set(grants) - {left_out}
        with SQLServerEngine().open(double.target(freetds)) as session:
            less = session.test()
        bad = [found for found in less.diagnoses if found.status is not DiagnosisStatus.OK]
        assert not less.success or any(left_out in (found.remedy or "") for found in bad)


def test_documented_event_session_has_every_event_that_the_test_looks_for(odbc: None) -> None:
    from dbaudit.engines.sqlserver.recorded import _WANTED_EVENTS

    there = set(re.findall(r"ADD EVENT sqlserver\.(\w+)", documented("event session")))
    assert there == set(_WANTED_EVENTS)


def test_every_option_is_documented_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE.partition("## Options")[2], re.MULTILINE))
    for name, schema in OPTIONS_SCHEMA["properties"].items():
        assert name in rows
        if isinstance(schema.get("default"), str):
            assert f"`{schema['default']}`" in rows[name]


def test_every_diagnosis_of_the_report_is_documented() -> None:
    folder = Path(SQLServerEngine.__module__.replace(".", "/")).parent
    sources = "".join(
        path.read_text() for path in (Path(__file__).parents[3] / "agent" / folder).glob("*.py")
    )
    codes = set(re.findall(r'(?:ok|warning|failed|skipped)\(\s*"(\w+)"', sources))
    codes |= set(re.findall(r'code = "(\w+)"', sources))
    table = PAGE.partition("## What the test reports")[2].partition("## Health")[0]
    assert codes
    assert {code for code in codes if f"`{code}`" not in table} == set()
