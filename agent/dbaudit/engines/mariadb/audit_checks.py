"""What the settings of server_audit and of the general log leave out, and how to change that."""

from __future__ import annotations

from dbaudit.core.report import Diagnosis
from dbaudit.engine.findings import failed, ok, warning
from dbaudit.engines.mariadb.options import Source
from dbaudit.engines.mariadb.rights import Rights
from dbaudit.engines.mariadb.settings import KINDS_OF_STATEMENTS, AuditSettings
from dbaudit.engines.mariadb.sources import LOAD_PLUGIN
from dbaudit.engines.mariadb.stamps import FORMAT, SETTING, stamps_of

_SHORT_HISTORY_BYTES = 100_000_000
_SHORT_STATEMENT_BYTES = 1024


def connections(settings: AuditSettings) -> Diagnosis:
    code = "connections"
    if settings.tells_connections:
        return ok(code, "Connections and failed log-ins are recorded.")
    return warning(
        code,
        "Connections and failed log-ins are not recorded.",
        _events_with(settings, "CONNECT"),
    )


def statements(settings: AuditSettings) -> Diagnosis:
    code = "statements"
    kinds = settings.events & KINDS_OF_STATEMENTS
    if "QUERY" in kinds:
        return ok(code, "All statements are recorded.")
    if kinds:
        return warning(
            code,
            f"Only statements of the kind {', '.join(sorted(kinds))} are recorded.",
            _events_with(settings, "QUERY"),
        )
    return warning(code, "Statements are not recorded.", _events_with(settings, "QUERY"))


def left_out_users(settings: AuditSettings, own: str) -> Diagnosis:
    code = "left_out_users"
    if settings.included_users:
        return warning(
            code,
            f"Only statements of {', '.join(sorted(settings.included_users))} are recorded.",
            "SET GLOBAL server_audit_incl_users = '';",
        )
    excluded = settings.excluded_users - {own}
    if excluded:
        return warning(
            code,
            f"Statements of {', '.join(sorted(excluded))} are not recorded.",
            f"SET GLOBAL server_audit_excl_users = '{own}';"
            if own in settings.excluded_users
            else "SET GLOBAL server_audit_excl_users = '';",
        )
    return ok(code, "Statements of all users are recorded.")


def statement_length(settings: AuditSettings) -> Diagnosis:
    code = "statement_length"
    limit = settings.number("server_audit_query_log_limit", _SHORT_STATEMENT_BYTES)
    if limit > _SHORT_STATEMENT_BYTES:
        return ok(code, f"Statements are recorded up to {limit} bytes.")
    return warning(
        code,
        f"Statements are cut at {limit} bytes; those that may be cut say so in their detail.",
        "SET GLOBAL server_audit_query_log_limit = 65536; -- and the same in the configuration file",
    )


def time_stamps(settings: AuditSettings) -> Diagnosis | None:
    """Whether the times of records can be known; None if the server has no setting for their format."""
    code = "time_stamps"
    if settings.time_stamps is None:
        return None
    if stamps_of(settings.time_stamps) is not None:
        return ok(code, f"The time stamps of records are read as {settings.time_stamps}.")
    return failed(
        code,
        f"The time stamps of records, {settings.time_stamps!r}, do not say the year, the day and the minute: "
        "no record can be read, and all are put aside.",
        f"SET GLOBAL {SETTING} = '{FORMAT}'; -- and the same in the configuration file, where MariaDB "
        "Enterprise reads it alone",
    )


def writes_failed(settings: AuditSettings) -> Diagnosis:
    code = "writes_failed"
    if not settings.writes_failed:
        return ok(code, "server_audit has written every record since the server started.")
    reason = settings.status.get("server_audit_last_error") or "the server gives no reason"
    return warning(
        code,
        f"server_audit failed to write {settings.writes_failed} records since the server started: {reason}.",
        "Make room on the disk of server_audit_file_path.",
    )


def history(settings: AuditSettings) -> Diagnosis:
    """How much may be written while no agent reads before records are lost."""
    code = "history"
    size = settings.number("server_audit_file_rotate_size", 1_000_000)
    if settings.rotations == 0:
        return ok(code, "The file of server_audit is not rotated by the server.")
    kept = size * settings.rotations
    if kept >= _SHORT_HISTORY_BYTES:
        return ok(code, f"server_audit keeps {kept / 1e6:.0f} MB.")
    return warning(
        code,
        f"server_audit keeps only {kept / 1e6:.0f} MB: what a busy server writes in minutes. An agent that "
        "does not read for longer loses records.",
        "SET GLOBAL server_audit_file_rotate_size = 16000000; SET GLOBAL server_audit_file_rotations = 60; "
        "-- and the same in the configuration file",
    )


def file_size(settings: AuditSettings) -> Diagnosis:
    """LOAD_FILE returns no file that is larger than max_allowed_packet."""
    code = "file_size"
    size = settings.number("server_audit_file_rotate_size", 1_000_000)
    packet = settings.number("max_allowed_packet", 16 << 20)
    if settings.rotations and size + (1 << 16) < packet:
        return ok(code, "The file of server_audit stays smaller than max_allowed_packet.")
    return warning(
        code,
        f"The file of server_audit may grow beyond max_allowed_packet ({packet} bytes), and cannot be read "
        "over the connection then.",
        "SET GLOBAL server_audit_file_rotate_size = 1000000; SET GLOBAL server_audit_file_rotations = 60; "
        "-- and the same in the configuration file",
    )


def own_activity(settings: AuditSettings, own: str) -> Diagnosis:
    """Each reading over the connection is a statement that would be recorded itself."""
    code = "own_activity"
    if own in settings.excluded_users or settings.included_users:
        return ok(code, "server_audit does not record the agent's own statements.")
    return warning(
        code,
        "server_audit records the agent's own statements: they fill its files, and are left out here.",
        f"SET GLOBAL server_audit_excl_users = "
        f"'{','.join(sorted({*settings.excluded_users, own}))}'; -- and the same in the configuration file",
    )


def general_log_beside(settings: AuditSettings) -> Diagnosis:
    """While the general log is on, the user and the database in records of server_audit are less reliable."""
    code = "general_log_beside"
    if settings.value("general_log") != "ON":
        return ok(code, "The general log is off: it does not disturb server_audit.")
    return warning(
        code,
        "While the general log is on, server_audit writes statements after a change of the user on an open "
        "connection by the name of the former user, and may name no database or a wrong one.",
        "SET GLOBAL general_log = OFF; -- and in the configuration file",
    )


def general_log_emptied(rights: Rights) -> Diagnosis:
    code = "general_log_emptied"
    if rights.may_retire:
        return ok(code, "The table of the general log is emptied as it is read.")
    return warning(
        code,
        "The table of the general log grows without end, and reading it becomes slower and slower.",
        rights.retiring_grants,
    )


def better_source(settings: AuditSettings, rights: Rights, source: Source | None) -> Diagnosis:
    code = "better_source"
    if source is Source.FILE or source is Source.SYSLOG:
        return ok(code, "There is no better source.")
    if source is Source.REMOTE_FILE:
        return warning(
            code,
            "Over the connection each reading goes through the whole file, and the right FILE opens every "
            "file that the server may read.",
            "Run an agent on the server's host, in the group of the server.",
        )
    if settings.plugin_on:
        return warning(
            code,
            "server_audit records more than the general log, how statements ended above all, but what it "
            "writes cannot be read.",
            "Run an agent on the server's host, in the group of the server.",
        )
    return warning(
        code,
        "server_audit records more than the general log, how statements ended above all.",
        LOAD_PLUGIN,
    )


def _events_with(settings: AuditSettings, kind: str) -> str:
    kinds = settings.events | {kind}
    if kind == "QUERY":
        kinds -= KINDS_OF_STATEMENTS - {"QUERY"}
    return f"SET GLOBAL server_audit_events = '{','.join(sorted(kinds))}'; -- and in the configuration file"
