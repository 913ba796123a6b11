"""The short way of csvlog gives the events of the way of all records, whatever the rows are."""

from dbaudit.core.event import AuditEvent, Rejected
from dbaudit.engines.postgresql.bulk_decoding import decode
from dbaudit.engines.postgresql.decoding import Decoder
from dbaudit.engines.postgresql.records import LogBlock, LogContext, LogFileFormat, parse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CONTEXT = LogContext(
    time_zones=("UTC",), own_user="collector", own_application="dbaudit-agent", told_twice=True
)
HOSTILE = st.lists(
    st.sampled_from(
        [
            '"',
            '""',
            ",",
            "\n",
            "\\",
            "'",
            "select 1",
            "Müller №",
            "\0",
            "<not logged>",
            '<not logged>",,,,,,,,,"psql","client backend",,0\n',
            ',00000,"AUDIT: SESSION,',
            '2026-11-21 19:34:04.240 UTC,"app"',
        ]
    ),
    max_size=6,
).map("".join)
STATEMENTS = [
    "begin",
    "select 1",
    "<previously logged>",
    "",
    "insert into t select 1",
    "select 1; select 2",
    "with d as (delete from t returning i) select i from d",
    'SELECT 1 FROM ONLY "public"."u" x WHERE "i" OPERATOR(pg_catalog.=) $1 FOR KEY SHARE OF x',
]
NAMES = st.one_of(st.sampled_from(["app", "collector", "a,b", 'say "hi"', "ünï", ""]), HOSTILE)


def field(value: str) -> str:
    """As pgaudit writes a field: in quotes only where it has to be."""
    needs = any(mark in value for mark in ',"\n\r')
    return '"' + value.replace('"', '""') + '"' if needs else value


@st.composite
def messages(draw: st.DrawFn) -> tuple[str, str]:
    """The code of a record and its message."""
    statement = draw(st.one_of(HOSTILE, st.sampled_from(STATEMENTS)))
    if draw(st.booleans()):
        kind = draw(st.sampled_from(["SESSION", "SESSION", "OBJECT"]))
        named = draw(st.sampled_from([",", "TABLE,public.t", f"TABLE,{field(draw(HOSTILE))}"]))
        end = draw(st.sampled_from(["<not logged>", "<not logged>", "1", "<none>,2"]))
        number, part = draw(st.integers(1, 3)), draw(st.integers(1, 2))
        command = draw(st.sampled_from(["READ,SELECT", "READ,SELECT", "WRITE,INSERT", "FUNCTION,EXECUTE"]))
        return "00000", f"AUDIT: {kind},{number},{part},{command},{named},{field(statement)},{end}"
    return draw(
        st.sampled_from(
            [
                ("00000", f"statement: {statement}"),
                ("00000", "duration: 0.211 ms"),
                ("00000", f"duration: 0.211 ms  execute <unnamed>: {statement}"),
                ("00000", f"execute a: b: {statement}"),
                ("23505", "duplicate key value violates unique constraint"),
                ("57P01", "terminating connection due to administrator command"),
                ("00000", 'connection authenticated: identity="app" method=peer (pg_hba.conf:1)'),
                ("00000", "provided user name (app) and authenticated user name (x) do not match"),
                ("00000", "connection received: host=10.0.0.7 port=51514"),
                ("00000", "connection authorized: user=app database=shop application_name=web"),
                ("00000", "disconnection: session time: 0:00:00.011 user=app database=shop host=10.0.0.7"),
                ("42P01", 'relation "nosuch" does not exist'),
                ("28P01", 'password authentication failed for user "app"'),
            ]
        )
    )


@st.composite
def rows(draw: st.DrawFn) -> bytes:
    """A row as csvlog writes it: texts in quotes, nothing for what is not there."""
    code, message = draw(messages())
    quoted = {1, 2, 4, 7, 13, 14, 18, 19, 22, 23}
    columns = [""] * 26
    columns[0] = f"2026-11-21 19:34:04.{draw(st.integers(0, 3)) * 90:03d} UTC"
    columns[1], columns[2], columns[3] = draw(NAMES), draw(NAMES), "8315"
    columns[4] = draw(st.sampled_from(["127.0.0.1:59960", "[local]", "::1:7", "db.example:99999", ""]))
    columns[5], columns[6] = (
        draw(st.sampled_from(["6b01f22c.207b", "6b01f22c.207c"])),
        str(draw(st.integers(1, 99))),
    )
    columns[7] = draw(
        st.sampled_from(["SELECT", "INSERT", "BIND", "PARSE", "authentication", "idle, in transaction"])
    )
    vxid = draw(st.sampled_from(["4/11", "4/11", "4/12", "4/0", ""]))
    columns[8], columns[9], columns[10] = "2026-11-21 19:34:04 UTC", vxid, "0"
    columns[11], columns[12], columns[13] = (
        ("LOG" if code == "00000" else draw(st.sampled_from(["ERROR", "LOG"]))),
        code,
        message,
    )
    columns[14] = draw(st.sampled_from(["", "", "parameters: $1 = '1'"]))
    columns[18] = draw(st.sampled_from(["", "", "", "PL/pgSQL function f() line 1 at RAISE"]))
    columns[19] = draw(st.sampled_from(STATEMENTS)) if code != "00000" or columns[18] else ""
    columns[20] = draw(st.sampled_from(["", "", "7"])) if columns[19] else ""
    columns[22] = draw(st.one_of(st.sampled_from(["psql", "dbaudit-agent"]), NAMES))
    columns[23], columns[25] = (
        draw(st.sampled_from(["client backend", "client backend", "parallel worker"])),
        "0",
    )
    columns[24] = draw(st.sampled_from(["", "8315"]))
    width = draw(st.sampled_from([26, 26, 26, 24, 23, 25]))
    texts = [
        '"' + text.replace('"', '""') + '"' if number in quoted and (text or number in (7, 22)) else text
        for number, text in enumerate(columns[:width])
    ]
    return (",".join(texts) + "\n").encode()


def block_of(data: bytes) -> LogBlock:
    return LogBlock(LogFileFormat.CSVLOG, "log/pg.csv", 0, data, CONTEXT)


def the_way_of_all_records(block: LogBlock) -> tuple[list[AuditEvent], list[Rejected]]:
    decoder = Decoder()
    records, broken = parse(block)
    rejected = broken + decoder.take(block, records)
    return decoder.events(), sorted(rejected, key=lambda one: one.position)


def the_short_way(block: LogBlock) -> tuple[list[AuditEvent], list[Rejected]]:
    found = decode([block])
    return found.events, sorted(found.rejected, key=lambda one: one.position)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(rows(), max_size=12))
def test_events_of_whole_rows_do_not_depend_on_the_way(written: list[bytes]) -> None:
    block = block_of(b"".join(written))
    assert the_short_way(block) == the_way_of_all_records(block)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(rows(), min_size=1, max_size=8), st.data())
def test_events_of_torn_and_mangled_rows_do_not_depend_on_the_way(
    written: list[bytes], data: st.DataObject
) -> None:
    raw = bytearray(b"".join(written))
    for _time in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, max(0, len(raw) - 1)))
        raw[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=4))
    block = block_of(bytes(raw))
    assert the_short_way(block) == the_way_of_all_records(block)
