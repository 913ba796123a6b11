"""What the connection test says about traditional auditing, whether it is read or not."""

from __future__ import annotations

from dbaudit.core.report import Diagnosis
from dbaudit.engine.findings import failed, ok, warning
from dbaudit.engines.oracle.failures import quoted
from dbaudit.engines.oracle.options import Source
from dbaudit.engines.oracle.rights import Rights
from dbaudit.engines.oracle.settings import Settings, Traditional
from dbaudit.engines.oracle.traditional import NEEDED

READ_BOTH = "Set the option source to both; or audit the same with policies of unified auditing."
INTO_TABLES = "ALTER SYSTEM SET audit_trail = DB, EXTENDED SCOPE = SPFILE; -- and restart the database"


def readable(rights: Rights, settings: Settings) -> Diagnosis:
    """Whether the trail can be read; for when the options want it."""
    code = "permission_dba_audit_trail"
    if rights.traditional is None:
        return failed(code, f"The user {rights.user} may not read DBA_AUDIT_TRAIL.", rights.grant)
    missing = sorted(NEEDED - rights.traditional)
    if missing:
        return failed(code, f"DBA_AUDIT_TRAIL has no column {', '.join(missing)}.", None)
    return ok(code, "DBA_AUDIT_TRAIL can be read.")


def recorded(rights: Rights, settings: Settings) -> Diagnosis:
    """What the server audits the traditional way, and whether that is read."""
    code = "traditional_auditing"
    read = Source.TRADITIONAL in rights.sources
    where = settings.traditional
    value = settings.audit_trail
    if where is Traditional.NOT_THERE:
        why = (
            "The server has unified auditing alone"
            if settings.pure
            else "The server has no traditional auditing: it is desupported from 23ai on"
        )
        if read:
            return failed(
                code, f"{why}: nothing is recorded in DBA_AUDIT_TRAIL.", "Set the option source to unified."
            )
        return ok(code, f"{why}.")
    if where is Traditional.UNKNOWN:
        return warning(
            code,
            "Whether and where the server audits the traditional way is not known: its parameter audit_trail "
            f"cannot be read. What it writes into SYS.AUD$ {'is' if read else 'is not'} read.",
            f"GRANT SELECT ON SYS.V_$PARAMETER TO {quoted(rights.user)};",
        )
    if where is Traditional.OFF:
        if read:
            return warning(
                code, f"Nothing is recorded in DBA_AUDIT_TRAIL: audit_trail is {value}.", INTO_TABLES
            )
        return ok(code, f"Nothing is audited the traditional way: audit_trail is {value}.")
    if where is Traditional.FILES:
        return warning(
            code,
            f"What the server audits the traditional way goes to files, which are not read: audit_trail is "
            f"{value}.",
            f"{INTO_TABLES}. {READ_BOTH}" if not read else INTO_TABLES,
        )
    if not read:
        return warning(
            code,
            f"What the server audits the traditional way goes to SYS.AUD$ (audit_trail is {value}), which is "
            "not read.",
            READ_BOTH,
        )
    if not settings.texts:
        return warning(
            code,
            f"DBA_AUDIT_TRAIL is read, and has no texts of statements: audit_trail is {value}.",
            INTO_TABLES,
        )
    return ok(code, f"DBA_AUDIT_TRAIL is read: audit_trail is {value}.")
