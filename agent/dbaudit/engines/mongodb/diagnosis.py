"""The connection test: what works, what is missing, and the exact remedy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dbaudit.core.database import SslMode
from dbaudit.core.errors import ConfigurationError, DbauditError
from dbaudit.core.host_limits import HostLimits
from dbaudit.core.report import Diagnosis, DiagnosisStatus, TestReport
from dbaudit.engine.findings import encryption, failed, ok, skipped, warning
from dbaudit.engine.host_access import reading
from dbaudit.engines.mongodb import audit_files
from dbaudit.engines.mongodb.health import measure_latency_ms
from dbaudit.engines.mongodb.members import Member, named_members
from dbaudit.engines.mongodb.options import LogSource, Members, Options
from dbaudit.engines.mongodb.probing import AuditDestination, Probe, probe
from dbaudit.engines.mongodb.profiler import profiled_databases
from dbaudit.engines.mongodb.remedies import quoted
from dbaudit.engines.mongodb.rights import Rights, read_rights

OLDEST, NEWEST = 5, 8
_UNASKED = {"getLog", "getCmdLineOpts", "getParameter", "serverStatus"}
"""Without these rights the agent cannot find out what the server offers."""


def test(member: Member, options: Options) -> TestReport:
    """Find out what works and what is missing; changes nothing on the server.

    Raises TransientError when the connection is lost meanwhile.
    """
    connection = member.connection()
    latency_ms = measure_latency_ms(connection)
    rights = read_rights(connection, member.target.database)
    version = str(connection.command({"buildInfo": 1}).get("version", "?"))
    found: Probe | None = None
    if {name for name, there in rights.permissions.items() if there} >= _UNASKED:
        found = probe(connection, options, declared=True)
    diagnoses = tuple(_diagnose(member, options, rights, found, version))
    return TestReport(
        reachable=True,
        success=all(diagnosis.status is not DiagnosisStatus.FAILED for diagnosis in diagnoses),
        latency_ms=latency_ms,
        version=found.name if found is not None else f"MongoDB {version}",
        permissions=rights.permissions,
        diagnoses=diagnoses,
        audit_source=_audit_source(found) if found is not None else None,
    )


def _diagnose(
    member: Member, options: Options, rights: Rights, found: Probe | None, version: str
) -> Iterator[Diagnosis]:
    who = f"{rights.user}, a user of the database {rights.user_database}" if rights.user else "nobody"
    yield ok("connection", f"Logged in to {member.place}, as {who}.")
    yield _server_version(member, found, version)
    yield encryption(member.target, tls_in_use=member.target.ssl_mode is not SslMode.DISABLE)
    yield _authorization(member, rights)
    for name, there in rights.permissions.items():
        code = f"permission_{name}"
        yield (
            ok(code, f"The right {name} is there.")
            if there
            else failed(code, f"The user {rights.user!r} lacks the right {name}.", rights.grant)
        )
    if found is None:
        for code in ("audit_log", "server_log", "quiet", "profiler", "members", "audit_source"):
            yield skipped(code, "a permission is missing")
        return
    yield _audit_log(found, options, member.target.limits)
    yield _server_log(found, options, member.target.limits)
    yield _quiet(found)
    yield _profiler(member, rights, found)
    yield _members(member, options)
    yield ok("audit_source", f"Events come from {_audit_source(found)}.")


def _server_version(member: Member, found: Probe | None, version: str) -> Diagnosis:
    code = "server_version"
    major = int(version.partition(".")[0]) if version.partition(".")[0].isdecimal() else 0
    if found is not None and found.edition == "FerretDB":
        return warning(code, f"{member.place} is FerretDB, a relative of MongoDB.", None)
    if major < OLDEST:
        return warning(
            code,
            f"MongoDB {version} is older than what is supported (from {OLDEST} on); it is read all the same.",
            f"Upgrade the server to MongoDB {OLDEST} or later.",
        )
    if major > NEWEST:
        return warning(code, f"MongoDB {version} is newer than the engine ({OLDEST} to {NEWEST}).", None)
    return ok(code, f"MongoDB {version} is supported.")


def _authorization(member: Member, rights: Rights) -> Diagnosis:
    code = "least_privilege"
    if not rights.authorization:
        return warning(
            code,
            f"{member.place} asks nobody for a password: everybody who reaches it may do everything.",
            "Set security.authorization to enabled in the server's configuration, and restart it.",
        )
    if rights.too_many:
        roles = ", ".join(sorted(rights.roles))
        return warning(
            code,
            f"The user {rights.user!r} has far more rights than collecting needs: {roles}.",
            "Make a user of its own for the agent, with the role clusterMonitor alone.",
        )
    return ok(code, "The user has no more rights than collecting needs.")


def _audit_log(found: Probe, options: Options, limits: HostLimits | None) -> Diagnosis:
    code = "audit_log"
    destination = found.audit_destination
    if destination is AuditDestination.NONE:
        if found.edition == "Community":
            return skipped(code, "MongoDB Community has no audit log")
        return warning(
            code,
            "The audit log is off: log-ins and refusals come from the server's log, and changes of users and "
            "collections from nowhere but the profiler.",
            "Set auditLog.destination to file, auditLog.format to JSON and auditLog.path in the server's "
            "configuration, and restart it.",
        )
    if destination is AuditDestination.BSON_FILE:
        report = failed if options.audit_log_path or options.log_source is LogSource.LOCAL else warning
        return report(
            code,
            f"The audit log {found.audit_written_to} is in BSON, which cannot be read here.",
            "Set auditLog.format to JSON in the server's configuration, and restart it.",
        )
    if destination is AuditDestination.ELSEWHERE:
        return warning(
            code,
            "The audit log goes to syslog or to the console, where it cannot be read.",
            "Set auditLog.destination to file, auditLog.format to JSON and auditLog.path in the server's "
            "configuration, and restart it.",
        )
    if found.audit_path is None:
        return warning(
            code,
            f"The audit log {found.audit_written_to} is a file of the server's host, which cannot be read "
            "from here: no command of the server gives it.",
            "Run an agent on the server's host, in the group of the server's account, with the folder in its "
            "local_paths; or mount the folder and set the option audit_log_path.",
        )
    problem = _unreadable(code, found.audit_path, "audit_log_path", limits)
    if problem is not None:
        return problem
    try:
        audit_files.check(found.audit_path, limits)
    except ConfigurationError as error:
        return failed(code, error.message, error.remedy)
    if found.audit_filter:
        return warning(
            code,
            f"{found.audit_path} can be read, but auditLog.filter leaves out a part; log-ins are read from "
            "the server's log as well, and may be reported twice.",
            "Remove auditLog.filter, or let it pass the types authenticate and authCheck.",
        )
    if not found.audit_successes:
        return ok(
            code,
            f"{found.audit_path} can be read. Statements that were allowed are not in it "
            "(auditAuthorizationSuccess is off): they come from the profiler.",
        )
    return ok(code, f"{found.audit_path} can be read, with every statement in it.")


def _server_log(found: Probe, options: Options, limits: HostLimits | None) -> Diagnosis:
    code = "server_log"
    if found.log_path is not None:
        problem = _unreadable(code, found.log_path, "log_path", limits)
        if problem is not None:
            return problem
        return ok(code, f"{found.log_path} can be read from the disk: nothing is lost.")
    if options.log_source is LogSource.LOCAL:
        return failed(
            code,
            f"The server writes no log file (systemLog.destination is {found.log_destination}).",
            "Set systemLog.destination to file and systemLog.path in the server's configuration, or use "
            "log_source: auto.",
        )
    return warning(
        code,
        "The server's log is read through getLog, which keeps the last 1024 lines in memory: what a busy "
        "server writes beyond that between two readings is lost, and reported as a gap.",
        "Run an agent on the server's host, where the log file can be read, with its folder in local_paths.",
    )


def _quiet(found: Probe) -> Diagnosis:
    if not found.quiet:
        return ok("quiet", "Connections are logged.")
    return warning(
        "quiet",
        "systemLog.quiet is on: the server logs no connections.",
        "db.adminCommand({ setParameter: 1, quiet: false }) // and set systemLog.quiet to false",
    )


def _profiler(member: Member, rights: Rights, found: Probe) -> Diagnosis:
    code = "profiler"
    if found.audit_path is not None and found.audit_successes:
        return skipped(code, "the audit log records every statement")
    if found.mongos:
        return skipped(code, "a mongos has no profiler; declare the shards as well")
    if not rights.permissions["listDatabases"]:
        return skipped(code, "the right listDatabases is missing")
    levels = profiled_databases(member.connection())
    everything = sorted(name for name, level in levels.items() if level >= 2)
    slow = sorted(name for name, level in levels.items() if level == 1)
    wanted = member.target.database
    remedy = f"db.getSiblingDB({quoted(wanted)}).setProfilingLevel(2)"
    if everything:
        message = f"Every statement is recorded in {', '.join(everything)}."
        return ok(code, f"{message} Only slow ones in {', '.join(slow)}." if slow else message)
    if slow:
        return warning(code, f"Only slow statements are recorded, in {', '.join(slow)}.", remedy)
    return warning(
        code,
        "The profiler is off in every database: only slow statements are recorded.",
        remedy,
    )


def _members(member: Member, options: Options) -> Diagnosis:
    code = "members"
    try:
        named = named_members(member)
    except DbauditError as error:
        return warning(code, error.message, None)
    others = [name for name in named.members if name != named.me]
    if not others:
        return ok(code, "The server is read alone: it is no member of a replica set with others.")
    if options.members is Members.DECLARED:
        return warning(
            code,
            f"Only {named.me} is read, and not {', '.join(others)}: what is done there is not recorded.",
            "Set the option members to all.",
        )
    problems = {}
    for name in others:
        other = Member(member.target, name)
        try:
            other.connection()
        except DbauditError as error:
            problems[name] = error.message
        finally:
            other.drop()
    if problems:
        return warning(
            code,
            f"Not every member of the replica set can be read: {' '.join(problems.values())}",
            "Start the member, or let the agent reach it by the name that rs.conf() has for it.",
        )
    return ok(code, f"Every member can be read: {', '.join(named.members)}.")


def _unreadable(code: str, path: Path, option: str, limits: HostLimits | None) -> Diagnosis | None:
    try:
        with reading(path, limits) as file:
            file.read(1)
    except ConfigurationError as error:
        return failed(code, error.message, error.remedy)
    except OSError as error:
        message = f"{path} cannot be read by the agent: {error.strerror}."
        return failed(code, message, _readable_remedy(path, option))
    return None


def _readable_remedy(path: Path, option: str) -> str:
    return (
        f"chmod g+r {path} && chmod g+rx {path.parent} && usermod -aG mongodb ACCOUNT_OF_THE_AGENT "
        f"-- or set the option {option} to where the file is here."
    )


def _audit_source(found: Probe) -> str:
    log = f"the server log {found.log_path}" if found.log_path is not None else "getLog"
    if found.audit_path is not None:
        statements = "" if found.audit_successes else " and the profiler"
        return f"the audit log {found.audit_path}, with {log}{statements}"
    return f"{log} and the profiler" if not found.mongos else log
