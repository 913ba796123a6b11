"""Refused log-ins of a live server whose general log is off."""

import contextlib
from collections.abc import Callable

import pymysql
import pytest
from dbaudit.core.event import EventType
from dbaudit.engines.mysql import error_log

from tests.engines.mysql.collecting import Collecting
from tests.engines.mysql.targets import COLLECTOR, carry_out
from tests.servers.mysql import MySQLServer


@pytest.fixture
def server(mysql_server: Callable[..., MySQLServer]) -> MySQLServer:
    server = mysql_server("9.7", "SELECT 1", settings={"general_log": 0})
    server.drop_user(COLLECTOR)
    carry_out(server, "error log account")
    return server


def fail_to_log_in(server: MySQLServer, user: str) -> None:
    with contextlib.suppress(pymysql.err.OperationalError):
        server.connect(user, "wrong")


def test_refused_log_ins_are_told_once_whatever_happens_to_the_agent(server: MySQLServer) -> None:
    fail_to_log_in(server, "before")
    with Collecting(server) as collecting:
        report = collecting.session.test()
        assert report.success
        assert report.audit_source == "performance_schema.error_log, failed log-ins only"
        for name in ("o'neil", "b"):
            fail_to_log_in(server, name)
        collecting.until(lambda: collecting.of("b"), "the refused log-in")
        stored = collecting.cursor
        fail_to_log_in(server, "c")
        collecting.until(lambda: collecting.of("c"), "the refused log-in")
        collecting.cursor = stored
        collecting.reopen()
        collecting.until(lambda: len(collecting.of("c")) == 2, "the replay")
        assert [e.user for e in collecting.events] == ["o'neil", "b", "c", "c"]
        first = collecting.events[0]
        assert (first.type, first.error_code, first.source_ip) == (
            EventType.LOGIN_FAILED,
            "1045",
            "127.0.0.1",
        )
        assert collecting.events[-1] == collecting.events[-2]
        assert collecting.gaps == []


def test_rows_that_the_ring_has_lost_are_told(server: MySQLServer) -> None:
    with Collecting(server) as collecting:
        lost = {**collecting.cursor, "logged": "2025-02-03 10:15:00.000000"}
        collecting.cursor = lost
        collecting.read()
        assert len(collecting.gaps) == 1
        fail_to_log_in(server, "after")
        collecting.until(lambda: collecting.of("after"), "the refused log-in")
        assert len(collecting.gaps) == 1


@pytest.mark.parametrize("data", [b"", b"Access denied", b"\xff\x00", b"Access denied for user 'a'@'b"])
def test_row_that_is_no_refused_log_in_is_put_aside(data: bytes) -> None:
    block = error_log.ErrorLogBlock((("2025-02-03 10:15:00.000001", 7, "MY-010926", data),))
    decoded = error_log.decode([block])
    assert (len(decoded.events), len(decoded.rejected)) == (0, 1)
