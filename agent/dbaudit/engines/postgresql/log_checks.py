"""The steps of the test that concern the server's log: that it is there, what it holds, and its form."""

from __future__ import annotations

import re

from dbaudit.core.report import Diagnosis
from dbaudit.engine.findings import failed, ok, skipped, warning
from dbaudit.engines.postgresql.messages import LANGUAGES
from dbaudit.engines.postgresql.options import LogFormat
from dbaudit.engines.postgresql.remedies import set_and_reload, set_system
from dbaudit.engines.postgresql.settings import CONNECTION_ASPECTS, LogSettings
from dbaudit.engines.postgresql.times import is_known

JSONLOG_SINCE = 15
ASPECTS_SINCE = 18

# From the most talkative to the most silent, as log_min_messages orders them: LOG stands above ERROR there.
_LEVELS = (
    "debug5",
    "debug4",
    "debug3",
    "debug2",
    "debug1",
    "info",
    "notice",
    "warning",
    "error",
    "log",
    "fatal",
    "panic",
)
_UTC = frozenset({"utc", "uct", "gmt", "zulu", "universal", "etc/utc", "etc/uct", "etc/gmt", "etc/universal"})

# Escapes of strftime after which a file name comes back: within a day, a week, a month, a year, or never.
_YEAR, _YEARLY, _MONTHLY, _WEEKLY = "YyGgsc", "jmbBUWVh", "de", "aAuw"
_ALL_AT_ONCE = "DFx"


def logging_collector(settings: LogSettings) -> Diagnosis:
    code = "logging_collector"
    if settings.options.log_file is not None:
        return ok(code, f"The log is read from {settings.options.log_file}, whatever writes it.")
    if settings.options.log_format is LogFormat.PGAUDIT_FILE:
        return skipped(code, "the extension pgauditlogtofile writes the files that are read")
    if settings.collecting:
        return ok(code, "The server collects its log in files.")
    waiting = settings.own[code].pending_restart
    return failed(
        code,
        "The server does not collect its log in files (logging_collector is off)"
        + (", until it is restarted." if waiting else "."),
        "Restart the server." if waiting else f"{set_system(code, 'on')} -- then restart the server",
    )


def log_destination(settings: LogSettings) -> Diagnosis:
    code = "log_destination"
    if settings.format is LogFormat.STDERR and settings.options.log_format is LogFormat.AUTO:
        better = LogFormat.JSONLOG if settings.major >= JSONLOG_SINCE else LogFormat.CSVLOG
        return warning(
            code,
            f"The server writes only its text log (stderr), which says less than {better.value}: "
            "no more than its log_line_prefix, in which a client can write whole lines.",
            set_and_reload(code, better.value),
        )
    if settings.format is not None:
        return ok(code, f"The server writes {settings.format.value}.")
    wanted = settings.options.log_format
    if wanted is LogFormat.PGAUDIT_FILE:
        return failed(
            code,
            "The extension pgauditlogtofile is not loaded, or switched off (pgaudit.log_directory).",
            "Set the option log_format to auto, or add pgauditlogtofile to shared_preload_libraries behind "
            "pgaudit and restart the server.",
        )
    if wanted is LogFormat.JSONLOG and settings.major < JSONLOG_SINCE:
        return failed(
            code,
            f"jsonlog is asked for, which PostgreSQL {settings.major} does not have.",
            "Set the option log_format to csvlog or auto.",
        )
    if wanted is LogFormat.AUTO:
        wanted = LogFormat.JSONLOG if settings.major >= JSONLOG_SINCE else LogFormat.CSVLOG
    now = ",".join(sorted(settings.destinations))
    return failed(
        code,
        f"The server writes no {wanted.value} (log_destination is {now!r}).",
        set_and_reload(code, ",".join([*sorted(settings.destinations), wanted.value])),
    )


def pgaudit_file(settings: LogSettings) -> Diagnosis:
    """Whether pgauditlogtofile writes pgaudit's records to where they are read, and all of them."""
    code = "pgaudit_file"
    if settings.format is not LogFormat.PGAUDIT_FILE:
        return failed(
            code,
            "The extension pgauditlogtofile writes pgaudit's records to files of its own, "
            "not to the log that is read.",
            f"{set_and_reload('pgaudit.log_directory', '')} -- or set the option log_format to pgaudit_file",
        )
    if "pgaudit.log_format" not in settings.own:
        return failed(
            code,
            "This pgauditlogtofile writes names and statements without quotes: anybody can write records "
            "there, so they are put aside.",
            f"{set_and_reload('pgaudit.log_directory', '')} -- and set the option log_format to auto; or "
            "install a newer version, which has pgaudit.log_format",
        )
    if settings.value("pgaudit.log_compression") not in ("off", None):
        name = "pgaudit.log_compression"
        return failed(code, "The files of pgauditlogtofile are compressed.", set_and_reload(name, "off"))
    if settings.value("pgaudit.log_execution_time") == "on":
        name = "pgaudit.log_execution_time"
        return warning(
            code,
            f"pgauditlogtofile loses records and mixes their times up while it measures them ({name} is on).",
            f"{set_system(name, 'off')} -- then restart the server",
        )
    missing = [
        name
        for name in ("pgaudit.log_connections", "pgaudit.log_disconnections")
        if settings.value(name) != "on"
    ]
    if missing:
        return warning(
            code,
            f"Sessions are not in the file that is read ({' and '.join(missing)} off).",
            " ".join(set_and_reload(name, "on") for name in missing),
        )
    return ok(code, "pgauditlogtofile writes the records of pgaudit and of sessions to its files.")


def syslog(settings: LogSettings) -> Diagnosis:
    code = "syslog"
    if settings.value("syslog_split_messages") == "off":
        name = "syslog_split_messages"
        return failed(
            code,
            f"Records of several lines cannot be read, and the daemon may cut long ones ({name} is off).",
            set_and_reload(name, "on"),
        )
    if settings.value("syslog_sequence_numbers") == "off":
        name = "syslog_sequence_numbers"
        return warning(
            code,
            f"Records that the syslog daemon loses, or writes once for several, cannot be counted ({name} is "
            "off).",
            set_and_reload(name, "on"),
        )
    return ok(code, f"The records in syslog are those of {settings.value('syslog_ident')!r}, with numbers.")


def log_connections(settings: LogSettings) -> Diagnosis:
    code = "log_connections"
    missing = CONNECTION_ASPECTS - settings.connections
    if not missing:
        return ok(code, "Connections are logged.")
    remedy = set_and_reload(code, "on")
    if settings.major >= ASPECTS_SINCE:
        remedy = set_and_reload(code, ",".join(sorted(CONNECTION_ASPECTS | settings.connections)))
    if missing == CONNECTION_ASPECTS:
        return warning(code, "Connections are not logged.", remedy)
    lacking = ", ".join(sorted(missing))
    return warning(code, f"Connections are logged in part only: {lacking} is missing.", remedy)


def log_disconnections(settings: LogSettings) -> Diagnosis:
    code = "log_disconnections"
    if settings.disconnections:
        return ok(code, "Disconnections are logged.")
    return warning(code, "Disconnections are not logged.", set_and_reload(code, "on"))


def log_min_messages(settings: LogSettings) -> Diagnosis:
    code = "log_min_messages"
    # From 19 on the value may be a list with levels for kinds of processes; the bare word is everybody's.
    words = [word.strip().lower() for word in settings.own[code].value.split(",")]
    level = next((word for word in words if ":" not in word), "warning")
    rank = _LEVELS.index(level) if level in _LEVELS else 0
    if rank > _LEVELS.index("log"):
        return failed(
            code,
            f"Connections and statements are kept out of the log (log_min_messages is {level}).",
            set_and_reload(code, "warning"),
        )
    if rank > _LEVELS.index("error"):
        return warning(
            code,
            f"Failed statements are not logged (log_min_messages is {level}).",
            set_and_reload(code, "warning"),
        )
    audit_level = settings.value("pgaudit.log_level")
    if audit_level in _LEVELS and _LEVELS.index(audit_level) < rank:
        return failed(
            code,
            f"The records of pgaudit are kept out of the log: pgaudit.log_level is {audit_level}, "
            f"and log_min_messages is {level}.",
            set_and_reload("pgaudit.log_level", "log"),
        )
    return ok(code, "Connections, statements and errors reach the log.")


def log_min_error_statement(settings: LogSettings) -> Diagnosis:
    code = "log_min_error_statement"
    level = settings.own[code].value
    if level in _LEVELS and _LEVELS.index(level) > _LEVELS.index("error"):
        return warning(
            code,
            f"Failed statements are logged without their text (log_min_error_statement is {level}).",
            set_and_reload(code, "error"),
        )
    return ok(code, "Failed statements are logged with their text.")


def log_error_verbosity(settings: LogSettings) -> Diagnosis:
    code = "log_error_verbosity"
    if settings.own[code].value == "terse":
        return warning(
            code,
            "Failed log-ins are logged without the reason (log_error_verbosity is terse).",
            set_and_reload(code, "default"),
        )
    return ok(code, "Errors are logged with their details.")


def lc_messages(settings: LogSettings) -> Diagnosis:
    code = "lc_messages"
    language = settings.own[code].value
    if language in ("", "C", "POSIX") or language.startswith(("C.", "en")):
        return ok(code, "Messages are in English.")
    name = language.partition(".")[0].partition("@")[0]
    if name in LANGUAGES or name.partition("_")[0] in LANGUAGES:
        return ok(code, f"Messages are translated (lc_messages is {language}); the agent knows them.")
    return warning(
        code,
        f"Sessions are recognised in the languages that the agent knows, and {language} is none of them.",
        set_and_reload(code, "C"),
    )


def log_timezone(settings: LogSettings) -> Diagnosis:
    code = "log_timezone"
    if settings.log_timezone.lower() in _UTC:
        return ok(code, "Times are logged in UTC.")
    if is_known(settings.log_timezone):
        return ok(code, f"Times are logged in the zone {settings.log_timezone}.")
    return warning(
        code,
        f"Times are logged in the zone {settings.log_timezone}, which the agent's host does not know: what "
        "cannot be placed without it is put aside.",
        set_and_reload(code, "UTC"),
    )


def log_rotation(settings: LogSettings) -> Diagnosis:
    code = "log_rotation"
    if settings.options.log_file is not None or settings.format is LogFormat.PGAUDIT_FILE:
        return skipped(code, "the server does not rotate the file that is read")
    name = settings.log_filename
    if name is None:
        return warning(code, "The role may not see log_filename.", None)
    if settings.value("log_rotation_age") == "0" and settings.value("log_rotation_size") == "0":
        return warning(
            code,
            "The log is never rotated: its file grows without limit.",
            set_and_reload("log_rotation_age", "1d"),
        )
    lifetime = _lifetime(name)
    if settings.value("log_truncate_on_rotation") != "on" or lifetime == "for ever":
        return ok(code, f"Log files ({name}) are not overwritten.")
    if lifetime in ("a week", "a month", "a year"):
        return ok(code, f"Log files ({name}) are overwritten after {lifetime}.")
    return warning(
        code,
        f"Log files ({name}) are overwritten after {lifetime}: what the agent has not read by then is lost.",
        set_and_reload("log_filename", "postgresql-%a.log"),
    )


def _lifetime(log_filename: str) -> str:
    """How long it takes until the same file name comes again."""
    escapes = set(re.findall(r"%[-_0^#EO]*([A-Za-z])", log_filename))
    if escapes & set(_ALL_AT_ONCE) or (escapes & set(_YEAR)):
        return "for ever"
    for lifetime, letters in (("a year", _YEARLY), ("a month", _MONTHLY), ("a week", _WEEKLY)):
        if escapes & set(letters):
            return lifetime
    return "a day" if escapes & set("HIklTRrXpP") else "the next rotation"
