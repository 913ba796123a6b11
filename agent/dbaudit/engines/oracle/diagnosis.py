"""The connection test: what works, what is missing, and the exact remedy."""

from __future__ import annotations

from collections.abc import Iterator

from dbaudit.core.database import SslMode, Target
from dbaudit.core.report import Diagnosis, DiagnosisStatus, TestReport
from dbaudit.engine.findings import encryption, failed, ok, skipped, warning
from dbaudit.engines.oracle import traditional_diagnosis as traditional
from dbaudit.engines.oracle.connection import ServerConnection
from dbaudit.engines.oracle.failures import endpoint, quoted
from dbaudit.engines.oracle.health import measure_latency_ms
from dbaudit.engines.oracle.options import Options, Source
from dbaudit.engines.oracle.rights import ROOT, Rights, read_rights
from dbaudit.engines.oracle.settings import Settings, read_settings
from dbaudit.engines.oracle.trail import NEEDED

_TRIED = (12, 18, 19, 21, 23)
SESSIONS = "CREATE AUDIT POLICY dbaudit_sessions ACTIONS LOGON, LOGOFF; AUDIT POLICY dbaudit_sessions;"
STATEMENTS = (
    "CREATE AUDIT POLICY dbaudit_statements ACTIONS SELECT, INSERT, UPDATE, DELETE, EXECUTE, CREATE TABLE, "
    "ALTER TABLE, DROP TABLE, TRUNCATE TABLE; AUDIT POLICY dbaudit_statements EXCEPT {user};"
)
IMMEDIATE = (
    "BEGIN DBMS_AUDIT_MGMT.SET_AUDIT_TRAIL_PROPERTY(DBMS_AUDIT_MGMT.AUDIT_TRAIL_UNIFIED, "
    "DBMS_AUDIT_MGMT.AUDIT_TRAIL_WRITE_MODE, DBMS_AUDIT_MGMT.AUDIT_TRAIL_IMMEDIATE_WRITE); END;"
)


def test(connection: ServerConnection, options: Options) -> TestReport:
    """Find out what works and what is missing; changes nothing on the server.

    Raises TransientError when the connection is lost meanwhile.
    """
    latency_ms = measure_latency_ms(connection)
    rights = read_rights(connection, options)
    settings = read_settings(connection, policies=rights.policies)
    diagnoses = tuple(_diagnose(connection, rights, settings))
    return TestReport(
        reachable=True,
        success=all(diagnosis.status is not DiagnosisStatus.FAILED for diagnosis in diagnoses),
        latency_ms=latency_ms,
        version=settings.version,
        permissions=rights.permissions,
        diagnoses=diagnoses,
        audit_source=_audit_source(rights, settings),
    )


def _diagnose(connection: ServerConnection, rights: Rights, settings: Settings) -> Iterator[Diagnosis]:
    target = connection.target
    yield ok(
        "connection", f"Logged in to {endpoint(target)}, container {rights.container}, as {rights.user}."
    )
    yield _server_version(settings)
    yield _encryption(target)
    yield _least_privilege(rights)
    yield _container(rights)
    if Source.UNIFIED in rights.sources:
        yield from _of_the_unified_trail(rights, settings)
    if Source.TRADITIONAL in rights.sources:
        yield traditional.readable(rights, settings)
    yield traditional.recorded(rights, settings)
    if target.capture_results:
        yield warning("row_counts", "No audit trail says how many rows a statement had.", None)


def _of_the_unified_trail(rights: Rights, settings: Settings) -> Iterator[Diagnosis]:
    yield _trail(rights)
    if rights.policies:
        yield ok("permission_audit_unified_policies", "The policies can be read.")
    else:
        yield warning(
            "permission_audit_unified_policies",
            "The policies cannot be read: what the server records is not known.",
            rights.grant,
        )
    for code, step in (
        ("unified_auditing", _unified_auditing),
        ("log_ins", _log_ins),
        ("log_offs", _log_offs),
        ("failed_log_ins", _failed_log_ins),
        ("statements", _statements),
    ):
        yield step(rights, settings) if rights.policies else skipped(code, "the policies cannot be read")
    yield _write_mode(settings)


def _server_version(settings: Settings) -> Diagnosis:
    code = "server_version"
    if settings.major not in _TRIED:
        return warning(code, f"{settings.version} is not one of the versions that this was made for.", None)
    return ok(code, f"{settings.version} is supported.")


def _encryption(target: Target) -> Diagnosis:
    return encryption(
        target,
        tls_in_use=target.ssl_mode is not SslMode.DISABLE,
        besides=", and the port to one at which the listener takes TCPS",
    )


def _least_privilege(rights: Rights) -> Diagnosis:
    code = "least_privilege"
    if not rights.too_much:
        return ok(code, "The user has no more rights than collecting needs.")
    return warning(
        code,
        f"The user {rights.user} has {', '.join(rights.too_much)}: more than collecting needs.",
        "Make a user of its own for the agent, with the grants of the documentation.",
    )


def _container(rights: Rights) -> Diagnosis:
    code = "container"
    if rights.container == ROOT:
        return warning(
            code,
            "This is the root container: its trail holds nothing of the pluggable databases.",
            "Declare each pluggable database by its own service name.",
        )
    return ok(code, f"The trail is that of {rights.container}.")


def _trail(rights: Rights) -> Diagnosis:
    code = "permission_unified_audit_trail"
    if rights.trail is None:
        return failed(code, f"The user {rights.user} may not read UNIFIED_AUDIT_TRAIL.", rights.grant)
    missing = sorted(NEEDED - rights.trail)
    if missing:
        return failed(code, f"UNIFIED_AUDIT_TRAIL has no column {', '.join(missing)}.", None)
    utc = (
        "in UTC" if "EVENT_TIMESTAMP_UTC" in rights.trail else "in the time zone of the session, which is UTC"
    )
    return ok(code, f"UNIFIED_AUDIT_TRAIL can be read; its times are compared {utc}.")


def _unified_auditing(rights: Rights, settings: Settings) -> Diagnosis:
    code = "unified_auditing"
    mode = {True: "pure", False: "mixed", None: "unknown"}[settings.pure]
    if settings.policies:
        return ok(code, f"{len(settings.policies)} policies are enabled (mode of unified auditing: {mode}).")
    return failed(code, "No policy of unified auditing is enabled: nothing is recorded.", SESSIONS)


def _log_ins(rights: Rights, settings: Settings) -> Diagnosis:
    if settings.recorded("LOGON"):
        return ok("log_ins", "Log-ins of all users are recorded.")
    return warning("log_ins", "Log-ins that work are not recorded of all users.", SESSIONS)


def _log_offs(rights: Rights, settings: Settings) -> Diagnosis:
    if settings.recorded("LOGOFF"):
        return ok("log_offs", "Disconnections of all users are recorded.")
    return warning("log_offs", "Disconnections are not recorded of all users.", SESSIONS)


def _failed_log_ins(rights: Rights, settings: Settings) -> Diagnosis:
    if settings.recorded("LOGON", failure=True):
        return ok("failed_log_ins", "Failed log-ins of all users are recorded.")
    return warning(
        "failed_log_ins",
        "Failed log-ins are not recorded of all users.",
        "AUDIT POLICY ORA_LOGON_FAILURES WHENEVER NOT SUCCESSFUL;",
    )


def _statements(rights: Rights, settings: Settings) -> Diagnosis:
    if settings.statements:
        return ok("statements", f"Statements are recorded by {', '.join(settings.statements)}.")
    return warning(
        "statements",
        "No policy of your own records statements: only what the policies of Oracle name is recorded.",
        STATEMENTS.format(user=quoted(rights.user)),
    )


def _write_mode(settings: Settings) -> Diagnosis:
    code = "write_mode"
    if settings.version.startswith("Oracle Database 12c (12.1"):
        return warning(code, "12.1 keeps records in memory first, and may lose them in a crash.", IMMEDIATE)
    return ok(code, "Records are written at once.")


def _audit_source(rights: Rights, settings: Settings) -> str | None:
    found = []
    if Source.UNIFIED in rights.sources and rights.trail is not None:
        if settings.policies is None:
            found.append(f"UNIFIED_AUDIT_TRAIL of {rights.container}")
        elif settings.policies:
            names = ", ".join(sorted(policy.name for policy in settings.policies))
            found.append(f"UNIFIED_AUDIT_TRAIL of {rights.container}, policies {names}")
    if Source.TRADITIONAL in rights.sources and rights.traditional is not None:
        value = settings.audit_trail or "unknown"
        found.append(f"DBA_AUDIT_TRAIL of {rights.container}, audit_trail {value}")
    return "; ".join(found) or None
