"""The log that ingestion is measured with: what it claims to hold is there, the same in both formats."""

import json
from pathlib import Path

from dbaudit.core.event import AuditEvent
from dbaudit.engines.postgresql.bulk_decoding import decode
from dbaudit.engines.postgresql.records import LogBlock, LogContext, LogFileFormat

from tests.benchmarks.log import SUMMARY, write

RECORDS = 20_000
CONTEXT = LogContext(time_zones=("UTC",), own_user="collector", own_application="dbaudit-agent")


def events_of(file: Path, log_format: LogFileFormat) -> list[AuditEvent]:
    decoded = decode([LogBlock(log_format, file.name, 0, file.read_bytes(), CONTEXT)])
    assert not decoded.rejected
    return decoded.events


def test_both_formats_hold_the_events_and_the_shares_that_the_summary_tells(tmp_path: Path) -> None:
    write(RECORDS, tmp_path)
    summary = json.loads((tmp_path / SUMMARY).read_text())
    from_csv = events_of(tmp_path / "postgresql.csv", LogFileFormat.CSVLOG)
    from_json = events_of(tmp_path / "postgresql.json", LogFileFormat.JSONLOG)
    assert from_csv == from_json
    assert len(from_csv) == len({event.key for event in from_csv}) == summary["events"]
    assert (tmp_path / "postgresql.json").read_bytes().count(b"\n") == RECORDS
    assert 0.04 < summary["several_lines"] / RECORDS < 0.06
    assert 0.09 < summary["quotes_and_letters"] / RECORDS < 0.11
