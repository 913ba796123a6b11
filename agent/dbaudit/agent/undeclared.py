"""The databases of a server, and what a connection test says of those that are not declared."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from dbaudit.agent.calls import EngineCalls
from dbaudit.core.database import Scope, Target
from dbaudit.core.errors import DbauditError
from dbaudit.core.report import Diagnosis, DiagnosisStatus, TestReport
from dbaudit.engine import Engine, Session
from dbaudit.state import State

_log = logging.getLogger(__name__)
_CODE = "undeclared_databases"
_MOST_SHOWN = 20


def databases_of(calls: EngineCalls, session: Session) -> frozenset[str] | None:
    """The names of the server's databases; None where they cannot be known."""
    try:
        names: Sequence[str] | None = calls.call("databases", object, session.databases)
    except DbauditError as error:
        _log.info("the databases of a server cannot be listed: %s", error)
        return None
    return None if names is None else frozenset(names)


def with_undeclared(
    report: TestReport,
    state: State,
    engine: Engine,
    calls: EngineCalls,
    session: Session,
    target: Target,
    names: frozenset[str],
) -> TestReport:
    """``report``, with one more step that says which of the server's databases, ``names``, are not declared.

    The database of ``target`` counts as declared. While the state is away nothing is said.
    """
    try:
        declared = state.databases.on_server(engine.type, target.host, target.port)
        if any(one.audit_options.scope is Scope.SERVER for one in declared):
            return report
        known = {target.database, *(one.database for one in declared)}

        def others() -> list[str]:
            left = sorted(names - known)
            return [name for name in left if not any(session.is_declared(name, one) for one in known)]

        undeclared = calls.call("is_declared", list, others)
    except DbauditError:
        return report
    return msgspec.structs.replace(report, diagnoses=(*report.diagnoses, _diagnosis(undeclared)))


def _diagnosis(undeclared: list[str]) -> Diagnosis:
    if not undeclared:
        return Diagnosis(_CODE, DiagnosisStatus.OK, "Every database of the server is declared.")
    shown = ", ".join(undeclared[:_MOST_SHOWN])
    if len(undeclared) > _MOST_SHOWN:
        shown += f" and {len(undeclared) - _MOST_SHOWN} more"
    return Diagnosis(
        _CODE,
        DiagnosisStatus.WARNING,
        f"Nobody has declared these databases of the server; what happens in them is not stored: {shown}.",
        "Declare them too, or set audit_options.scope to server.",
    )


def is_of_interest(engine: Engine, scope: Scope) -> bool:
    """Whether it matters which databases the server has."""
    return scope is Scope.DATABASE and not engine.source_is_database
