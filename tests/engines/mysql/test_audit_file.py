"""Audit files on the disk: a live server to log in to, and files in the formats of the audit plugins."""

from pathlib import Path

import pytest
from dbaudit.core.event import EventType

from tests.engines.mysql.collecting import Collecting
from tests.engines.mysql.targets import COLLECTOR, target
from tests.engines.mysql.test_audit_formats import FILES, RECORDED
from tests.servers.mysql import MySQLServer

TELLING = [name for name in FILES if name != "percona_filter.json"]


def line(number: int, query: str, user: str = "app", connection_id: int = 7) -> str:
    """An element of Enterprise's array, without what separates it from others."""
    return (
        f'{{ "timestamp": "2025-02-03 10:15:00", "id": {number}, "class": "general", "event": "status", '
        f'"connection_id": {connection_id}, "login": {{ "user": "{user}", "ip": "10.0.0.7" }}, '
        f'"general_data": {{ "command": "Query", "query": "{query}", "status": 0 }} }}'
    )


@pytest.mark.parametrize("name", TELLING)
def test_file_that_is_there_is_read_from_its_beginning(mysql: MySQLServer, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes((RECORDED / name).read_bytes())
    with Collecting(mysql, audit_file=str(file), start_from="beginning") as collecting:
        report = collecting.session.test()
        assert report.success
        assert report.audit_source == f"the audit file {file}"
        kinds = {EventType.LOGIN_SUCCESS, EventType.LOGIN_FAILED, EventType.QUERY, EventType.DISCONNECT}
        collecting.until(lambda: {e.type for e in collecting.events} >= kinds, "every kind of event")
        assert collecting.rejected == []
        assert collecting.session.health().disk_free_ratio is not None


@pytest.mark.parametrize("limit_bytes", [1, 300, 1 << 20])
def test_array_that_is_not_closed_is_read_as_it_grows(
    mysql: MySQLServer, tmp_path: Path, limit_bytes: int
) -> None:
    file = tmp_path / "audit.json"
    file.write_text("[\n")
    with Collecting(mysql, audit_file=str(file)) as collecting:
        for number in range(5):
            with file.open("a") as log:
                # The comma is written with the element that follows it, and here in two pieces.
                element = (",\n" if number else "") + line(number, f"select {number}")
                log.write(element[:100])
                log.flush()
                collecting.read(limit_bytes)
                log.write(element[100:])
            collecting.until_query(f"select {number}", limit_bytes)
        assert collecting.queries() == [f"select {number}" for number in range(5)]
        assert collecting.rejected == []


def test_rotation_loses_and_repeats_nothing(mysql: MySQLServer, tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    file.write_text("[\n" + line(0, "select 0"))
    with Collecting(mysql, audit_file=str(file), start_from="beginning") as collecting:
        collecting.until_query("select 0")
        with file.open("a") as log:
            log.write(",\n" + line(1, "select 1") + "\n]\n")
        file.rename(tmp_path / "audit.20250203T101500.log")
        file.write_text("[\n" + line(2, "select 2"))
        collecting.reopen()
        collecting.until_query("select 2")
        assert collecting.queries() == ["select 0", "select 1", "select 2"]
        assert collecting.gaps == []


def test_damage_is_put_aside_and_what_follows_is_read(mysql: MySQLServer, tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    file.write_text("[\n")
    with Collecting(mysql, audit_file=str(file)) as collecting:
        with file.open("ab") as log:
            log.write(b'\x00\xff{"timestamp": 7}, garbage\n' + line(1, "select 1").encode() + b",\n")
        collecting.until_query("select 1")
        assert len(collecting.rejected) == 1


def test_agents_own_session_is_left_out(mysql: MySQLServer, tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    file.write_text("[\n")
    with Collecting(mysql, audit_file=str(file)) as collecting:
        own = collecting.session._connection.connection_id  # type: ignore[attr-defined]
        with file.open("a") as log:
            log.write(line(0, "select 1", COLLECTOR, own) + ",\n" + line(1, "select 2") + "\n")
        collecting.until_query("select 2")
        collecting.reopen()
        with file.open("a") as log:
            log.write("," + line(2, "select 3", COLLECTOR, own) + ",\n" + line(3, "select 4") + "\n")
        collecting.until_query("select 4")
        assert collecting.queries() == ["select 2", "select 4"]


def test_file_that_is_not_there_is_told(mysql: MySQLServer, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere" / "audit.log"
    with Collecting(mysql, cursor={}, audit_file=str(missing)) as collecting:
        report = collecting.session.test()
    assert not report.success
    assert [d.code for d in report.diagnoses if d.status == "failed"] == ["audit_file"]
    assert target(mysql).username in repr(report)
