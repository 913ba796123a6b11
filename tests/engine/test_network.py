"""Names and first words: what every engine says of a server that it does not reach."""

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from dbaudit.core.errors import ConfigurationError, DbauditError, ErrorCode, TransientError
from dbaudit.engine.network import addresses_of, is_this_host, speaker_of, unreached


def refusal(ask: Callable[[], object]) -> DbauditError:
    with pytest.raises(DbauditError) as raised:
        ask()
    return raised.value


def test_addresses_are_taken_as_they_are_and_in_their_one_way_of_writing() -> None:
    assert addresses_of("192.0.2.7", 5432, 0.0) == [(socket.AF_INET, ("192.0.2.7", 5432))]
    assert addresses_of("0:0::1", 5432, 0.0) == [(socket.AF_INET6, ("::1", 5432))]


def test_name_server_that_hangs_is_given_up_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_asked, **_how: answers.wait(30) and [])
    try:
        error = refusal(lambda: addresses_of("db.example", 5432, time.monotonic() + 0.05))
    finally:
        answers.set()
    assert (type(error), error.code) == (TransientError, ErrorCode.CONNECTION_TIMEOUT)


@pytest.mark.parametrize(
    ("number", "kind"),
    [(socket.EAI_AGAIN, TransientError), (socket.EAI_NONAME, ConfigurationError)],
)
def test_name_that_is_not_known_just_now_is_told_from_one_that_is_not(
    monkeypatch: pytest.MonkeyPatch, number: int, kind: type[DbauditError]
) -> None:
    def fail(*_asked: Any, **_how: Any) -> None:
        raise socket.gaierror(number, "failed")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    error = refusal(lambda: addresses_of("db.example", 5432, time.monotonic() + 30))
    assert (type(error), error.code) == (kind, ErrorCode.HOST_NOT_FOUND)


def test_name_that_no_resolver_takes_is_no_host() -> None:
    error = refusal(lambda: addresses_of(f"{'a' * 64}.example", 5432, time.monotonic() + 30))
    assert (type(error), error.code) == (ConfigurationError, ErrorCode.HOST_NOT_FOUND)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TimeoutError("timed out"), ErrorCode.CONNECTION_TIMEOUT),
        (ConnectionRefusedError(111, "Connection refused"), ErrorCode.CONNECTION_REFUSED),
        (FileNotFoundError(2, "No such file or directory"), ErrorCode.CONNECTION_REFUSED),
        (OSError(113, "No route to host"), ErrorCode.CONNECTION_TIMEOUT),
        (OSError(), ErrorCode.CONNECTION_TIMEOUT),
    ],
)
def test_every_way_of_not_reaching_a_server_may_pass_and_names_the_place(
    error: OSError, code: ErrorCode
) -> None:
    told = unreached("db.example:5432", error, 5.0, "its listen_addresses")
    assert told.code is code
    assert "db.example:5432" in told.message
    assert told.remedy


@pytest.mark.parametrize(
    ("heard", "speaker"),
    [
        (b"", None),
        (b"SSH-2.0-OpenSSH_9.2", "an SSH server"),
        (b"HTTP/1.1 400 Bad Request", "a web server"),
        (b"\x4a\0\0\0\x0a8.4.2\0", "a MySQL or MariaDB server"),
        (b"\x10\0\0\0\xff\x15\x04Too many", "a MySQL or MariaDB server"),
        (b"-ERR unknown command", "a Redis server"),
        (b"E\0\0\0\x8bSFATAL\0", "a PostgreSQL server"),
        (b"220 mail.example ESMTP", "a mail or file server"),
        (b"\0\0\0\0\0\0\0\0", "a server of another protocol"),
        (b"\xff", "a server of another protocol"),
    ],
)
def test_what_answers_is_named_by_its_first_words(heard: bytes, speaker: str | None) -> None:
    assert speaker_of(heard) == speaker


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("/run/postgresql", True),
        ("localhost", True),
        ("127.0.0.9", True),
        ("::1", True),
        ("192.0.2.7", False),
        ("localhost.example", False),
    ],
)
def test_only_connections_that_stay_on_this_host_need_no_encryption(host: str, here: bool) -> None:
    assert is_this_host(host) is here
