"""The connection test: what works, what is missing, and the exact remedy."""

from __future__ import annotations

from collections.abc import Iterator

from dbaudit.core.database import SslMode
from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.core.report import Diagnosis, DiagnosisStatus, TestReport
from dbaudit.engine.findings import encryption, failed, ok, skipped, warning
from dbaudit.engines.sqlserver import facts as versions
from dbaudit.engines.sqlserver.connection import ServerConnection
from dbaudit.engines.sqlserver.facts import ServerFacts
from dbaudit.engines.sqlserver.files import FilesGoneError, TrailFiles
from dbaudit.engines.sqlserver.health import lowest_free_ratio, measure_latency_ms
from dbaudit.engines.sqlserver.kinds import Kind
from dbaudit.engines.sqlserver.names import quoted
from dbaudit.engines.sqlserver.options import Options, Source
from dbaudit.engines.sqlserver.recorded import recorded_by_audits, recorded_by_session
from dbaudit.engines.sqlserver.records import MANAGED_INSTANCE, SQL_DATABASE
from dbaudit.engines.sqlserver.rights import Right, Rights, read_rights
from dbaudit.engines.sqlserver.tds import endpoint
from dbaudit.engines.sqlserver.trails import Trail, chosen_kind, no_trail, trails_of


def test(connection: ServerConnection, options: Options, facts: ServerFacts) -> TestReport:
    """Find out what works and what is missing; changes nothing on the server.

    Raises TransientError when the connection is lost meanwhile.
    """
    latency_ms = measure_latency_ms(connection)
    rights = read_rights(connection)
    kind = chosen_kind(connection, rights, options)
    trails: list[Trail] = []
    problem: ConfigurationError | None = None
    try:
        trails = trails_of(connection, rights, options, kind)
    except ConfigurationError as error:
        problem = error
    diagnoses = (
        *_of_the_connection(connection, facts, rights),
        *_of_the_rights(rights, kind),
        *_of_the_source(connection, options, rights, kind, trails, problem),
        *_row_counts(connection, facts, kind, trails),
        _disk(connection, rights),
    )
    return TestReport(
        reachable=True,
        success=all(diagnosis.status is not DiagnosisStatus.FAILED for diagnosis in diagnoses),
        latency_ms=latency_ms,
        version=facts.version,
        permissions={right.name: right.there for right in _rights_for(rights, kind)},
        diagnoses=diagnoses,
        audit_source=_audit_source(kind, trails),
    )


def _rights_for(rights: Rights, kind: Kind) -> tuple[Right, ...]:
    return rights.for_audits if kind is Kind.AUDIT else (rights.see_state,)


def _audit_source(kind: Kind, trails: list[Trail]) -> str | None:
    if not trails:
        return None
    names = ", ".join(trail.name for trail in trails)
    function = "sys.fn_get_audit_file" if kind is Kind.AUDIT else "sys.fn_xe_file_target_read_file"
    what = "SQL Server Audit" if kind is Kind.AUDIT else "Extended Events session"
    return f"{what} {names} over {function}"


def _of_the_connection(
    connection: ServerConnection, facts: ServerFacts, rights: Rights
) -> Iterator[Diagnosis]:
    target = connection.target
    yield ok(
        "connection",
        f"Logged in to {endpoint(target)}, database {facts.database}, as {facts.login}, "
        f"through {connection.driver_name}.",
    )
    yield _server_version(facts)
    yield encryption(target, tls_in_use=target.ssl_mode is not SslMode.DISABLE)
    yield _least_privilege(rights)
    yield _own_activity(facts)


def _server_version(facts: ServerFacts) -> Diagnosis:
    code = "server_version"
    if facts.cloud:
        return warning(code, f"This is {facts.cloud}, which was not tried.", None)
    if not versions.OLDEST_MAJOR <= facts.major <= versions.NEWEST_MAJOR:
        return warning(
            code, f"{facts.version} is not one of the versions that this was made for: 2016 to 2025.", None
        )
    return ok(code, f"{facts.version}, {facts.edition}, is supported.")


def _least_privilege(rights: Rights) -> Diagnosis:
    code = "least_privilege"
    if rights.sysadmin:
        return warning(
            code,
            f"The login {rights.login!r} is a sysadmin: far more than collecting needs.",
            f"ALTER SERVER ROLE sysadmin DROP MEMBER {quoted(rights.login)}; -- and the grants of the "
            "documentation",
        )
    if not rights.finer and rights.held["CONTROL SERVER"]:
        return warning(
            code,
            "Before SQL Server 2022 only CONTROL SERVER opens audit files, which opens everything else too.",
            "Where that is too much: read an Extended Events session (option source: extended_events) with "
            "VIEW SERVER STATE alone.",
        )
    return ok(code, f"The login {rights.login!r} is no sysadmin.")


def _own_activity(facts: ServerFacts) -> Diagnosis:
    return ok(
        "own_activity",
        f"Left out: what the login {facts.login} does under the application name {facts.application}.",
    )


def _of_the_rights(rights: Rights, kind: Kind) -> Iterator[Diagnosis]:
    if kind is Kind.AUDIT:
        yield _needed(rights, rights.read_audit, "reading audit files")
        yield _needed(rights, rights.see_audits, "seeing which audits there are")
        if rights.see_audit_status.name == rights.see_state.name:
            yield _wished(rights, rights.see_state, "seeing which file is written now, and the disk space")
        else:
            yield _wished(rights, rights.see_audit_status, "seeing which file is written now")
            yield _wished(rights, rights.see_state, "measuring the disk space")
    else:
        yield _needed(rights, rights.see_state, "reading Extended Events")


def _needed(rights: Rights, right: Right, purpose: str) -> Diagnosis:
    code = f"permission_{right.name}"
    if right.there:
        return ok(code, f"The right for {purpose} is there.")
    return failed(
        code, f"The login {rights.login!r} lacks the right {right.name}, for {purpose}.", right.grant
    )


def _wished(rights: Rights, right: Right, purpose: str) -> Diagnosis:
    found = _needed(rights, right, purpose)
    if found.status is DiagnosisStatus.OK:
        return found
    return warning(found.code, found.detail, found.remedy)


def _of_the_source(
    connection: ServerConnection,
    options: Options,
    rights: Rights,
    kind: Kind,
    trails: list[Trail],
    problem: ConfigurationError | None,
) -> Iterator[Diagnosis]:
    if problem is not None and problem.code is ErrorCode.PERMISSION_MISSING:
        yield skipped("audit_source", "a right is missing")
        return
    if not trails:
        missing = problem or no_trail(options, kind)
        yield failed("audit_source", missing.message, missing.remedy)
        return
    files = TrailFiles(connection)
    for trail in trails:
        yield _readable(files, trail)
        yield from _state_of(trail)
    if kind is Kind.AUDIT:
        yield from recorded_by_audits(connection, trails)
    else:
        yield from recorded_by_session(connection, trails[0])
    yield _better_source(options, rights, kind)


def _row_counts(
    connection: ServerConnection, facts: ServerFacts, kind: Kind, trails: list[Trail]
) -> Iterator[Diagnosis]:
    azure = facts.engine_edition in (SQL_DATABASE, MANAGED_INSTANCE)
    if connection.target.capture_results and kind is Kind.AUDIT and trails and not azure:
        yield warning(
            "row_counts",
            "SQL Server Audit does not record how many rows a statement touched.",
            "Read an Extended Events session instead: option source: extended_events.",
        )


def _readable(files: TrailFiles, trail: Trail) -> Diagnosis:
    code = "audit_files"
    try:
        oldest = files.oldest(trail)
    except FilesGoneError:
        return warning(
            code,
            f"{trail.pattern} names no file yet.",
            f"ALTER SERVER AUDIT {quoted(trail.name)} WITH (STATE = ON);" if not trail.enabled else None,
        )
    except ConfigurationError as error:
        return failed(code, f"{trail.pattern} cannot be read: {error.message}", error.remedy)
    begins = f"; the oldest record is in {oldest.file}" if oldest else "; nothing is recorded yet"
    return ok(code, f"{trail.pattern} can be read{begins}.")


def _state_of(trail: Trail) -> Iterator[Diagnosis]:
    if trail.kind is Kind.EXTENDED_EVENTS:
        if trail.dropped_buffers:
            yield warning(
                "event_loss",
                f"The session {trail.name!r} has dropped {trail.dropped_buffers} buffers of events since it "
                "started: the server could not write them in time.",
                f"ALTER EVENT SESSION {quoted(trail.name)} ON SERVER WITH (MAX_MEMORY = 16 MB); "
                "-- or fewer events",
            )
        return
    if not trail.enabled:
        yield warning(
            "audit_enabled",
            f"The audit {trail.name!r} is switched off.",
            f"ALTER SERVER AUDIT {quoted(trail.name)} WITH (STATE = ON);",
        )
    elif trail.status not in (None, "STARTED"):
        yield warning(
            "audit_enabled",
            f"The audit {trail.name!r} is switched on, and its state is {trail.status}.",
            f"ALTER SERVER AUDIT {quoted(trail.name)} WITH (STATE = OFF); "
            f"ALTER SERVER AUDIT {quoted(trail.name)} WITH (STATE = ON); -- and read the server's error log",
        )
    if trail.on_failure == "CONTINUE" and trail.queue_delay_ms:
        yield ok(
            "audit_loss",
            f"The audit {trail.name!r} may lose its last {trail.queue_delay_ms} ms in a crash of the server, "
            "and goes on when it cannot write (ON_FAILURE = CONTINUE).",
        )


def _better_source(options: Options, rights: Rights, kind: Kind) -> Diagnosis:
    code = "better_source"
    if kind is Kind.AUDIT:
        return ok(code, "SQL Server Audit is the best source: complete, and with the client's address.")
    why = "as the options say" if options.source is Source.EXTENDED_EVENTS else "for want of an audit"
    return ok(
        code,
        f"An Extended Events session is read, {why}. SQL Server Audit would record refused permissions and "
        f"the client's address too; it needs {rights.read_audit.name}.",
    )


def _disk(connection: ServerConnection, rights: Rights) -> Diagnosis:
    code = "disk_space"
    ratio = lowest_free_ratio(connection, rights)
    if ratio is None:
        return skipped(code, f"the right {rights.see_state.name} is missing")
    return ok(code, f"The fullest volume with files of databases has {ratio:.0%} free.")
