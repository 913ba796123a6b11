"""The suite itself: a sound engine passes it, and each fault is found by the test that says so."""

import contextlib
import inspect
import logging
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from dbaudit.engine import AuditEvent, Chunk, ConfigurationError, Cursor, Decoded, ErrorCode, Session, Target
from dbaudit.engine.manager import EngineRegistry, InstalledEngine
from dbaudit.testing.outcomes import within
from dbaudit.testing.suite import Conformance, metadata
from dbaudit.testing.wire import Relay, listening

from tests.engine.sound import COLLECTOR, PASSWORD, MonitoredSound, SoundEngine, SoundSession

_log = logging.getLogger(__name__)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[[SoundEngine], None]:
    """Makes an engine one that pip has installed."""

    def install(engine: SoundEngine) -> None:
        registry = EngineRegistry({engine.type: InstalledEngine(engine, "sound", "1")}, ())
        monkeypatch.setattr(metadata, "load_engines", lambda: registry)

    return install


class TestSound(Conformance):
    @pytest.fixture
    def monitored(self, installed: Callable[[SoundEngine], None]) -> MonitoredSound:
        engine = SoundEngine()
        installed(engine)
        return MonitoredSound(engine)


# -- faults, each in one call


class Faulty(SoundEngine):
    """Sound but for the session's or its own method that is replaced."""

    def __init__(self, **replaced: Callable[..., Any]) -> None:
        super().__init__()
        self._replaced = replaced

    def open(self, target: Target) -> Session:
        if "open" in self._replaced:
            self._replaced["open"](self, target)
        session = super().open(target)
        for name in ("read", "test", "health", "close", "following"):
            if name in self._replaced:
                setattr(session, name, self._replaced[name].__get__(session))
        return session

    def decode(self, records: Sequence[Any]) -> Decoded:
        decoded = super().decode(records)
        return self._replaced["decode"](self, records, decoded) if "decode" in self._replaced else decoded


Read = Callable[[SoundSession, Chunk, Cursor | None, int], Chunk]


def reads(change: Read) -> Callable[[SoundSession, Cursor | None, int], Chunk]:
    """A read() that gives what a sound one does, changed."""

    def read(session: SoundSession, cursor: Cursor | None, limit_bytes: int) -> Chunk:
        return change(session, SoundSession.read(session, cursor, limit_bytes), cursor, limit_bytes)

    return read


def events(change: Callable[[list[AuditEvent]], list[AuditEvent]]) -> Callable[..., Decoded]:
    """A decode() whose events are changed."""
    return lambda _engine, _records, decoded: Decoded(change(decoded.events), decoded.rejected)


_leaked: list[bytes] = []
_opened: list[socket.socket] = []


def _logs(_engine: SoundEngine, target: Target) -> None:
    _log.debug("connecting with %s", target.password.reveal())


def _tells(_engine: SoundEngine, target: Target) -> None:
    if target.password.reveal() != PASSWORD:
        message = f"The password {target.password.reveal()!r} is wrong."
        raise ConfigurationError(ErrorCode.AUTHENTICATION_FAILED, message)


def _tells_in_the_cause(_engine: SoundEngine, target: Target) -> None:
    try:
        raise ValueError(f"password={target.password.reveal()}")
    except ValueError:
        if target.password.reveal() != PASSWORD:
            raise ConfigurationError(ErrorCode.AUTHENTICATION_FAILED, "Wrong password.") from None


def _leaks(_session: SoundSession, chunk: Chunk, *_given: Any) -> Chunk:
    _leaked.append(bytes(200))
    return chunk


def _own(session: SoundSession) -> Any:
    from dbaudit.engine import EventType

    session.source.write(EventType.QUERY, user=COLLECTOR, query="select version()")
    return SoundSession.test(session)


def _dies_of_records(_engine: SoundEngine, records: Sequence[Any], decoded: Decoded) -> Decoded:
    if decoded.rejected:
        raise ValueError("not a record")
    return decoded


def _without_the_last(_session: SoundSession, chunk: Chunk, cursor: Cursor | None, _limit: int) -> Chunk:
    """Cuts at the limit, and goes on behind what it cut off."""
    return msgspec.structs.replace(chunk, records=chunk.records[:-1] if chunk.more else chunk.records)


def _counted_anew() -> Callable[..., Decoded]:
    """Keys that depend on when something was read."""
    numbers = iter(range(10**9))
    return events(lambda found: [msgspec.structs.replace(e, key=str(next(numbers))) for e in found])


def _once_more(_session: SoundSession, chunk: Chunk, cursor: Cursor | None, _limit: int) -> Chunk:
    return msgspec.structs.replace(chunk, records=[*chunk.records, *chunk.records[-1:]])


def _reads_a_file(_session: SoundSession, chunk: Chunk, *_given: Any) -> Chunk:
    with contextlib.suppress(OSError):
        Path("/var/log/named-by-a-server.log").read_bytes()
    return chunk


FAULTS: dict[str, tuple[str, dict[str, Callable[..., Any]]]] = {
    "a statement twice": (
        "test_statement_is_reported_once_with_its_user_and_text",
        {"read": reads(_once_more)},
    ),
    "a file that the agent does not allow": (
        "test_no_file_is_opened_that_the_agent_does_not_allow",
        {"read": reads(_reads_a_file)},
    ),
    "a statement without a class": (
        "test_every_statement_has_an_operation_and_a_class",
        {"decode": events(lambda found: [msgspec.structs.replace(e, command_class=None) for e in found])},
    ),
    "a class of its own": (
        "test_every_statement_has_an_operation_and_a_class",
        {"decode": events(lambda found: [msgspec.structs.replace(e, command_class="read") for e in found])},
    ),
    "statements out of order": (
        "test_size_of_the_chunks_changes_no_event",
        {"decode": events(lambda found: found[::-1])},
    ),
    "the same key for all": (
        "test_every_event_has_a_key_of_its_own",
        {"decode": events(lambda f: [msgspec.structs.replace(e, key="1", time_us=1) for e in f])},
    ),
    "no user": (
        "test_statement_is_reported_once_with_its_user_and_text",
        {"decode": events(lambda f: [msgspec.structs.replace(e, user=None) for e in f])},
    ),
    "local time taken for UTC": (
        "test_login_is_reported_with_its_user",
        {
            "decode": events(
                lambda f: [msgspec.structs.replace(e, time_us=e.time_us + 3600 * 10**6) for e in f]
            )
        },
    ),
    "text that is not ASCII lost": (
        "test_text_of_any_characters_comes_as_it_was",
        {
            "decode": events(
                lambda f: [
                    msgspec.structs.replace(e, query=e.query and e.query.encode("ascii", "replace").decode())
                    for e in f
                ]
            )
        },
    ),
    "keys that change": ("test_same_cursor_gives_the_same_keys_again", {"decode": _counted_anew()}),
    "records lost at the limit": (
        "test_size_of_the_chunks_changes_no_event",
        {"read": reads(_without_the_last)},
    ),
    "records lost at the limit, resumed": (
        "test_reading_resumes_after_every_prefix_of_a_batch",
        {"read": reads(_without_the_last)},
    ),
    "a cursor that is no JSON": (
        "test_cursor_is_json_with_a_version",
        {"read": reads(lambda _s, chunk, *_g: msgspec.structs.replace(chunk, cursor={"v": 1, "at": {1, 2}}))},
    ),
    "any cursor taken": (
        "test_cursor_of_somebody_else_is_refused",
        {"following": lambda _session, _cursor: 0},
    ),
    "no gap": (
        "test_loss_at_the_source_is_reported_once_and_collecting_goes_on",
        {"read": reads(lambda _s, chunk, *_g: msgspec.structs.replace(chunk, gaps=()))},
    ),
    "its own activity told": ("test_what_the_collector_does_itself_is_left_out", {"test": _own}),
    "a decoder that raises": ("test_mutated_records_never_stop_the_decoder", {"decode": _dies_of_records}),
    "records dropped without a word": (
        "test_bytes_that_are_no_record_are_put_aside_and_the_stream_goes_on",
        {"decode": lambda _engine, _records, decoded: Decoded(decoded.events)},
    ),
    "the password in the error": ("test_wrong_password_is_reported", {"open": _tells}),
    "the password in what the error came from": (
        "test_no_secret_is_in_an_error",
        {"open": _tells_in_the_cause},
    ),
    "any password taken": (
        "test_wrong_password_is_reported",
        {"open": lambda engine, _target: setattr(SoundEngine, "open", lambda e, t: SoundSession(e.source))},
    ),
    "memory that grows": ("test_memory_does_not_grow_over_a_long_run", {"read": reads(_leaks)}),
    "a descriptor left open": (
        "test_sessions_leave_no_descriptor_and_no_thread",
        {"open": lambda _engine, _target: _opened.append(socket.socket())},
    ),
    "a report that differs": (
        "test_missing_right_is_found_and_its_remedy_mends_it",
        {
            "test": lambda session: msgspec.structs.replace(
                SoundSession.test(session), success=True, permissions={"read": True}, diagnoses=()
            )
        },
    ),
    "a close that raises": (
        "test_session_opens_and_closes_twice",
        {"close": lambda _session: 1 / 0},
    ),
}


def run(test: str, monitored: MonitoredSound) -> None:
    """One test of the suite, with each of its parameters."""
    suite = Conformance()
    method = getattr(suite, test)
    marks = getattr(method, "pytestmark", [])
    values = [value for mark in marks if mark.name == "parametrize" for value in mark.args[1]]
    name = next((mark.args[0] for mark in marks if mark.name == "parametrize"), None)
    assert set(inspect.signature(method).parameters) <= {"monitored", name}
    for value in values or [None]:
        method(monitored, **({} if name is None else {name: value}))


@pytest.mark.parametrize(("test", "replaced"), FAULTS.values(), ids=FAULTS)
def test_fault_of_an_engine_is_found(
    test: str, replaced: dict[str, Callable[..., Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SoundEngine, "open", SoundEngine.open)  # what a fault changes is undone
    run(test, MonitoredSound(Faulty()))
    faulty = MonitoredSound(Faulty(**replaced))
    faulty.deadline_seconds = 0.3
    with pytest.raises((AssertionError, pytest.fail.Exception, ValueError, TypeError, ZeroDivisionError)):
        run(test, faulty)
    while _opened:
        _opened.pop().close()


@pytest.mark.parametrize(
    ("name", "option", "fits"),
    [
        ("log_path", {"type": "string"}, False),
        ("place", {"type": "string", "pattern": "^/.+"}, False),
        ("log_path", {"type": "string", "x-host": "path"}, True),
        ("odbc_driver", {"type": "string", "x-host": "driver"}, True),
        ("profile", {"type": "string"}, True),
        ("driver", {"enum": ["thin", "thick"]}, True),
    ],
)
def test_unmarked_option_of_the_host_is_found(name: str, option: dict[str, Any], fits: bool) -> None:
    class Optional(SoundEngine):
        options_schema: ClassVar[dict[str, Any]] = {"type": "object", "properties": {name: option}}

    with contextlib.nullcontext() if fits else pytest.raises(AssertionError, match=name):
        run("test_options_of_the_agents_host_are_marked", MonitoredSound(Optional()))


def test_password_in_a_log_fails_any_test(caplog: pytest.LogCaptureFixture) -> None:
    for engine, fails in ((Faulty(), False), (Faulty(open=_logs), True)):
        caplog.clear()
        monitored = MonitoredSound(engine)
        watch = Conformance.no_log_holds_a_secret.__wrapped__(Conformance(), monitored, caplog)  # type: ignore[attr-defined]
        next(watch)
        run("test_session_opens_and_closes_twice", monitored)
        if fails:
            with pytest.raises(AssertionError, match="the password is shown"):
                next(watch)
        else:
            assert next(watch, "over") == "over"


def test_call_that_never_returns_fails_its_test() -> None:
    never = threading.Event()
    with pytest.raises(AssertionError, match=r"read\(\) has not returned after 0.05 seconds"):
        within(0.05, "read()", never.wait)
    never.set()


def test_relay_tells_tls_from_plain_text_and_freezes() -> None:
    with listening(lambda link: link.sendall(link.recv(100))) as port:
        relay = Relay(("127.0.0.1", port))
        with relay.open() as way, socket.create_connection(("127.0.0.1", way), timeout=5) as link:
            link.sendall(b"plain text")
            assert link.recv(100) == b"plain text"
            assert relay.sent() == b"plain text"
            assert not relay.carried_tls()
        frozen = Relay(("127.0.0.1", port))
        with frozen.open() as way, socket.create_connection(("127.0.0.1", way), timeout=0.05) as link:
            frozen.freeze()
            link.sendall(b"never passed on")
            with pytest.raises(TimeoutError):
                link.recv(100)
