"""Reaching a server and logging in: each failure in its time, in our words."""

from __future__ import annotations

import msgspec
import pytest

from dbaudit.core.errors import DbauditError
from dbaudit.engine import ConfigurationError, ErrorCode, SslMode, Target, TransientError
from dbaudit.testing.monitored import Monitored
from dbaudit.testing.outcomes import refusal, within
from dbaudit.testing.wire import (
    Behaviour,
    Relay,
    listening,
    never_answers,
    speaks_http,
    speaks_ssh,
    unused_port,
)

_HOST = "127.0.0.1"
_SHORT_SECONDS = 1.0
"""For what has to run out of it."""
_AMPLE_SECONDS = 5.0
"""For what is answered at once, on a busy machine too."""
_STATEMENT_SECONDS = 2.0
_PATIENCE_SECONDS = 15.0
"""How long beyond the target's own time-outs before a call is taken for one that never returns."""


class ConnectingChecks:
    """Log-ins that work and that fail; servers that are away, hang, or are something else."""

    def test_session_opens_and_closes_twice(self, monitored: Monitored) -> None:
        session = monitored.engine.open(monitored.target())
        session.close()
        session.close()

    def test_wrong_password_is_reported(self, monitored: Monitored) -> None:
        target = monitored.refused_target()
        error = refusal(lambda: monitored.engine.open(target), target)
        assert isinstance(error, ConfigurationError)
        assert error.code is ErrorCode.AUTHENTICATION_FAILED

    def test_host_that_does_not_exist_is_reported(self, monitored: Monitored) -> None:
        _must_connect(monitored)
        error = _not_reached(monitored, _limited(monitored.elsewhere("no-such-host.invalid", 1)))
        assert error.code is ErrorCode.HOST_NOT_FOUND

    def test_port_at_which_nothing_listens_is_reported(self, monitored: Monitored) -> None:
        _must_connect(monitored)
        error = _not_reached(monitored, _limited(monitored.elsewhere(_HOST, unused_port())))
        assert isinstance(error, TransientError)
        assert error.code is ErrorCode.CONNECTION_REFUSED

    @pytest.mark.parametrize("mode", [SslMode.DISABLE, SslMode.REQUIRE])
    def test_server_that_never_answers_times_out(self, monitored: Monitored, mode: SslMode) -> None:
        _must_connect(monitored)
        with listening(never_answers) as port:
            target = _limited(monitored.elsewhere(_HOST, port), _SHORT_SECONDS)
            target = msgspec.structs.replace(target, ssl_mode=mode)
            error = _not_reached(monitored, target)
        assert isinstance(error, TransientError)
        assert error.code is ErrorCode.CONNECTION_TIMEOUT

    @pytest.mark.parametrize("speaks", [speaks_ssh, speaks_http])
    def test_something_else_at_the_port_is_reported(self, monitored: Monitored, speaks: Behaviour) -> None:
        _must_connect(monitored)
        with listening(speaks) as port:
            seconds = _AMPLE_SECONDS if speaks is speaks_ssh else _SHORT_SECONDS
            error = _not_reached(monitored, _limited(monitored.elsewhere(_HOST, port), seconds))
        allowed = {ErrorCode.WRONG_PROTOCOL}
        if speaks is speaks_http:
            # It sends nothing before it is asked. Clients of servers that speak first only see silence.
            allowed |= {ErrorCode.CONNECTION_TIMEOUT, ErrorCode.CONNECTION_LOST}
        assert error.code in allowed

    @pytest.mark.parametrize("call", ["test", "health", "read"])
    def test_server_that_hangs_after_the_login_times_out(self, monitored: Monitored, call: str) -> None:
        _must_connect(monitored)
        target = monitored.target()
        relay = Relay((target.host, target.port))
        with relay.open() as port:
            target = msgspec.structs.replace(monitored.elsewhere(_HOST, port), ssl_mode=target.ssl_mode)
            session = monitored.engine.open(
                msgspec.structs.replace(target, statement_timeout_seconds=_STATEMENT_SECONDS)
            )
            try:
                cursor = session.read(None, 1).cursor
                relay.freeze()
                calls = {
                    "test": session.test,
                    "health": session.health,
                    "read": lambda: session.read(cursor, 1 << 20),
                }
                try:
                    report = within(_PATIENCE_SECONDS, f"{call}() of a hanging server", calls[call])
                except DbauditError as error:
                    failed = error
                    assert isinstance(refusal(lambda: _raise(failed), target), TransientError)
                else:
                    # What is read from a disk needs no server.
                    assert call != "test" or not getattr(report, "success", False)
            finally:
                within(_PATIENCE_SECONDS, "close() of a hanging server", session.close)


def _must_connect(monitored: Monitored) -> None:
    if not monitored.connects:
        pytest.skip("the engine does not connect to the host and port of its target")


def _limited(target: Target, seconds: float = _AMPLE_SECONDS) -> Target:
    return msgspec.structs.replace(target, connect_timeout_seconds=seconds)


def _not_reached(monitored: Monitored, target: Target) -> DbauditError:
    limit = target.connect_timeout_seconds + _PATIENCE_SECONDS
    return within(limit, "open()", lambda: refusal(lambda: monitored.engine.open(target), target))


def _raise(error: DbauditError) -> None:
    raise error
