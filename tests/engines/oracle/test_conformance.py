"""The conformance suite on the recorded server; where it says how to reach no server, the driver is real."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from dbaudit.core.errors import DbauditError, ErrorCode, TransientError
from dbaudit.engine import Target
from dbaudit.engines.oracle import trail
from dbaudit.testing import Monitored, Visitor
from dbaudit.testing.outcomes import within
from dbaudit.testing.suite import Conformance

from tests.engines.oracle.recorded import (
    ARCHIVED,
    ENABLED,
    RULES,
    TRAIL,
    RecordedServer,
    connect,
    recorded_engine,
    target_of,
)
from tests.engines.oracle.test_decoding import row_of
from tests.engines.oracle.traditional_tables import FINE, STANDARD

PORT = 1521


class Somebody(Visitor):
    """Another user of the recorded server; ``record`` is what writes into its trail."""

    user = "BOB"

    def __init__(self, record: Callable[..., Any]) -> None:
        self._record = record
        self._in = True
        record("LOGON")

    def run(self, text: str) -> str:
        statement = "select '" + text.replace("'", "''") + "' from dual"
        self._record("SELECT", SQL_TEXT=statement)
        return statement

    def leave(self) -> None:
        if self._in:
            self._record("LOGOFF")
        self._in = False


class MonitoredOracle(Monitored):
    live = False
    rights = ("unified_audit_trail", "audit_unified_policies")

    def __init__(self) -> None:
        self.server = RecordedServer()
        self.engine = recorded_engine(self.server, PORT)

    def target(self) -> Target:
        return target_of(port=PORT)

    def visit(self) -> Visitor:
        return Somebody(self.server.record)

    def fail_to_log_in(self) -> str:
        with pytest.raises(DbauditError):
            connect(self.server, target_of(username="lena", application_name="sqlplus"))
        return "LENA"

    def lose(self) -> None:
        self.server.purge(self.server.tick())

    def revoke(self, right: str) -> None:
        self.server.granted -= {TRAIL} if right == "unified_audit_trail" else {ENABLED, RULES}

    def carry_out(self, remedy: str) -> None:
        assert remedy == "GRANT AUDIT_VIEWER TO DBAUDIT;"
        self.server.granted |= {TRAIL, ENABLED, RULES, ARCHIVED}

    def records(self) -> list[Any]:
        return [
            row_of(action, SQL_TEXT="select * from t where a = 'b'", SQL_BINDS=" #1(2):42", OBJECT_NAME="T")
            for action in ("LOGON", "LOGOFF", "SELECT", "CREATE USER", None)
        ] + [(*row_of(), 1)]


class MonitoredTraditionalOracle(MonitoredOracle):
    rights = ("dba_audit_trail",)

    def __init__(self) -> None:
        super().__init__()
        self.server.audit_trail = "DB, EXTENDED"

    def target(self) -> Target:
        return target_of(port=PORT, options={"source": "traditional"})

    def visit(self) -> Visitor:
        return Somebody(self.server.record_traditional)

    def lose(self) -> None:
        self.server.purge_traditional(self.server.tick())

    def revoke(self, right: str) -> None:
        self.server.granted -= {STANDARD, FINE}

    def carry_out(self, remedy: str) -> None:
        super().carry_out(remedy)
        self.server.granted |= {STANDARD, FINE}

    def records(self) -> list[Any]:
        return [
            row_of(action, AUDIT_TYPE=kind, SQL_TEXT="select * from t where a = 'b'", OBJECT_NAME="T")
            for action in ("LOGON", "LOGOFF", "SELECT", "SYSTEM GRANT", None)
            for kind in ("Traditional", "Traditional fine-grained")
        ]


@pytest.fixture
def monitored() -> Monitored:
    return MonitoredOracle()


class TestOracle(Conformance):
    @pytest.mark.parametrize("call", ["test", "health", "read"])
    def test_server_that_hangs_after_the_login_times_out(self, monitored: Monitored, call: str) -> None:
        """The suite has a relay hang between driver and server; here the recorded server does not answer."""
        assert isinstance(monitored, MonitoredOracle)
        target = msgspec.structs.replace(monitored.target(), statement_timeout_seconds=0.2)
        with monitored.engine.open(target) as session:
            cursor = session.read(None, 1).cursor
            monitored.server.hangs = True
            calls = {
                "test": session.test,
                "health": session.health,
                "read": lambda: session.read(cursor, 1000),
            }
            with pytest.raises(TransientError) as raised:
                within(10, call, calls[call])
            assert raised.value.code is ErrorCode.STATEMENT_TIMEOUT


class TestTraditionalOracle(TestOracle):
    @pytest.fixture
    def monitored(self, monkeypatch: pytest.MonkeyPatch) -> Monitored:
        # A query on the recorded server takes no time that a pause could be in proportion to.
        monkeypatch.setattr("dbaudit.engines.oracle.reading._SHARE_OF_SCANS", 1e9)
        return MonitoredTraditionalOracle()


def test_the_rows_that_are_mutated_are_as_wide_as_those_that_are_read() -> None:
    assert {len(row) for row in MonitoredOracle().records()} == {trail.WIDTH, trail.WIDTH + 1}
