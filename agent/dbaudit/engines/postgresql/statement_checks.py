"""The steps of the test that concern statements: pgaudit, log_statement, and who is left out."""

from __future__ import annotations

from dbaudit.core.report import Diagnosis
from dbaudit.engine.findings import ok, skipped, warning
from dbaudit.engines.postgresql.failures import quoted
from dbaudit.engines.postgresql.remedies import set_and_reload, set_system
from dbaudit.engines.postgresql.rights import FILE_SETTINGS_GRANTS, Rights
from dbaudit.engines.postgresql.settings import LogSettings, Override

_CLASSES = frozenset({"read", "write", "function", "role", "ddl", "misc", "misc_set"})
_WANTED = frozenset({"read", "write", "function", "role", "ddl", "misc_set"})
_OF_MISC = frozenset({"misc", "misc_set"})
_SET_ROLE_SINCE = 12
"""From here on SET ROLE and SET SESSION AUTHORIZATION have a class of their own, before it they are misc."""
_BY_OBJECT = frozenset({"read", "write"})
"""Classes that pgaudit.role can record instead, for the objects that role is granted."""
_RECOMMENDED = "all, -misc, misc_set"


def statement_source(settings: LogSettings) -> str | None:
    """What records statements: pgaudit, log_statement, or None. What cannot be seen is taken to be there."""
    if settings.pgaudit_loaded:
        classes = _classes(settings.server_wide["pgaudit.log"])
        if classes is None or classes or settings.server_wide["pgaudit.role"]:
            return f"pgaudit {settings.pgaudit_created or settings.pgaudit_installed or ''}".strip()
    statement = settings.server_wide["log_statement"]
    return None if statement == "none" else f"log_statement={statement or 'unknown'}"


def pgaudit(settings: LogSettings) -> Diagnosis:
    code = "pgaudit"
    if settings.pgaudit_loaded:
        return ok(code, "pgaudit is loaded.")
    preload = settings.own.get("shared_preload_libraries")
    if preload is not None and preload.pending_restart:
        return warning(code, "pgaudit is not loaded, until the server is restarted.", "Restart the server.")
    libraries = (
        [name.strip().strip('"') for name in preload.value.split(",")] if preload and preload.value else []
    )
    load = f"{set_system('shared_preload_libraries', *libraries, 'pgaudit')} -- then restart the server"
    if settings.pgaudit_installed is None:
        major = settings.major
        load = f"Install postgresql-{major}-pgaudit (Debian) or pgaudit_{major} (Red Hat), then: {load}"
    if settings.server_wide["log_statement"] == "all":
        return ok(code, "pgaudit is not loaded; log_statement records statements, without their objects.")
    return warning(code, "pgaudit is not loaded: statements are not audited.", load)


def pgaudit_extension(settings: LogSettings, rights: Rights) -> Diagnosis:
    code = "pgaudit_extension"
    if not settings.pgaudit_loaded:
        return skipped(code, "pgaudit is not loaded")
    if settings.pgaudit_created is not None:
        return ok(code, f"The extension pgaudit {settings.pgaudit_created} is there.")
    return warning(
        code,
        f"The extension pgaudit is not created in the database {rights.database!r}: "
        "statements that define objects are audited without the object's name.",
        "CREATE EXTENSION pgaudit;",
    )


def pgaudit_classes(settings: LogSettings, rights: Rights) -> Diagnosis:
    code = "pgaudit_classes"
    if not settings.pgaudit_loaded:
        return skipped(code, "pgaudit is not loaded")
    value = settings.server_wide["pgaudit.log"]
    recorded = _classes(value)
    if recorded is None:
        return warning(
            code,
            f"What pgaudit records cannot be seen: the role {rights.role!r} has its own pgaudit.log.",
            FILE_SETTINGS_GRANTS.format(role=quoted(rights.role)),
        )
    by_object = bool(settings.server_wide["pgaudit.role"])
    if not recorded and not by_object:
        return warning(
            code,
            "pgaudit records nothing: pgaudit.log is empty and pgaudit.role is not set.",
            set_and_reload("pgaudit.log", _RECOMMENDED if settings.major >= _SET_ROLE_SINCE else "all"),
        )
    wanted = _WANTED if settings.major >= _SET_ROLE_SINCE else _WANTED - {"misc_set"} | {"misc"}
    missing = wanted - recorded - (_BY_OBJECT if by_object else frozenset())
    if missing:
        roles = (
            ": SET ROLE and SET SESSION AUTHORIZATION, after which statements run as somebody else, "
            "leave no trace"
            if missing & _OF_MISC
            else ""
        )
        return warning(
            code,
            f"pgaudit does not record the classes {', '.join(sorted(missing))} (pgaudit.log is {value!r})"
            f"{roles}.",
            set_and_reload("pgaudit.log", ", ".join([*sorted(recorded | missing)])),
        )
    chosen = f", and the objects granted to {settings.server_wide['pgaudit.role']}" if by_object else ""
    return ok(code, f"pgaudit records {value}{chosen}.")


def pgaudit_statement_text(settings: LogSettings) -> Diagnosis:
    code = "pgaudit_statement_text"
    if not settings.pgaudit_loaded:
        return skipped(code, "pgaudit is not loaded")
    if settings.value("pgaudit.log_statement") == "off":
        return warning(
            code,
            "pgaudit leaves the text of statements out (pgaudit.log_statement is off).",
            set_and_reload("pgaudit.log_statement", "on"),
        )
    return ok(code, "pgaudit records the text of statements.")


def log_statement(settings: LogSettings, rights: Rights) -> Diagnosis:
    code = "log_statement"
    value = settings.server_wide[code]
    audited = (statement_source(settings) or "").startswith("pgaudit")
    if value is None:
        return warning(
            code,
            f"log_statement cannot be seen: the role {rights.role!r} has its own.",
            FILE_SETTINGS_GRANTS.format(role=quoted(rights.role)),
        )
    if audited and value != "none":
        return warning(
            code,
            f"Statements are logged twice, by pgaudit and by log_statement={value}.",
            set_and_reload(code, "none"),
        )
    if audited:
        return ok(code, "Statements come from pgaudit alone.")
    if value == "all":
        return ok(code, "Statements are logged.")
    what = "No statement is" if value == "none" else f"Only statements of log_statement={value} are"
    return warning(code, f"{what} logged.", set_and_reload(code, "all"))


def row_counts(settings: LogSettings) -> Diagnosis:
    code = "row_counts"
    if not settings.pgaudit_loaded:
        return warning(code, "capture_results is asked for, and row counts come from pgaudit only.", None)
    rows = settings.value("pgaudit.log_rows")
    if rows is None:
        return warning(
            code,
            "capture_results is asked for, and this pgaudit is too old to count rows.",
            "Update pgaudit to a version that has pgaudit.log_rows.",
        )
    if rows == "off":
        return warning(
            code,
            "capture_results is asked for, and pgaudit does not count rows (pgaudit.log_rows is off).",
            set_and_reload("pgaudit.log_rows", "on"),
        )
    return ok(code, "pgaudit records the number of rows.")


def own_activity(settings: LogSettings, rights: Rights) -> Diagnosis:
    """Whether each poll of the agent makes new records, which the next poll has to read."""
    code = "own_activity"
    quiet = {"log_statement": "none", "log_min_duration_statement": "-1"}
    if settings.pgaudit_loaded:
        quiet["pgaudit.log"] = "none"
    noisy = {name: value for name, value in quiet.items() if (settings.value(name) or value) != value}
    if not noisy:
        return ok(code, "The agent's own statements are not logged.")
    role = quoted(rights.role)
    return warning(
        code,
        f"The agent's own statements are logged ({', '.join(sorted(noisy))}): they fill the log, "
        "and are left out of the events.",
        " ".join(f"ALTER ROLE {role} SET {name} = '{value}';" for name, value in sorted(noisy.items())),
    )


def audit_exemptions(settings: LogSettings, rights: Rights) -> Diagnosis:
    """Roles and databases whose statements are not recorded because they have a setting of their own."""
    code = "audit_exemptions"
    decisive = "pgaudit.log" if settings.pgaudit_loaded else "log_statement"
    exempt = [
        override
        for override in settings.overrides
        if override.name == decisive and not _records(override) and override.role != rights.role
    ]
    if not exempt:
        return ok(code, "No role or database is left out of the audit.")
    return warning(
        code,
        f"Not audited: {', '.join(_whom(override) for override in exempt)}.",
        " ".join(_reset(override) for override in exempt),
    )


def _classes(value: str | None) -> frozenset[str] | None:
    """The classes that a value of pgaudit.log stands for; None for a value that cannot be seen."""
    if value is None:
        return None
    classes: frozenset[str] = frozenset()
    for word in (part.strip().lower() for part in value.split(",")):
        named = _named(word.lstrip("-"))
        classes = classes - named if word.startswith("-") else classes | named
        if word == "none":
            classes = frozenset()
    return classes


def _named(word: str) -> frozenset[str]:
    if word == "all":
        return _CLASSES
    return _OF_MISC if word == "misc" else frozenset({word}) & _CLASSES


def _records(override: Override) -> bool:
    return bool(_classes(override.value)) if override.name == "pgaudit.log" else override.value != "none"


def _whom(override: Override) -> str:
    names = [f"role {override.role}"] if override.role else []
    return " in ".join([*names, *([f"database {override.database}"] if override.database else [])])


def _reset(override: Override) -> str:
    if override.role is None:
        return f"ALTER DATABASE {quoted(override.database or '')} RESET {override.name};"
    place = f" IN DATABASE {quoted(override.database)}" if override.database else ""
    return f"ALTER ROLE {quoted(override.role)}{place} RESET {override.name};"
