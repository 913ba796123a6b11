"""What a server is and offers: asked, and never concluded from its version."""

from __future__ import annotations

import re

import msgspec

from dbaudit.engines.mysql.options import Options, Source
from dbaudit.engines.mysql_protocol.connection import ServerConnection
from dbaudit.engines.mysql_protocol.general_log_readers import SCHEMA
from dbaudit.engines.mysql_protocol.grants import Grants, read_grants

RETIRING_RIGHTS = ("SELECT", "ALTER", "DROP", "CREATE", "INSERT")
"""What moving mysql.general_log into the schema `dbaudit` needs, on both."""

_VARIABLES = (
    "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('general_log', 'log_output', 'log_raw', 'log_bin', "
    "'read_only', 'super_read_only', 'log_error_verbosity', 'log_error_services', 'server_id') "
    "OR Variable_name LIKE 'audit\\_log%' OR Variable_name LIKE 'audit\\_log.%'"
)
_ACCESS_DENIED = 1227
_RELEASE = re.compile(r"\d+\.\d+(?:\.\d+)?(?:-\d+)?")


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """One server, as the agent's account sees it.

    ``audit_log_read`` says whether the function answers; ``audit_log_denied`` that it is there and the right
    to call it is missing. ``schema_there``: the schema for retired tables exists, or may exist unseen.
    """

    version: str
    comment: str
    variables: dict[str, str]
    grants: Grants
    audit_log_read: bool
    audit_log_denied: bool
    general_log_readable: bool
    error_log_readable: bool
    schema_there: bool
    binary_log_avoidable: bool

    @property
    def mariadb(self) -> bool:
        return "mariadb" in f"{self.version} {self.comment}".lower()

    @property
    def edition(self) -> str:
        comment = self.comment.lower()
        if "percona" in comment:
            return "Percona"
        return "Enterprise" if "enterprise" in comment or "commercial" in comment else "Community"

    @property
    def product(self) -> str:
        """Such as ``MySQL 8.4.2 (Community)``."""
        if self.mariadb:
            return f"MariaDB {self.version.removeprefix('5.5.5-').partition('-')[0]}"
        found = _RELEASE.match(self.version)
        release = found.group() if found else self.version
        if self.edition != "Percona":
            release = release.partition("-")[0]
        return f"MySQL {release} ({self.edition})"

    @property
    def release(self) -> tuple[int, ...]:
        return tuple(int(part) for part in re.findall(r"\d+", self.version)[:2])

    def is_on(self, name: str) -> bool:
        return self.variables.get(name, "OFF").upper() in ("ON", "1")

    @property
    def audit_log_in_local_time(self) -> bool:
        """Whether the audit log is that of Percona's audit_log_filter, whose stamps are its local time."""
        return any(name.startswith("audit_log_filter") for name in self.variables)

    @property
    def audit_log_event_mode(self) -> str | None:
        """``FULL`` or ``REDUCED`` of Percona's audit_log_filter; None where it has no such setting."""
        return self.variables.get("audit_log_filter.event_mode")

    @property
    def general_log_written(self) -> bool:
        """Whether the table mysql.general_log is written to."""
        outputs = {word.strip() for word in self.variables.get("log_output", "").upper().split(",")}
        return self.is_on("general_log") and "TABLE" in outputs and "NONE" not in outputs

    @property
    def may_retire(self) -> bool:
        """Whether the account may empty mysql.general_log, on this server and on no other."""
        return (
            self.schema_there
            and not self.grants.missing(RETIRING_RIGHTS, "mysql", "general_log")
            and not self.grants.missing(RETIRING_RIGHTS, SCHEMA)
            and not self.is_on("read_only")
            and self.binary_log_avoidable
        )

    def source(self, options: Options) -> Source | None:
        """What is read; None where there is nothing to read."""
        if options.wanted is not Source.AUTO:
            return options.wanted
        if self.audit_log_read:
            return Source.AUDIT_LOG
        if self.general_log_written and self.general_log_readable:
            return Source.GENERAL_LOG
        if self.error_log_readable and self.variables.get("log_error_verbosity") == "3":
            return Source.ERROR_LOG
        return None


def ask(connection: ServerConnection) -> Server:
    """Find out what the server offers to the session's account."""
    variables = {str(name).lower(): str(value) for name, value in connection.rows(_VARIABLES)}
    grants = read_grants(connection)
    bookmark = _bookmark_refusal(connection)
    schemas = "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = %s"
    binary_log = connection.value("SELECT @@log_bin") == 1
    return Server(
        version=connection.version,
        comment=connection.version_comment,
        variables=variables,
        grants=grants,
        audit_log_read=bookmark is None,
        audit_log_denied=bookmark == _ACCESS_DENIED,
        general_log_readable=connection.refusal("SELECT 1 FROM mysql.general_log LIMIT 0") is None,
        error_log_readable=connection.refusal("SELECT 1 FROM performance_schema.error_log LIMIT 0") is None,
        schema_there=connection.value(schemas, [SCHEMA]) > 0,
        binary_log_avoidable=not binary_log or avoid_binary_log(connection),
    )


def avoid_binary_log(connection: ServerConnection) -> bool:
    """Keep what this session does out of the binary log: else replicas would empty their own general log."""
    return connection.refusal("SET SESSION sql_log_bin = 0") is None


def _bookmark_refusal(connection: ServerConnection) -> int | None:
    """None where audit_log_read() can be called, else the number of the server's refusal."""
    refusal = connection.refusal("SELECT audit_log_read_bookmark()")
    if refusal is None:
        return None
    number, words = refusal
    return _ACCESS_DENIED if "AUDIT_ADMIN" in words else number
