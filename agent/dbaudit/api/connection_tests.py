"""Tests of connections: the API asks, an agent connects, the API answers with the agent's report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dbaudit.api.acting import acting
from dbaudit.api.visit import this_visit
from dbaudit.api.waiting import WaitingRoom
from dbaudit.core.database import Database
from dbaudit.core.errors import ErrorCode, RequestError, TransientError
from dbaudit.core.report import TestReport
from dbaudit.core.secret import Secret
from dbaudit.state import State
from dbaudit.state.databases import Declaration
from dbaudit.state.wakeup import Topic

_TEST = "test"


class ConnectionTestFailedError(RequestError):
    """The database was not reached, or the log-in refused; ``report`` goes along with the error."""

    def __init__(self, report: TestReport) -> None:
        message = report.error or "The database was not reached."
        super().__init__(ErrorCode.CONNECTION_TEST_FAILED, f"The connection test failed: {message}")
        self.report = report_object(report)


class ConnectionTests:
    """Has connections tested by agents. A test that is not finished after ``timeout_seconds`` has failed."""

    def __init__(self, state: State, room: WaitingRoom, timeout_seconds: float) -> None:
        self._state = state
        self._room = room
        self._timeout_seconds = timeout_seconds

    def run(
        self,
        declaration: Declaration,
        secrets: Mapping[str, Secret | None],
        change_of: Database | None = None,
    ) -> TestReport:
        """The report on a connection, not stored yet, that was reached; ``secrets`` are those of the request.

        For the ``change_of`` a stored database the agent reads the other secrets itself. Raises
        ConnectionTestFailedError, TransientError (`no_agent_available`, `too_many_waiting`, `shutting_down`),
        or RequestError where the database was changed (`conflict`) or removed (`not_found`) meanwhile; and
        Parked while there is no report yet.
        """
        seen = None if change_of is None else (change_of.id, change_of.updated_at_us)
        return self._run(
            (declaration, dict(secrets), seen),
            lambda: self._state.tasks.request_test(
                declaration,
                secrets,
                change_of=change_of,
                timeout_seconds=self._timeout_seconds,
                act=acting(),
            ),
        )

    def run_stored(self, database: Database) -> TestReport:
        """The same for a database as it is stored, with its secrets; both are read by the agent."""
        return self._run(
            database.id,
            lambda: self._state.tasks.request_stored_test(
                database, timeout_seconds=self._timeout_seconds, act=acting()
            ),
        )

    def _run(self, tested: object, ask: Callable[[], str]) -> TestReport:
        visit = this_visit()
        seen = self._room.seen(Topic.TASK_DONE)
        before, task_id = visit.found.get(_TEST, (None, ""))
        # Not the report on what another request has changed since: that is tested again.
        if before != tested:
            self._room.enter(visit, Topic.TASK_DONE)
            if not self._state.nodes.all(alive_only=True):
                raise _no_agent("No agent is alive to test the connection; start one with dbaudit agent.")
            task_id = ask()
            visit.found[_TEST] = (tested, task_id)
        report = self._state.tasks.result(task_id)
        if report is None:
            self._room.wait(
                visit,
                Topic.TASK_DONE,
                seen,
                self._timeout_seconds,
                group=task_id,
                position=0,
                look=lambda position: (self._state.tasks.result(task_id) is not None, position),
            )
            raise _no_agent(f"No agent finished the test within {self._timeout_seconds:g} seconds.")
        if report.error_code in (ErrorCode.NOT_FOUND, ErrorCode.CONFLICT):
            raise RequestError(ErrorCode(report.error_code), str(report.error))
        if not report.reachable:
            raise ConnectionTestFailedError(report)
        return report


def report_object(report: TestReport) -> dict[str, Any]:
    """A report as the API shows it."""
    return {
        "success": report.success,
        "latency_ms": report.latency_ms,
        "version": report.version,
        "permissions": report.permissions,
        "warnings": report.warnings,
        "diagnoses": report.diagnoses,
        "audit_source": report.audit_source,
        "error_code": report.error_code,
        "error": report.error,
    }


def _no_agent(message: str) -> TransientError:
    return TransientError(ErrorCode.NO_AGENT_AVAILABLE, message)
