"""The connection test: what works, what is missing, and the exact remedy."""

from __future__ import annotations

import grp
import os
from collections.abc import Iterator
from pathlib import Path

from dbaudit.core.errors import ConfigurationError
from dbaudit.core.report import Diagnosis, DiagnosisStatus, TestReport
from dbaudit.engine.findings import encryption, failed, ok, skipped, warning
from dbaudit.engine.host_access import listed, reading
from dbaudit.engines.postgresql import log_checks, prefix_checks, statement_checks
from dbaudit.engines.postgresql.connection import ServerConnection
from dbaudit.engines.postgresql.failures import endpoint, quoted
from dbaudit.engines.postgresql.files import FileNames
from dbaudit.engines.postgresql.health import measure_latency_ms
from dbaudit.engines.postgresql.options import LogFormat, LogSource, Options
from dbaudit.engines.postgresql.records import LogFileFormat
from dbaudit.engines.postgresql.remedies import set_and_reload
from dbaudit.engines.postgresql.rights import Rights, read_rights
from dbaudit.engines.postgresql.settings import LogSettings, read_settings

NEWEST_MAJOR = 18


def test(connection: ServerConnection, options: Options) -> TestReport:
    """Find out what works and what is missing; changes nothing on the server.

    Raises TransientError when the connection is lost meanwhile.
    """
    latency_ms = measure_latency_ms(connection)
    rights = read_rights(connection)
    settings = read_settings(connection, rights, options)
    diagnoses = tuple(_diagnose(connection, rights, settings))
    return TestReport(
        reachable=True,
        success=all(diagnosis.status is not DiagnosisStatus.FAILED for diagnosis in diagnoses),
        latency_ms=latency_ms,
        version=f"PostgreSQL {settings.version}",
        permissions=rights.permissions,
        diagnoses=diagnoses,
        audit_source=_audit_source(settings),
    )


def check_source(connection: ServerConnection, rights: Rights, settings: LogSettings) -> Diagnosis | None:
    """Whether the log that is read is there, and can be read; None where too little is known to look."""
    if settings.format is None or not rights.suffice(settings.source):
        return None  # the health says so
    if settings.source is LogSource.LOCAL:
        return _local_files(settings, settings.format)
    return _remote_files(connection, rights, settings.format)


def _diagnose(connection: ServerConnection, rights: Rights, settings: LogSettings) -> Iterator[Diagnosis]:
    place = f"{endpoint(connection.target)}, database {rights.database}"
    yield ok("connection", f"Logged in to {place}, as {rights.role}.")
    yield _server_version(connection, settings)
    yield encryption(connection.target, tls_in_use=connection.tls_in_use)
    yield _least_privilege(rights)
    for name, (there, grant) in rights.needed(settings.source).items():
        code = f"permission_{name}"
        yield (
            ok(code, f"The right {name} is there.")
            if there
            else failed(code, f"The role {rights.role!r} lacks the right {name}.", grant)
        )
    collector = log_checks.logging_collector(settings)
    destination = log_checks.log_destination(settings)
    yield from (collector, destination)
    if settings.format in (LogFormat.STDERR, LogFormat.SYSLOG):
        yield prefix_checks.log_line_prefix(settings)
    if LogFormat.PGAUDIT_FILE.value in settings.written:
        yield log_checks.pgaudit_file(settings)
    if settings.format is LogFormat.SYSLOG:
        yield log_checks.syslog(settings)
    if not rights.suffice(settings.source):
        yield skipped("log_files", "a permission is missing")
    elif collector.status is DiagnosisStatus.FAILED:
        yield skipped("log_files", "logging_collector is off")
    elif settings.format is None:
        yield skipped("log_files", "log_destination has no log that can be read")
    elif settings.source is LogSource.LOCAL:
        yield _local_files(settings, settings.format)
    else:
        yield _remote_files(connection, rights, settings.format)
    yield log_checks.log_min_messages(settings)
    yield log_checks.log_connections(settings)
    yield log_checks.log_disconnections(settings)
    yield log_checks.log_min_error_statement(settings)
    yield log_checks.log_error_verbosity(settings)
    yield log_checks.lc_messages(settings)
    yield log_checks.log_timezone(settings)
    if rights.read_all_settings:
        yield log_checks.log_rotation(settings)
    else:
        yield skipped("log_rotation", "the right pg_read_all_settings is missing")
    yield statement_checks.pgaudit(settings)
    yield statement_checks.pgaudit_extension(settings, rights)
    yield statement_checks.pgaudit_classes(settings, rights)
    yield statement_checks.pgaudit_statement_text(settings)
    yield statement_checks.log_statement(settings, rights)
    if connection.target.capture_results:
        yield statement_checks.row_counts(settings)
    yield statement_checks.own_activity(settings, rights)
    yield statement_checks.audit_exemptions(settings, rights)
    yield _anything_recorded(settings)


def _server_version(connection: ServerConnection, settings: LogSettings) -> Diagnosis:
    code = "server_version"
    if not settings.product.startswith("PostgreSQL ") or "-YB-" in settings.product:
        product = " ".join(settings.product.split()[:3])
        return warning(code, f"{endpoint(connection.target)} is {product}, a relative of PostgreSQL.", None)
    if settings.major > NEWEST_MAJOR:
        return warning(code, f"PostgreSQL {settings.version} is newer than what was tried here.", None)
    return ok(code, f"PostgreSQL {settings.version} is supported.")


def _least_privilege(rights: Rights) -> Diagnosis:
    code = "least_privilege"
    if not rights.superuser:
        return ok(code, "The role is not a superuser.")
    return warning(
        code,
        f"The role {rights.role!r} is a superuser: far more than collecting needs.",
        "Make a role of its own for the agent, with the grants of the documentation.",
    )


def _remote_files(connection: ServerConnection, rights: Rights, log_format: LogFormat) -> Diagnosis:
    code = "log_files"
    path: str | None = None
    try:
        # A rotation may take the file away between the two statements.
        for _attempt in range(2):
            path = connection.value("SELECT pg_catalog.pg_current_logfile(%s)", [log_format.value])
            if path is None:
                return failed(
                    code,
                    f"The server has no {log_format.value} open: log_destination was changed and not loaded, "
                    "or the logging collector does not run.",
                    "SELECT pg_reload_conf(); -- or restart the server",
                )
            length = "SELECT octet_length(pg_catalog.pg_read_binary_file(%s, 0, 0, true))"
            if connection.value(length, [path]) is not None:
                return ok(code, f"{path} can be read over the connection.")
    except ConfigurationError as error:
        return failed(
            code,
            f"{path or 'The log'} cannot be read: {error.message}",
            f"GRANT pg_read_server_files TO {quoted(rights.role)}; "
            "-- for a log_directory outside the data directory that is not an absolute path",
        )
    return failed(code, f"The server's current log file {path} is not there.", "SELECT pg_rotate_logfile();")


def _local_files(settings: LogSettings, log_format: LogFormat) -> Diagnosis:
    code = "log_files"
    directory = Path(settings.local_directory or "")
    try:
        names = FileNames(LogFileFormat(log_format.value), settings.log_filename)
        with listed(directory, settings.limits) as entries:
            files = [(entry.stat().st_mtime, entry.name) for entry in entries if names.fit(entry.name)]
        for _modified, name in sorted(files)[-1:]:
            newest = directory / name
            with reading(newest, settings.limits) as file:
                file.read(1)
            return ok(code, f"{newest} can be read from the disk.")
    except ConfigurationError as error:
        return failed(code, error.message, error.remedy)
    except PermissionError as error:
        return failed(
            code,
            f"{error.filename} cannot be read by the agent's account.",
            _access_remedy(directory, collected=settings.options.log_file is None),
        )
    except OSError as error:
        return failed(
            code,
            f"{error.filename} cannot be read: {error.strerror}.",
            "Run the agent on the server's host, or set the option log_directory to where its log is here.",
        )
    return failed(
        code,
        f"{directory} holds no {log_format.value}.",
        "Set the option log_directory to where the log is here.",
    )


def _access_remedy(directory: Path, *, collected: bool) -> str:
    try:
        group = grp.getgrgid(directory.stat().st_gid).gr_name
    except (OSError, KeyError):
        group = "GROUP_OF_THE_SERVER"
    on_the_host = f"chmod g+rx {directory} && usermod --append --groups {group} ACCOUNT_OF_THE_AGENT"
    if not collected:
        return f"On the host: let a group of the agent's account read the file, and {on_the_host}"
    return f"{set_and_reload('log_file_mode', '0640')} -- and on the host: {on_the_host}"


def _anything_recorded(settings: LogSettings) -> Diagnosis:
    code = "audit_source"
    source = _audit_source(settings)
    if source is None:
        return skipped(code, "there is no log that can be read")
    recorded = settings.connections or settings.disconnections or statement_checks.statement_source(settings)
    if recorded:
        return ok(code, f"Events come from {source}.")
    return failed(
        code,
        "The server records nothing but errors: neither connections nor statements.",
        f"{set_and_reload('log_connections', 'on')} {set_and_reload('log_disconnections', 'on')}",
    )


def _audit_source(settings: LogSettings) -> str | None:
    if settings.format is None or not settings.collecting:
        return None
    way = "pg_read_binary_file"
    if settings.source is LogSource.LOCAL:
        way = f"the disk ({os.fspath(settings.local_directory or '')})"
    statements = statement_checks.statement_source(settings)
    return f"{settings.format.value} over {way}, {statements or 'connections only'}"
