"""Audit files on the disk: a live server to log in to, and files in the formats of the audit plugins."""

import bz2
import gzip
import json
import lzma
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from dbaudit.core.errors import ConfigurationError
from dbaudit.core.event import EventType

from tests.engines.mysql.collecting import Collecting
from tests.engines.mysql.targets import COLLECTOR, target
from tests.engines.mysql.test_audit_formats import FILES, RECORDED
from tests.servers.mysql import MySQLServer

TELLING = [name for name in FILES if not name.startswith("percona_filter")]


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


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (gzip.compress(b"[\n" + line(0, "select 0").encode()), r"is compressed \(gzip\)"),
        (bz2.compress(b"[\n" + line(0, "select 0").encode()), r"is compressed \(bzip2\)"),
        (lzma.compress(b"[\n" + line(0, "select 0").encode()), r"is compressed \(xz\)"),
        (b"\x28\xb5\x2f\xfd" + bytes(range(200)), r"is compressed \(zstd\)"),
        (b"Salted__" + bytes(range(200)), "is encrypted"),
        (b"2025-02-03 10:15:00 0 [Note] ready for connections\n", "neither JSON nor XML nor CSV"),
    ],
)
def test_file_that_cannot_be_understood_fails_the_test_and_the_reading(
    mysql: MySQLServer, tmp_path: Path, data: bytes, words: str
) -> None:
    file = tmp_path / "audit.log"
    file.write_bytes(data)
    with Collecting(mysql, cursor={}, audit_file=str(file)) as collecting:
        report = collecting.session.test()
        (found,) = [d for d in report.diagnoses if d.code == "audit_file"]
        assert (report.success, found.status) == (False, "failed")
        assert re.search(words, found.detail)
        assert found.remedy
        with pytest.raises(ConfigurationError, match=words):
            collecting.session.read(None, 1000)


@pytest.mark.parametrize("indent", [None, 1, 4])
@pytest.mark.parametrize("limit_bytes", [1, 300, 1 << 20])
def test_record_that_a_crash_cut_off_is_put_aside_and_the_next_one_is_read(
    mysql: MySQLServer, tmp_path: Path, indent: int | None, limit_bytes: int
) -> None:
    file = tmp_path / "audit.log"
    whole, cut, later = (
        json.dumps(json.loads(line(number, query)), indent=indent)
        for number, query in enumerate(["select 0", "drop table payroll", "select 2"])
    )
    file.write_text(f"[\n{whole},\n{cut.partition(' payroll')[0]}\n")
    with Collecting(mysql, audit_file=str(file), start_from="beginning") as collecting:
        collecting.until_query("select 0", limit_bytes)
        with file.open("a") as log:
            log.write(f"[\n{later},\n")
        collecting.until_query("select 2", limit_bytes)
        assert collecting.queries() == ["select 0", "select 2"]
        assert len(collecting.rejected) == 1
        assert b"drop table" in collecting.rejected[0].raw


def test_stamps_of_perconas_filter_are_the_servers_local_time(
    mysql_server: Callable[..., MySQLServer], tmp_path: Path
) -> None:
    """In the zone of the server's own clock, with the night in which an hour comes twice."""
    server = mysql_server("9.7", zone="CET-1CEST,M3.5.0,M10.5.0/3")
    file = tmp_path / "audit.xml"
    stamps = ["2025-07-01T12:00:00", "2025-10-26T01:59:59", "2025-10-26T02:30:00", "2025-10-26T03:00:00"]
    stamps += ["2025-12-24T12:00:00", "2025-12-24T12:00:00 UTC"]
    file.write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n<AUDIT>\n'
        + "".join(
            f"<AUDIT_RECORD><NAME>Query</NAME><TIMESTAMP>{stamp}</TIMESTAMP><CONNECTION_ID>7</CONNECTION_ID>"
            f"<STATUS>0</STATUS><USER>app</USER><SQLTEXT>select '{stamp}'</SQLTEXT></AUDIT_RECORD>\n"
            for stamp in stamps
        )
    )
    with Collecting(server, audit_file=str(file), start_from="beginning") as collecting:
        collecting.until_query(f"select '{stamps[-1]}'")
        times = [datetime.fromtimestamp(e.time_us / 1e6, UTC).strftime("%m-%d %T") for e in collecting.events]
        assert times == [
            *("07-01 10:00:00", "10-25 23:59:59", "10-26 00:30:00", "10-26 02:00:00"),
            *("12-24 11:00:00", "12-24 12:00:00"),
        ]
        assert [e.detail for e in collecting.events if e.detail] == [{"or_at": "2025-10-26T01:30:00Z"}]


def test_file_that_is_not_there_is_told(mysql: MySQLServer, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere" / "audit.log"
    with Collecting(mysql, cursor={}, audit_file=str(missing)) as collecting:
        report = collecting.session.test()
    assert not report.success
    assert [d.code for d in report.diagnoses if d.status == "failed"] == ["audit_file"]
    assert target(mysql).username in repr(report)
