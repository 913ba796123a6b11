"""Blocks of the log are decoded piece by piece: the pieces part no record, whatever it holds."""

import msgspec
import pytest
from dbaudit.engines.postgresql.records import LogBlock, LogContext, LogFileFormat, parse, pieces

CONTEXT = LogContext(time_zones=("UTC",), own_user="collector", own_application="dbaudit-agent")
LOOKS_LIKE_A_RECORD = (
    '2026-11-21 19:34:04.240 UTC,"a","b",1,"127.0.0.1:1",6b01f22c.2078,1,"SELECT",2026-11-21 19:34:04 UTC,'
    '3/2,0,LOG,00000,"statement'
)
STATEMENTS = [
    "select 1",
    "select 'é'\n\nfrom t",
    'select "a" from "t"\n where b = \'"\'',
    f"select '\n{LOOKS_LIKE_A_RECORD}",
    "select '" + "x\n" * 300 + "'",
]


def written(log_format: LogFileFormat) -> bytes:
    """Forty records as the server writes them."""
    lines = []
    for number in range(40):
        message = f"statement: {STATEMENTS[number % len(STATEMENTS)]}"
        stamp, session = f"2026-11-21 19:34:04.{number:03d} UTC", f"6b01f22c.{number:x}"
        if log_format is LogFileFormat.CSVLOG:
            quoted = message.replace('"', '""')
            lines.append(
                f'{stamp},"u","d",{number},"127.0.0.1:5",{session},{number},"SELECT",2026-11-21 19:34:04 UTC,'
                f'3/2,0,LOG,00000,"{quoted}",,,,,,,,,"","client backend",,0\n'
            )
        else:
            record = {"timestamp": stamp, "user": "u", "session_id": session, "line_num": number}
            lines.append(msgspec.json.encode({**record, "message": message}).decode() + "\n")
    return "".join(lines).encode()


@pytest.mark.parametrize("log_format", [LogFileFormat.CSVLOG, LogFileFormat.JSONLOG])
@pytest.mark.parametrize("size", [1, 100, 250, 1000, 5000, 1_000_000])
def test_pieces_hold_the_same_records_as_the_whole_block(log_format: LogFileFormat, size: int) -> None:
    block = LogBlock(log_format, "log", 1000, written(log_format), CONTEXT)
    found = list(pieces(block, size))
    assert b"".join(piece.data for piece in found) == block.data
    assert all(block.data[piece.offset - 1000 :].startswith(piece.data) for piece in found)
    parsed = [parse(piece) for piece in found]
    assert not any(rejected for ignored, rejected in parsed)
    assert [record for records, ignored in parsed for record in records] == parse(block)[0]
    assert len(found) > 1 or size > len(block.data)


@pytest.mark.parametrize("size", [100, 1000, 1_000_000])
def test_a_torn_record_costs_no_other_one(size: int) -> None:
    whole = written(LogFileFormat.CSVLOG)
    data = whole + whole[: whole.index(b"select 1") + 3] + whole
    parsed = [parse(piece) for piece in pieces(LogBlock(LogFileFormat.CSVLOG, "log", 0, data, CONTEXT), size)]
    assert sum(len(rejected) for ignored, rejected in parsed) == 1
    assert sum(len(records) for records, ignored in parsed) == 80
