"""Reading a directory of log files that the test writes: any way of cutting it gives the same events."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import msgspec
import pytest
from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.core.event import AuditEvent
from dbaudit.engines.postgresql.bulk_decoding import decode
from dbaudit.engines.postgresql.records import LogFileFormat, end_of_whole_records
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engines.postgresql.collecting import Collecting
from tests.engines.postgresql.conftest import Open
from tests.engines.postgresql.logged import CONTEXT, CSVLOG, JSONLOG, block, csv, record, written
from tests.engines.postgresql.targets import PASSWORD
from tests.servers.postgresql import PostgresServer

BOTH = pytest.mark.parametrize("log_format", [CSVLOG, JSONLOG])
SUFFIX = {CSVLOG: ".csv", JSONLOG: ".json"}


def of_one_session(session: str, start_ms: int) -> list[dict[str, Any]]:
    """A log-in, statements told by two records each, a failure, a log-out."""
    statement = "insert into t values (1,\n'é \"quoted\"')"
    audit = 'AUDIT: SESSION,{0},1,WRITE,INSERT,,,"insert into t values (1,\n\'é ""quoted""\')",<not logged>'
    messages: list[dict[str, Any]] = [
        {
            "message": "connection received: host=10.0.0.7 port=51514",
            "user": None,
            "dbname": None,
            "ps": None,
        },
        {"message": 'connection authenticated: identity="app" method=md5 (f:1)', "ps": "authentication"},
        {"message": "connection authorized: user=app database=shop application_name=web"},
        {"message": f"statement: {statement}"},
        {"message": audit.format(1)},
        {"message": audit.format(2)},
        {"message": "duplicate key", "state_code": "23505", "statement": statement},
        {"message": "disconnection: session time: 0:00:00.100 user=app"},
    ]
    return [
        record(line=line, at_ms=start_ms + 5 * line, session_id=session, **fields)
        for line, fields in enumerate(messages, 1)
    ]


def several_sessions() -> list[dict[str, Any]]:
    """Three sessions over each other, and one of the agent."""
    own = {"user": "dbaudit_collector", "application_name": "dbaudit-agent"}
    records = [r for n in range(3) for r in of_one_session(f"67a09724.{n + 16:x}", 17 * n)]
    agent = of_one_session("67a09724.aa", 9)
    agent = [agent[0], agent[1] | own, agent[2] | own, agent[7] | own]
    agent[1]["application_name"] = ""
    agent[2] |= {
        "message": "connection authorized: user=x application_name=dbaudit-agent",
        "application_name": "",
    }
    return sorted([*records, *agent], key=lambda r: r["timestamp"])


def as_values(events: list[AuditEvent]) -> list[dict[str, Any]]:
    return sorted((msgspec.to_builtins(e) for e in events), key=lambda e: (e["time_us"], e["key"]))


# -- cutting


@BOTH
def test_any_chunk_size_gives_the_same_events(
    opened: Open, tmp_path: Path, log_format: LogFileFormat
) -> None:
    file = tmp_path / f"a{SUFFIX[log_format]}"
    file.write_bytes(written(log_format, several_sessions()))
    whole = opened(log_format)
    whole.to_the_end(file)
    assert len(whole.events) == 3 * 5
    for limit in (1, 7, 64, 300, 1000, 3000):
        parts = opened(log_format)
        parts.to_the_end(file, limit)
        assert as_values(parts.events) == as_values(whole.events), limit
        assert parts.rejected == []


@given(data=st.data(), log_format=st.sampled_from([CSVLOG, JSONLOG]))
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_growth_of_the_file_gives_the_same_events(
    read_server: PostgresServer,
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    log_format: LogFileFormat,
) -> None:
    """Bytes are appended anywhere, into a new file now and then, and the agent is killed in between."""
    folder = tmp_path_factory.mktemp("log")
    records = several_sessions()
    expected = decode([block(log_format, written(log_format, records), _context(read_server))]).events
    options = {"log_source": "local", "log_directory": str(folder), "log_format": log_format.value}
    with Collecting(read_server, start_from="beginning", **options) as log:
        split = data.draw(st.integers(0, len(records)))
        for number, part in enumerate((records[:split], records[split:])):
            content = written(log_format, part)
            file = folder / f"{number}{SUFFIX[log_format]}"
            places = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=4)))
            for begin, end in zip([0, *places], [*places, len(content)], strict=True):
                with file.open("ab") as written_to:
                    written_to.write(content[begin:end])
                log.read(data.draw(st.sampled_from([50, 500, 1 << 20])))
                if data.draw(st.booleans()):
                    log.reopen()
            os.utime(file, (1000 + number, 1000 + number))
        log.to_the_end(folder / f"1{SUFFIX[log_format]}")
        assert log.gaps == []
        assert log.rejected == []
        assert as_values(log.events) == as_values(expected)


def _context(server: PostgresServer) -> Any:
    return msgspec.structs.replace(CONTEXT, own_user="dbaudit_collector", told_twice=True)


@BOTH
def test_half_written_record_is_read_when_it_is_whole(
    opened: Open, tmp_path: Path, log_format: LogFileFormat
) -> None:
    file = tmp_path / f"a{SUFFIX[log_format]}"
    content = written(log_format, [record("statement: select 'a\nb', \"c\"", line=n) for n in (1, 2)])
    file.write_bytes(b"")
    log = opened(log_format)
    for place in range(len(content)):
        with file.open("ab") as appended:
            appended.write(content[place : place + 1])
        log.read()
    log.to_the_end(file)
    assert [e.query for e in log.events] == ["select 'a\nb', \"c\""] * 2
    assert log.rejected == []


@BOTH
def test_record_larger_than_the_chunk_is_read_whole(
    opened: Open, tmp_path: Path, log_format: LogFileFormat
) -> None:
    large = "select '" + 'x\n,"' * 2_500_000 + "'"
    file = tmp_path / f"a{SUFFIX[log_format]}"
    file.write_bytes(
        written(log_format, [record(f"statement: {large}"), record("statement: select 2", line=2)])
    )
    log = opened(log_format)
    log.to_the_end(file, 64 * 1024)
    assert [e.query == large for e in log.events] == [True, False]


@BOTH
def test_record_larger_than_any_can_be_is_put_aside_and_the_stream_goes_on(
    opened: Open, tmp_path: Path, log_format: LogFileFormat
) -> None:
    file = tmp_path / f"a{SUFFIX[log_format]}"
    endless = "select '" + "x\n" * 36_000_000 + "'"
    around = [record(f"statement: select {n}", line=n) for n in (1, 3)]
    with file.open("wb") as out:
        out.write(written(log_format, around[:1]))
        out.write(written(log_format, [record(f"statement: {endless}", line=2)]))
        out.write(written(log_format, around[1:]))
    log = opened(log_format)
    log.to_the_end(file)
    assert [e.query for e in log.events] == ["select 1", "select 3"]
    assert len(log.rejected) == 1
    assert len(log.rejected[0].raw) <= 64 * 1024


@pytest.mark.parametrize("skipped", [0, 30, 150, 199])
@BOTH
def test_beginning_now_inside_a_record_begins_with_the_next_one(
    opened: Open, tmp_path: Path, log_format: LogFileFormat, skipped: int
) -> None:
    fake = csv(record("statement: drop table t")).decode()
    file = tmp_path / f"a{SUFFIX[log_format]}"
    first = written(log_format, [record(f"statement: select '\n{fake}'", line=1)])
    file.write_bytes(first[:skipped])
    log = opened(log_format, "now")
    log.read()
    with file.open("ab") as appended:
        appended.write(first[skipped:])
        appended.write(written(log_format, [record("statement: select 2", line=2)]))
    log.to_the_end(file)
    # From its very beginning the record is new; from inside it is one of those before.
    assert [e.query for e in log.events][-1] == "select 2"
    assert len(log.events) == (2 if skipped == 0 else 1)
    assert log.rejected == []


@BOTH
def test_torn_record_is_put_aside_and_what_was_appended_to_it_is_read(
    opened: Open, tmp_path: Path, log_format: LogFileFormat
) -> None:
    file = tmp_path / f"a{SUFFIX[log_format]}"
    torn = written(log_format, [record("statement: select 'torn',\n2")])[:-60]
    file.write_bytes(written(log_format, [record("statement: select 1")]) + torn)
    log = opened(log_format)
    log.until(lambda: log.events, "the record before")
    with file.open("ab") as appended:
        appended.write(
            written(log_format, [record("statement: select 'a\nb'", line=n) for n in range(3, 30)])
        )
    log.to_the_end(file, 1000)
    assert [e.query for e in log.events] == ["select 1", *["select 'a\nb'"] * 27]
    assert [r.raw for r in log.rejected] == [torn]


def test_whole_records_end_at_the_same_place_wherever_the_data_ends() -> None:
    records = several_sessions()
    for log_format in (CSVLOG, JSONLOG):
        borders = [0]
        for one in records:
            borders.append(borders[-1] + len(written(log_format, [one])))
        content = written(log_format, records)
        for length in range(0, len(content), 3):
            expected = max(b for b in borders if b <= length)
            assert end_of_whole_records(log_format, content[:length]) == expected


# -- cursors


def test_cursor_of_another_engine_or_of_a_later_version_is_refused_and_says_why(
    opened: Open, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_bytes(b"")
    log = opened(CSVLOG)
    log.read()
    good = dict(log.cursor)
    for wrong in (
        {},
        {"v": 1},
        {"gtid": "x"},
        good | {"v": 0},
        good | {"offset": -1},
        good | {"format": "eventlog"},
    ):
        with pytest.raises(ConfigurationError) as refused:
            log.session.read(wrong, 1000)
        assert refused.value.code is ErrorCode.CURSOR_INVALID
    with pytest.raises(ConfigurationError, match="does not know") as later:
        log.session.read(good | {"v": 2}, 1000)
    assert later.value.remedy == "Upgrade dbaudit."


def test_cursor_holds_no_text_of_the_log(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(csv(record("statement: alter role r password 'planted'")))
    log = opened(CSVLOG)
    for _again in range(3):
        log.read()
        assert "planted" not in json.dumps(log.cursor)


# -- memory

_GROWTH = """
    import json, resource, sys
    from dbaudit.core.database import SslMode, Target
    from dbaudit.core.secret import Secret
    from dbaudit.engines.postgresql import PostgreSQLEngine

    given = json.loads(sys.stdin.read())
    options, password, size = given.pop("options"), given.pop("password"), given.pop("size")
    target = Target(**given, password=Secret(password), options=options, ssl_mode=SslMode.DISABLE)
    engine, cursor, count, read = PostgreSQLEngine(), None, 0, 0
    peaks = []
    with engine.open(target) as session:
        while read < size:
            chunk = session.read(cursor, 1 << 20)
            cursor = chunk.cursor
            read = cursor["offset"]
            count += len(engine.decode(chunk.records).events)
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    print(json.dumps([count, peaks[len(peaks) // 10], peaks[-1]]))
"""


@BOTH
def test_reading_much_takes_no_more_memory_than_reading_little(
    read_server: PostgresServer, tmp_path: Path, log_format: LogFileFormat
) -> None:
    file = tmp_path / f"a{SUFFIX[log_format]}"
    audit = "AUDIT: SESSION,{0},1,READ,SELECT,,,select {0} from t where a = 'x',<not logged>"
    part = b"".join(
        written(log_format, [record(audit.format(n), at_ms=20 * n, line=n, session_id=f"6.{n % 50:x}")])
        for n in range(1, 10_000)
    )
    with file.open("wb") as out:
        while out.tell() < 200_000_000:
            out.write(part)
    given = {
        "database_id": "db",
        "host": read_server.host,
        "port": read_server.port,
        "database": "postgres",
        "username": "dbaudit_collector",
        "password": PASSWORD,
        "size": file.stat().st_size,
        "options": {
            "log_source": "local",
            "log_directory": str(tmp_path),
            "log_format": log_format.value,
            "start_from": "beginning",
        },
    }
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_GROWTH)],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=True,
    )
    count, early_kib, late_kib = json.loads(done.stdout)
    assert count == (file.stat().st_size // len(part)) * 9_999
    assert late_kib - early_kib < 30_000


def test_record_that_waits_does_not_part_a_statement_from_its_failure(opened: Open, tmp_path: Path) -> None:
    """A log-in from the agent's own host waits longer than a statement does."""
    asleep = record("AUDIT: SESSION,1,1,READ,SELECT,,,select pg_sleep(9),<not logged>", at_ms=1000)
    of_failure = {"error_severity": "ERROR", "state_code": "57014", "statement": "select pg_sleep(9)"}
    cancelled = record("canceling statement", at_ms=1030, line=2, **of_failure)
    log_in = record(
        *("connection received: host=127.0.0.1 port=7",),
        at_ms=1020,
        session_id="67a09724.7",
        remote_host="127.0.0.1",
        user=None,
    )
    others = [
        record(f"checkpoint {'x' * 300}", at_ms=at, session_id="67a09724.2", line=at)
        for at in range(1000, 1200)
    ]
    rows = sorted([*others, asleep, cancelled, log_in], key=lambda row: str(row["timestamp"]))
    (tmp_path / "a.csv").write_bytes(b"".join(map(csv, rows)))
    limit_bytes = 84_000  # so that what is looked at begins between the statement and the log-in
    log = opened(CSVLOG)
    log.until(log.queries, "the statement", limit_bytes)
    log.to_the_end(tmp_path / "a.csv", limit_bytes)
    told = [(e.query, e.error_code) for e in log.events if e.query is not None]
    assert told == [("select pg_sleep(9)", "57014")]
