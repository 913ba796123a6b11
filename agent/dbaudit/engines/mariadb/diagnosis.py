"""The connection test: what works, what is missing, and the exact remedy."""

from __future__ import annotations

from collections.abc import Iterator

from dbaudit.core.report import Diagnosis, DiagnosisStatus, TestReport
from dbaudit.engine.findings import encryption, failed, ok, skipped, warning
from dbaudit.engines.mariadb import audit_checks
from dbaudit.engines.mariadb.options import Options, Source
from dbaudit.engines.mariadb.rights import Rights, read_rights
from dbaudit.engines.mariadb.settings import AuditSettings, read_settings
from dbaudit.engines.mariadb.sources import ChosenSource, local_path, unreadable
from dbaudit.engines.mysql_protocol import general_log_readers
from dbaudit.engines.mysql_protocol.connection import ServerConnection
from dbaudit.engines.mysql_protocol.network import endpoint

OLDEST, NEWEST = (10, 5), (12, 99)


def test(connection: ServerConnection, options: Options, sources: ChosenSource) -> TestReport:
    """Find out what works and what is missing; changes nothing on the server.

    Raises TransientError when the connection is lost meanwhile.
    """
    latency_ms = connection.measure_latency_ms()
    settings = read_settings(connection)
    rights = read_rights(connection)
    source = sources.of(settings)
    diagnoses = tuple(_diagnose(connection, settings, rights, options, source))
    return TestReport(
        reachable=True,
        success=all(diagnosis.status is not DiagnosisStatus.FAILED for diagnosis in diagnoses),
        latency_ms=latency_ms,
        version=f"MariaDB {settings.version}",
        permissions=rights.permissions,
        diagnoses=diagnoses,
        audit_source=_named(source, connection, settings, options),
    )


def _diagnose(
    connection: ServerConnection,
    settings: AuditSettings,
    rights: Rights,
    options: Options,
    source: Source | None,
) -> Iterator[Diagnosis]:
    target = connection.target
    yield ok("connection", f"Logged in to {endpoint(target)} as {rights.account}.")
    yield _server_version(settings)
    yield encryption(connection.target, tls_in_use=connection.tls_in_use)
    yield _least_privilege(rights)
    needed = rights.needed(source)
    for name, (there, grant) in needed.items():
        code = f"permission_{name}"
        yield (
            ok(code, f"The right {name} is there.")
            if there
            else failed(code, f"{rights.account} lacks the right {name}.", grant)
        )
    if not all(there for there, grant in needed.values()):
        yield skipped("audit_source", "a permission is missing")
    else:
        problem = unreadable(source, connection, settings, options)
        if problem is not None:
            yield failed("audit_source", problem.message, problem.remedy)
        else:
            named = _named(source, connection, settings, options)
            yield ok("audit_source", f"Events come from {named}.")
            yield audit_checks.better_source(settings, rights, source)
            yield from _of_the_source(connection, settings, rights, source)
    if target.capture_results:
        yield warning("row_counts", "MariaDB writes row counts to none of its logs.", None)


def _of_the_source(
    connection: ServerConnection, settings: AuditSettings, rights: Rights, source: Source | None
) -> Iterator[Diagnosis]:
    if source is Source.GENERAL_LOG:
        yield audit_checks.general_log_emptied(rights)
        if rights.may_retire:
            yield general_log_readers.diagnosis(connection)
        return
    yield audit_checks.connections(settings)
    yield audit_checks.statements(settings)
    yield audit_checks.left_out_users(settings, connection.target.username)
    yield audit_checks.statement_length(settings)
    yield audit_checks.writes_failed(settings)
    yield audit_checks.general_log_beside(settings)
    if source is not Source.SYSLOG:
        yield audit_checks.history(settings)
        time_stamps = audit_checks.time_stamps(settings)
        if time_stamps is not None:
            yield time_stamps
    if source is Source.REMOTE_FILE:
        yield audit_checks.file_size(settings)
        yield audit_checks.own_activity(settings, connection.target.username)


def _server_version(settings: AuditSettings) -> Diagnosis:
    code = "server_version"
    if settings.release[:2] < OLDEST:
        return warning(code, f"MariaDB {settings.version} is older than what was tried here.", None)
    if settings.release[:2] > NEWEST:
        return warning(code, f"MariaDB {settings.version} is newer than what was tried here.", None)
    return ok(code, f"MariaDB {settings.version} is supported.")


def _least_privilege(rights: Rights) -> Diagnosis:
    code = "least_privilege"
    if not rights.administration:
        return ok(code, "The account is no administrator's.")
    return warning(
        code,
        f"{rights.account} has the rights of an administrator: far more than collecting needs.",
        "Make an account of its own for the agent, with the grants of the documentation.",
    )


def _named(
    source: Source | None, connection: ServerConnection, settings: AuditSettings, options: Options
) -> str | None:
    if source is None:
        return None
    if source is Source.GENERAL_LOG:
        return "the table mysql.general_log"
    if source is Source.REMOTE_FILE:
        return f"server_audit over LOAD_FILE ({settings.audit_file})"
    where = "syslog" if source is Source.SYSLOG else "the disk"
    return f"server_audit over {where} ({local_path(source, connection, settings, options)})"
