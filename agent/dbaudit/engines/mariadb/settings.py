"""What the server says of its audit plugin and of its general log."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

import msgspec

from dbaudit.engines.mariadb.stamps import SETTING
from dbaudit.engines.mysql_protocol.connection import ServerConnection

_VARIABLES = """
    SHOW GLOBAL VARIABLES WHERE Variable_name LIKE 'server\\_audit\\_%' OR Variable_name IN
    ('hostname', 'datadir', 'general_log', 'log_output', 'max_allowed_packet', 'secure_file_priv')
"""
_STATUS = "SHOW GLOBAL STATUS LIKE 'Server\\_audit\\_%'"
_VERSION = re.compile(r"\d+(?:\.\d+)+")
KINDS_OF_STATEMENTS = frozenset({"QUERY", "QUERY_DDL", "QUERY_DML", "QUERY_DML_NO_SELECT", "QUERY_DCL"})


class AuditSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings and counters that concern auditing; ``variables`` and ``status`` as the server names them,
    in lower case.
    """

    version: str
    variables: Mapping[str, str]
    status: Mapping[str, str]

    def value(self, name: str) -> str:
        return self.variables.get(name, "")

    @property
    def release(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.version.split("."))

    @property
    def plugin_loaded(self) -> bool:
        return "server_audit_logging" in self.variables

    @property
    def plugin_on(self) -> bool:
        return self.value("server_audit_logging") == "ON"

    @property
    def to_file(self) -> bool:
        return self.plugin_on and self.value("server_audit_output_type").lower() == "file"

    @property
    def to_syslog(self) -> bool:
        return self.plugin_on and self.value("server_audit_output_type").lower() == "syslog"

    @property
    def events(self) -> frozenset[str]:
        """The kinds of records that are written; the setting's empty value means all of them."""
        words = frozenset(word.strip().upper() for word in self.value("server_audit_events").split(","))
        words -= {""}
        return words or frozenset({"CONNECT", "QUERY", "TABLE"})

    @property
    def tells_connections(self) -> bool:
        return self.plugin_on and "CONNECT" in self.events

    @property
    def audit_file(self) -> str:
        """The absolute path of the file on the server's host."""
        path = self.value("server_audit_file_path") or "server_audit.log"
        path = posixpath.join(self.value("datadir"), path)
        return path + "server_audit.log" if path.endswith("/") else path

    @property
    def rotations(self) -> int:
        return self.number("server_audit_file_rotations", 9)

    @property
    def time_stamps(self) -> str | None:
        """The format of the time stamps; None where the server has no setting for it."""
        return self.variables.get(SETTING)

    @property
    def excluded_users(self) -> frozenset[str]:
        return _names(self.value("server_audit_excl_users"))

    @property
    def included_users(self) -> frozenset[str]:
        return _names(self.value("server_audit_incl_users"))

    @property
    def writes_failed(self) -> int:
        """How many records the plugin failed to write since the server started."""
        text = self.status.get("server_audit_writes_failed", "0")
        return int(text) if text.isdecimal() else 0

    @property
    def general_log_in_table(self) -> bool:
        outputs = {word.strip().upper() for word in self.value("log_output").split(",")}
        return self.value("general_log") == "ON" and "TABLE" in outputs and "NONE" not in outputs

    def number(self, name: str, otherwise: int) -> int:
        text = self.value(name)
        return int(text) if text.isdecimal() else otherwise


def rotations(connection: ServerConnection) -> int:
    """How many rotated files server_audit keeps at this moment; 0 where it rotates none or is not loaded."""
    answer = connection.rows("SHOW GLOBAL VARIABLES LIKE 'server\\_audit\\_file\\_rotations'")
    return next((int(value) for _name, value in answer), 0)


def read_settings(connection: ServerConnection) -> AuditSettings:
    """Ask the server; needs no right but to be logged in."""
    return AuditSettings(
        version=version_of(connection.version),
        variables={str(name).lower(): str(value) for name, value in connection.rows(_VARIABLES)},
        status={str(name).lower(): str(value) for name, value in connection.rows(_STATUS)},
    )


def version_of(text: str) -> str:
    """The number in what VERSION() says, such as ``10.11.6-MariaDB-0+deb12u1``."""
    found = _VERSION.search(text)
    return found[0] if found else "0"


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip().strip("'") for name in text.split(",")) - {""}
