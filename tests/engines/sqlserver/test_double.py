"""The protocol double: it refuses what a server of the version would refuse, and its rows are as those of
live servers. What the engine asks is held against this by every other test.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dbaudit.core.event import AuditEvent
from dbaudit.engines.sqlserver import SQLServerEngine

from tests.engines.sqlserver import columns
from tests.engines.sqlserver.double import LOGIN, PASSWORD, RIGHTS_2022, SqlServerDouble, server_2022
from tests.engines.sqlserver.model import Model

Start = Callable[..., SqlServerDouble]
VERSIONS = [(13, 0, 6300), (14, 0, 3456), (15, 0, 4300), (16, 0, 4125), (17, 0, 1000)]

pytestmark = pytest.mark.usefixtures("freetds")


def server(version: tuple[int, int, int], engine_edition: int = 2) -> Model:
    model = Model(version)
    model.engine_edition = engine_edition
    model.add_login(LOGIN, PASSWORD, "CONTROL SERVER", *RIGHTS_2022)
    model.add_audit("dbaudit")
    model.records_sessions = False
    return model


def refusal(double: SqlServerDouble, sql: str, *values: object) -> str:
    """What the driver says of a statement."""
    import pyodbc

    connection = pyodbc.connect(
        f"DRIVER=FreeTDS;SERVER=127.0.0.1;PORT={double.port};TDS_Version=7.4;ClientCharset=UTF-8;"
        f"UID={LOGIN};PWD={{{PASSWORD}}};APP=test",
        autocommit=True,
        timeout=5,
    )
    try:
        with pytest.raises(pyodbc.Error) as raised:
            connection.cursor().execute(sql, *values).fetchall()
        return str(raised.value)
    finally:
        connection.close()


FILES = "sys.fn_get_audit_file(N'/var/opt/mssql/data/*', DEFAULT, DEFAULT)"


@pytest.mark.parametrize(
    ("sql", "number", "said"),
    [
        (f"SELECT time_us FROM {FILES}", 207, "Invalid column name 'time_us'"),
        (f"SELECT CONVERT(bigint, event_tim) AS t FROM {FILES}", 207, "Invalid column name 'event_tim'"),
        (f"SELECT action_id FROM {FILES} WHERE event_id = 1", 207, "Invalid column name 'event_id'"),
        (f"SELECT action_id FROM {FILES} ORDER BY happened", 207, "Invalid column name 'happened'"),
        ("SELECT a.nam FROM sys.server_audits AS a", 207, "Invalid column name 'nam'"),
        ("SELECT name FROM sys.server_auditss", 208, "Invalid object name 'sys.server_auditss'"),
        ("SELECT name FROM server_audits", 208, "Invalid object name 'server_audits'"),
        (f"SELECT LEFTMOST(action_id) AS a FROM {FILES}", 195, "not a recognized built-in function"),
        (f"SELECT DATEDIFF(second, '19000101', event_time) AS s FROM {FILES}", 535, "datediff"),
        ("SELEC 1", 102, "Incorrect syntax"),
    ],
)
def test_wrong_name_or_expression_is_refused_as_by_a_server(
    start: Start, sql: str, number: int, said: str
) -> None:
    model = server((16, 0, 4125))
    model.record(model.audits[0], "BCM", statement="select 1")
    text = refusal(start(model), sql)
    assert said in text
    assert f"({number})" in text


@pytest.mark.parametrize("version", VERSIONS)
def test_column_of_a_later_version_is_refused(start: Start, version: tuple[int, int, int]) -> None:
    model = server(version)
    model.record(model.audits[0], "BCM", statement="select 1")
    double = start(model)
    lacking = set(columns.AUDIT_FILE[17]) - set(columns.AUDIT_FILE[version[0]])
    assert bool(lacking) is (version[0] < 16)
    for name in sorted(lacking):
        assert f"Invalid column name '{name}'" in refusal(double, f"SELECT {name} FROM {FILES}")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("engine_edition", [2, 3, 4, 5, 8])
def test_engine_reads_every_version_and_takes_durations_and_rows_of_azure_alone(
    start: Start, freetds: str, version: tuple[int, int, int], engine_edition: int
) -> None:
    model = server(version, engine_edition)
    double = start(model)
    events: list[AuditEvent] = []
    engine = SQLServerEngine()
    with engine.open(double.target(freetds)) as session:
        cursor = session.read(None, 1).cursor
        counted = {"duration_milliseconds": 12, "response_rows": 3} if model.azure else {}
        model.record(model.audits[0], "BCM", statement=";with x as (select 1 as a) delete from t", **counted)
        model.record(model.audits[0], "CR", statement="CREATE LOGIN [mallory] WITH PASSWORD = '******'")
        model.record(model.audits[0], "SL", statement="select * from t", client_ip="named pipe")
        events += engine.decode(session.read(cursor, 1 << 20).records).events
    batch, login, piped = events
    assert (batch.operation, batch.command_class) == ("DELETE", "WRITE")
    assert (batch.duration_ms, batch.rows_affected) == ((12, 3) if model.azure else (None, None))
    assert (login.operation, login.command_class) == ("CREATE LOGIN", "ROLE")
    assert (login.duration_ms, login.rows_affected, login.objects) == (None, None, None)
    assert piped.source_ip is None
    if version[0] >= 14:
        assert (piped.detail or {})["client"] == "named pipe"
        assert (batch.source_ip, batch.application) == ("10.0.0.9", "shop server")


def test_records_have_no_null_where_live_ones_have_none(start: Start) -> None:
    model = server_2022()
    model.record(model.audits[0], "LGO")
    (_offset, row) = model.audits[0].files.files[-1].rows[-1]
    empty = {name for name in columns.AUDIT_FILE[16] if row.get(name) is None}
    assert empty == columns.NULLABLE_SINCE_2012
