"""The collector's password and key: in no report, no log, no error, no event."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import msgspec
import pytest

from dbaudit.core.errors import DbauditError
from dbaudit.engine import SslMode
from dbaudit.testing.collecting import Collecting
from dbaudit.testing.monitored import Monitored
from dbaudit.testing.outcomes import assert_no_secret, refusal
from dbaudit.testing.wire import listening, never_answers


class SecretChecks:
    """What anyone may read."""

    @pytest.fixture(autouse=True)
    def no_log_holds_a_secret(self, monitored: Monitored, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
        """In every test of the suite, whatever it does."""
        caplog.set_level(logging.DEBUG)
        yield
        assert_no_secret(caplog.text, monitored.target())

    def test_no_secret_is_in_what_a_session_says(
        self, monitored: Monitored, capfd: pytest.CaptureFixture[str]
    ) -> None:
        target = monitored.target()
        with Collecting(monitored) as reading:
            reading.session.test()
            reading.read()
            said = [
                repr(monitored.engine),
                repr(reading.session),
                repr(monitored.engine.driver_status()),
                repr(reading.session.test()),
                repr(reading.session.health()),
                repr(reading.cursor),
                repr(reading.events),
            ]
        printed = capfd.readouterr()
        for text in (*said, printed.out, printed.err):
            assert_no_secret(text, target)

    def test_no_secret_is_in_an_error(self, monitored: Monitored) -> None:
        """Of a log-in that is refused; the other failures of the suite are examined where they are tried."""
        target = monitored.refused_target()
        refusal(lambda: monitored.engine.open(target), target)

    def test_no_secret_is_in_an_error_of_tls(self, monitored: Monitored) -> None:
        if not monitored.connects:
            pytest.skip("the engine does not connect to the host and port of its target")
        with listening(never_answers) as port:
            target = msgspec.structs.replace(
                monitored.elsewhere("127.0.0.1", port), ssl_mode=SslMode.REQUIRE, connect_timeout_seconds=1.0
            )
            error = refusal(lambda: monitored.engine.open(target), target)
        assert isinstance(error, DbauditError)
