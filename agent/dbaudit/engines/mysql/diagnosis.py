"""The connection test: what works, what is missing, and the exact remedy."""

from __future__ import annotations

import os
from collections.abc import Iterator

from dbaudit.core.database import Target
from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.core.host_limits import HostLimits
from dbaudit.core.report import Diagnosis, DiagnosisStatus, TestReport
from dbaudit.engine.findings import encryption, failed, ok, skipped, warning
from dbaudit.engine.host_access import may_read
from dbaudit.engines.mysql.audit_borders import AuditFormat
from dbaudit.engines.mysql.audit_file import read_format
from dbaudit.engines.mysql.options import Options, Source
from dbaudit.engines.mysql.server import RETIRING_RIGHTS, Server
from dbaudit.engines.mysql_protocol import general_log_readers
from dbaudit.engines.mysql_protocol.connection import ServerConnection
from dbaudit.engines.mysql_protocol.failures import account
from dbaudit.engines.mysql_protocol.general_log_readers import SCHEMA
from dbaudit.engines.mysql_protocol.network import endpoint

OLDEST, NEWEST = (5, 6), (9, 99)
_RIGHTS_TOO_MANY = ("SUPER", "INSERT", "UPDATE", "DELETE", "CREATE USER", "SHUTDOWN", "FILE")


def test(connection: ServerConnection, server: Server, options: Options) -> TestReport:
    """Find out what works and what is missing; changes nothing on the server.

    Raises TransientError when the connection is lost meanwhile.
    """
    latency_ms = connection.measure_latency_ms()
    me = account(*_current_user(connection))
    source = server.source(options)
    diagnoses = tuple(_diagnose(connection, server, options, source, me))
    return TestReport(
        reachable=True,
        success=all(diagnosis.status is not DiagnosisStatus.FAILED for diagnosis in diagnoses),
        latency_ms=latency_ms,
        version=server.product,
        permissions=_permissions(server, source),
        diagnoses=diagnoses,
        audit_source=_audit_source(server, source, options),
    )


def declared_as_another_type(target: Target, server: Server) -> ConfigurationError:
    """The error for a MariaDB that was declared with type mysql."""
    return ConfigurationError(
        ErrorCode.WRONG_PROTOCOL,
        f"{endpoint(target)} is {server.product}, not MySQL.",
        remedy="Declare the database again with type mariadb.",
    )


def general_log_remedy(server: Server) -> str:
    """The statements that have the server write mysql.general_log, in the way that outlives a restart."""
    outputs = [name for name in server.variables.get("log_output", "").upper().split(",") if name]
    kept = [name for name in outputs if name not in ("NONE", "TABLE")]
    output = ",".join([*kept, "TABLE"])
    if server.release >= (8, 0):
        return f"SET PERSIST log_output = '{output}'; SET PERSIST general_log = ON;"
    return (
        f"SET GLOBAL log_output = '{output}'; SET GLOBAL general_log = ON; "
        f"-- and under [mysqld] in my.cnf: log_output = {output} and general_log = ON"
    )


def _diagnose(
    connection: ServerConnection, server: Server, options: Options, source: Source | None, me: str
) -> Iterator[Diagnosis]:
    place = endpoint(connection.target)
    yield ok("connection", f"Logged in to {place}, as {me}.")
    yield _product(connection, server)
    if server.mariadb:
        yield skipped("audit_source", "it is not MySQL")
        return
    yield encryption(connection.target, tls_in_use=connection.tls_in_use)
    yield _least_privilege(server)
    if source is Source.AUDIT_LOG:
        yield from _audit_log(server, me)
    elif source is Source.AUDIT_FILE:
        yield _audit_file(options.audit_file or "", connection.target.limits)
        yield from _records(server, options.audit_file or "", connection.target.limits)
    elif source is Source.GENERAL_LOG:
        yield from _general_log(connection, server, me)
    elif source is Source.ERROR_LOG:
        yield from _error_log(server, me)
    yield _choice(server, source, me)
    if source is not None:
        yield _better_source(server, source, me)
    if connection.target.capture_results and source is Source.GENERAL_LOG:
        yield warning(
            "row_counts",
            "The general log records neither row counts nor whether a statement worked.",
            "Use the audit log of MySQL Enterprise or Percona Server.",
        )


def _product(connection: ServerConnection, server: Server) -> Diagnosis:
    code = "server_version"
    if server.mariadb:
        wrong = declared_as_another_type(connection.target, server)
        return failed(code, wrong.message, wrong.remedy)
    if server.release < OLDEST:
        return warning(code, f"{server.product} is older than what was tried here.", None)
    if server.release > NEWEST:
        return warning(code, f"{server.product} is newer than what was tried here.", None)
    return ok(code, f"{server.product} is supported.")


def _least_privilege(server: Server) -> Diagnosis:
    code = "least_privilege"
    found = [right for right in _RIGHTS_TOO_MANY if server.grants.allow(right)]
    if not found:
        return ok(code, "The account has no rights on everything.")
    return warning(
        code,
        f"The account has {', '.join(found)} on everything: far more than collecting needs.",
        "Make an account of its own for the agent, with the grants of the documentation.",
    )


def _general_log(connection: ServerConnection, server: Server, me: str) -> Iterator[Diagnosis]:
    if server.general_log_written:
        yield ok("general_log", "The general log is on and is written to the table mysql.general_log.")
    else:
        yield failed(
            "general_log", "The table mysql.general_log is not written to.", general_log_remedy(server)
        )
    code = "permission_select_general_log"
    if server.general_log_readable:
        yield ok(code, "The table mysql.general_log can be read.")
    else:
        grant = f"GRANT SELECT ON mysql.general_log TO {me};"
        yield failed(code, "The account lacks the right SELECT on mysql.general_log.", grant)
    yield _retiring(server, me)
    yield general_log_readers.diagnosis(connection)
    if server.is_on("log_raw"):
        yield warning(
            "log_raw",
            "The server writes passwords of CREATE USER and the like into its log in clear (log_raw).",
            "Remove log-raw from the configuration of the server, and restart it.",
        )


def _retiring(server: Server, me: str) -> Diagnosis:
    code = "general_log_emptied"
    if server.may_retire:
        return ok(code, f"The table is emptied as it is read, through the schema {SCHEMA}.")
    why = "and the table grows without limit: each reading goes through all of it."
    rights = ", ".join(RETIRING_RIGHTS)
    if server.is_on("read_only"):
        return warning(code, f"The server is read_only, {why}", "SET GLOBAL read_only = OFF;")
    remedies = []
    if not server.schema_there:
        remedies.append(f"CREATE DATABASE IF NOT EXISTS {SCHEMA};")
    if server.grants.missing(RETIRING_RIGHTS, "mysql", "general_log"):
        remedies.append(f"GRANT {rights} ON mysql.general_log TO {me};")
    if server.grants.missing(RETIRING_RIGHTS, SCHEMA):
        remedies.append(f"GRANT {rights} ON {SCHEMA}.* TO {me};")
    if not server.binary_log_avoidable:
        right = "SESSION_VARIABLES_ADMIN" if server.release >= (8, 0) else "SUPER"
        remedies.append(f"GRANT {right} ON *.* TO {me};")
    return warning(code, f"The account may not empty the table, {why}", " ".join(remedies))


def _audit_file(path: str, limits: HostLimits | None) -> Diagnosis:
    code = "audit_file"
    try:
        file_format = read_format(path, limits)
    except ConfigurationError as error:
        return failed(code, error.message, error.remedy)
    if not may_read(path, limits, os.F_OK):
        return failed(
            code, f"There is no file {path} on the agent's host.", "Run the agent on the server's host."
        )
    if file_format is None:
        return warning(code, f"{path} is empty: its format shows once something is written.", None)
    return ok(code, f"{path} is read from the disk, as {file_format.value}.")


def _records(server: Server, path: str, limits: HostLimits | None) -> Iterator[Diagnosis]:
    """Whether the file says which of its records are of one statement; XML of Percona's filter may not."""
    try:
        in_xml = read_format(path, limits) is AuditFormat.XML
    except ConfigurationError:
        return
    if not (in_xml and server.audit_log_in_local_time):
        return
    mode = server.audit_log_event_mode
    if mode == "REDUCED":
        yield ok("audit_records", "The audit log has one record for each statement.")
        return
    yield warning(
        "audit_records",
        "The audit log may have several records for a statement, which in XML do not say that they are.",
        "Set audit_log_filter_format = JSON in the configuration of the server, and restart it."
        if mode is None
        else "SET PERSIST audit_log_filter.event_mode = REDUCED;",
    )


def _audit_log(server: Server, me: str) -> Iterator[Diagnosis]:
    if server.audit_log_read:
        yield ok("audit_log", "The audit log can be read by audit_log_read().")
    elif server.audit_log_denied:
        right = "AUDIT_ADMIN" if server.release >= (8, 0) else "SUPER"
        yield failed(
            "audit_log",
            f"The account lacks the right {right}, and may not call audit_log_read().",
            f"GRANT {right} ON *.* TO {me};",
        )
    else:
        yield failed(
            "audit_log",
            "The server has no function audit_log_read().",
            "Set the option source to auto, or install the audit log with its functions.",
        )


def _error_log(server: Server, me: str) -> Iterator[Diagnosis]:
    code = "permission_select_error_log"
    if server.error_log_readable:
        yield ok(code, "The table performance_schema.error_log can be read.")
    else:
        grant = f"GRANT SELECT ON performance_schema.error_log TO {me};"
        yield failed(code, "The account may not read performance_schema.error_log.", grant)
    code = "log_error_verbosity"
    if server.variables.get(code) == "3":
        yield ok(code, "Refused log-ins are written to the error log.")
    else:
        yield failed(code, "Refused log-ins are not written to the error log.", f"SET PERSIST {code} = 3;")


def _choice(server: Server, source: Source | None, me: str) -> Diagnosis:
    code = "audit_source"
    if source is None:
        readable = "" if server.general_log_readable else f"GRANT SELECT ON mysql.general_log TO {me}; "
        written = "" if server.general_log_written else general_log_remedy(server)
        denied = server.audit_log_denied
        remedy = f"GRANT AUDIT_ADMIN ON *.* TO {me};" if denied else f"{readable}{written}".strip()
        return failed(code, "The server offers the agent's account no source of audit records.", remedy)
    return ok(code, f"Events come from {source.value}.")


def _better_source(server: Server, source: Source, me: str) -> Diagnosis:
    code = "better_source"
    if source is Source.GENERAL_LOG and server.audit_log_denied:
        return warning(
            code,
            "The server has an audit log, which records more than the general log that is read.",
            f"GRANT AUDIT_ADMIN ON *.* TO {me};",
        )
    if source is Source.ERROR_LOG:
        return warning(
            code, "The error log records failed log-ins, and nothing else.", general_log_remedy(server)
        )
    return ok(code, "The server offers no better source.")


def _permissions(server: Server, source: Source | None) -> dict[str, bool]:
    if source is Source.AUDIT_LOG:
        return {"audit_log_read": server.audit_log_read}
    if source is Source.ERROR_LOG:
        return {"select_error_log": server.error_log_readable}
    if source is Source.AUDIT_FILE:
        return {}
    return {"select_general_log": server.general_log_readable, "empty_general_log": server.may_retire}


def _audit_source(server: Server, source: Source | None, options: Options) -> str | None:
    if source is Source.AUDIT_LOG:
        return "audit_log_read()"
    if source is Source.AUDIT_FILE:
        return f"the audit file {options.audit_file}"
    if source is Source.GENERAL_LOG:
        emptied = "emptied as it is read" if server.may_retire else "never emptied"
        return f"mysql.general_log, {emptied}"
    return "performance_schema.error_log, failed log-ins only" if source is Source.ERROR_LOG else None


def _current_user(connection: ServerConnection) -> tuple[str, str]:
    name, _at, host = str(connection.value("SELECT CURRENT_USER()")).rpartition("@")
    return name, host
