"""Rows of log-ins as servers write them, with names that a client chose to look like the rest of a row."""

import pytest
from dbaudit.core.event import AuditEvent, EventType, Outcome
from dbaudit.engines.mysql.error_log import ErrorLogBlock
from dbaudit.engines.mysql.error_log import decode as decode_error_log
from dbaudit.engines.mysql_protocol.general_rows import GeneralLogBlock, decode

ADDRESS = "127.0.0.1"
SUCCESS, FAILED, CONNECTION = EventType.LOGIN_SUCCESS, EventType.LOGIN_FAILED, EventType.CONNECTION


def events(*rows: tuple[str, str, str], transport_written: bool = True) -> list[AuditEvent]:
    """Of rows of one session: user_host, command and argument."""
    lines = tuple(
        f"2025-02-03 10:15:00.000001\t7\t{command}\t{len(who.encode())}\t{who}\t{argument}".encode()
        for who, command, argument in rows
    )
    keys = tuple(map(str, range(len(lines))))
    block = GeneralLogBlock(
        rows=lines,
        keys=keys,
        own_user="dbaudit",
        own_application="dbaudit-agent",
        transport_written=transport_written,
    )
    decoded = decode([block])
    assert decoded.rejected == []
    return decoded.events


def opening(name: str) -> str:
    return f"[{name}] @  [{ADDRESS}]"


def told(*rows: tuple[str, str, str]) -> list[tuple[EventType, str | None, str | None, str | None]]:
    return [(e.type, e.user, e.database, e.error_code) for e in events(*rows)]


@pytest.mark.parametrize("name", ["Access denied", "u on b using TCP/IP", "'@'", "x] @ y [1.2.3.4"])
def test_user_is_who_the_server_names_in_another_column(name: str) -> None:
    who = opening(name)
    assert told((who, "Connect", f"{name}@{ADDRESS} on  using TCP/IP"), (who, "Quit", ""))[:2] == [
        (CONNECTION, name, None, None),
        (SUCCESS, name, None, None),
    ]
    refused = (who, "Connect", f"Access denied for user '{name}'@'{ADDRESS}' (using password: YES)")
    assert told((who, "Connect", f"{name}@{ADDRESS} on  using TCP/IP"), refused) == [
        (CONNECTION, name, None, None),
        (FAILED, name, None, "1045"),
    ]


@pytest.mark.parametrize(
    "database", ["a on b using c", "on x using SSL/TLS", "x'@'10.9.9.9", "' to database '"]
)
@pytest.mark.parametrize("command", ["Connect", "Init DB"])
def test_database_is_between_what_the_server_wrote(database: str, command: str) -> None:
    who = opening("lim")
    first = (who, "Connect", f"lim@{ADDRESS} on {database} using TCP/IP")
    _connection, log_in = events(first)
    assert (log_in.database, log_in.detail and log_in.detail["transport"]) == (database, "TCP/IP")
    refusal = (who, command, f"Access denied for user 'lim'@'{ADDRESS}' to database '{database}'")
    assert told(first, refusal)[1:] == [(FAILED, "lim", database, "1044")]


def test_server_that_writes_no_transport_has_none_in_a_name() -> None:
    row = (opening("lim"), "Connect", f"lim@{ADDRESS} on x using TCP/IP")
    _connection, log_in = events(row, transport_written=False)
    assert (log_in.database, log_in.detail and log_in.detail.get("transport")) == ("x using TCP/IP", None)


def test_proxied_account_is_no_part_of_the_database() -> None:
    who = f"staff[ada] @  [{ADDRESS}]"
    row = (who, "Connect", f"ada@{ADDRESS} as staff on a on b using Socket")
    assert events(row)[1].database == "a on b"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Your password has expired. To log in you must change it using a client that ...", "1862"),
        ("Access denied for user 'lim'@'127.0.0.1'. Account is locked.", "3118"),
        ("Access denied for user 'lim'@'127.0.0.1'", "1698"),
        ("Benutzer 'lim'@'127.0.0.1' hat keine Zugriffsberechtigung (verwendetes Passwort: JA)", None),
    ],
)
def test_refusal_in_other_words_is_no_log_in(text: str, code: str | None) -> None:
    who = opening("lim")
    found = told((who, "Connect", f"lim@{ADDRESS} on  using TCP/IP"), (who, "Connect", text))
    assert found == [(CONNECTION, "lim", None, None), (FAILED, "lim", None, code)]


def test_log_in_is_confirmed_by_a_later_row_alone() -> None:
    first = (opening("lim"), "Connect", f"lim@{ADDRESS} on  using TCP/IP")
    assert events(first)[1].outcome is None
    confirmed = events(first, (f"lim[lim] @  [{ADDRESS}]", "Prepare", "select 1"))
    assert confirmed[1].outcome is Outcome.SUCCESS


def test_refused_change_of_the_user_is_of_the_user_that_was_asked_for() -> None:
    rows = (
        (opening("lim"), "Connect", f"lim@{ADDRESS} on  using TCP/IP"),
        (
            f"lim[lim] @  [{ADDRESS}]",
            "Connect",
            f"Access denied for user 'big'@'{ADDRESS}' (using password: NO)",
        ),
    )
    assert told(*rows)[1:] == [(SUCCESS, "lim", None, None), (FAILED, "big", None, "1045")]


def test_account_of_before_is_not_told_of_a_changed_user() -> None:
    changed, query = events(
        (f"lim[big] @  [{ADDRESS}]", "Change user", f"big@{ADDRESS} on shop using TCP/IP"),
        (f"big[big] @  [{ADDRESS}]", "Query", "select 1"),
    )
    assert (changed.user, changed.database) == ("big", "shop")
    assert changed.detail == {"transport": "TCP/IP", "command": "Change user"}
    assert query.detail is None


# -- the error log


def refused(code: str, text: str) -> tuple[str | None, str | None, str | None, str | None, str | None]:
    decoded = decode_error_log([ErrorLogBlock((("2025-02-03 10:15:00.000001", 7, code, text.encode()),))])
    (event,) = decoded.events
    return event.user, event.source_ip, event.source_host, event.database, event.error_code


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (
            "MY-010914",
            "Access denied for user 'lim'@'127.0.0.1' to database 'x'@'10.9.9.9'",
            ("lim", ADDRESS, None, "x'@'10.9.9.9", "1044"),
        ),
        (
            "MY-010914",
            "Access denied for user 'lim'@'127.0.0.1' to database 'x'@'10.9.9.9' (using password: YES)'",
            ("lim", ADDRESS, None, "x'@'10.9.9.9' (using password: YES)", "1044"),
        ),
        (
            "MY-010926",
            "Access denied for user 'x'@'10.9.9.9' to database 'y'@'127.0.0.1' (using password: NO)",
            ("x'@'10.9.9.9' to database 'y", ADDRESS, None, None, "1045"),
        ),
        # The host of an account is a pattern, and the client's nowhere.
        ("MY-010914", "Access denied for user 'a'@'10.0.%' to database 'b'", ("a", None, None, "b", "1044")),
        (
            "MY-010914",
            "Access denied for user ''@'127.0.0.1' to database 'q'",
            (None, ADDRESS, None, "q", "1044"),
        ),
        ("MY-010914", "Unknown database 'nosuch'", (None, None, None, "nosuch", "1049")),
        (
            "MY-010927",
            "Access denied for user 'locked'@'127.0.0.1'. Account is locked.",
            ("locked", ADDRESS, None, None, "3118"),
        ),
        (
            "MY-013851",
            "Password for the account 'old'@'127.0.0.1' has expired. To log in, either change it ...",
            ("old", ADDRESS, None, None, "1862"),
        ),
    ],
)
def test_names_in_the_error_log_are_cut_out_by_the_number_of_the_message(
    code: str, text: str, expected: tuple[str | None, ...]
) -> None:
    assert refused(code, text) == expected
