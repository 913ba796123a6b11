"""What the server records: its mode of auditing, and the policies that are enabled."""

from __future__ import annotations

import re
from enum import Enum

import msgspec

from dbaudit.core.errors import ConfigurationError
from dbaudit.engines.oracle.connection import ServerConnection

MODE = "SELECT value FROM v$option WHERE parameter = 'Unified Auditing'"
AUDIT_TRAIL = "SELECT value FROM v$parameter WHERE name = 'audit_trail'"
PRODUCT = "SELECT product FROM product_component_version WHERE product LIKE 'Oracle%Database%' AND ROWNUM = 1"
# The columns of the view of enabled policies have other names in 12.1.
ENABLED = "SELECT policy_name, entity_name, success, failure FROM audit_unified_enabled_policies"
ENABLED_12_1 = "SELECT policy_name, user_name, success, failure FROM audit_unified_enabled_policies"
RULES = "SELECT policy_name, audit_option FROM audit_unified_policies"

_NAMES = {12: "12c", 18: "18c", 19: "19c", 21: "21c", 23: "23ai"}
_NAME = re.compile(r"\b(\d+(?:c|ai))\b")
_FOR_ALL = (None, "ALL USERS")
_FIRST_WITHOUT_TRADITIONAL = 23


class Traditional(Enum):
    """Where a server writes what it audits the traditional way."""

    NOT_THERE = "not there"
    OFF = "off"
    TABLES = "tables"
    FILES = "files"
    UNKNOWN = "unknown"


class EnabledPolicy(msgspec.Struct, frozen=True):
    """A policy that is enabled; ``options`` are the actions and privileges that it audits."""

    name: str
    for_all_users: bool
    success: bool
    failure: bool
    options: frozenset[str]

    def records(self, action: str) -> bool:
        return bool(self.options & {action, "ALL"})


class Settings(msgspec.Struct, frozen=True):
    """``pure`` is True where nothing but unified auditing is linked in, None where that cannot be known.
    ``audit_trail`` is the parameter by which the server audits the traditional way, such as `DB, EXTENDED`;
    None where it cannot be read.
    """

    version: str
    major: int
    pure: bool | None
    policies: tuple[EnabledPolicy, ...] | None
    audit_trail: str | None

    @property
    def traditional(self) -> Traditional:
        """Where the server writes what it audits the traditional way."""
        if self.pure or self.major >= _FIRST_WITHOUT_TRADITIONAL:
            return Traditional.NOT_THERE
        if self.audit_trail is None:
            return Traditional.UNKNOWN
        kind = self.audit_trail.upper().partition(",")[0].strip()
        if kind in ("DB", "TRUE"):
            return Traditional.TABLES
        return Traditional.FILES if kind in ("OS", "XML") else Traditional.OFF

    @property
    def texts(self) -> bool:
        """Whether the traditional trail has the texts of statements."""
        return "EXTENDED" in (self.audit_trail or "").upper()

    def recorded(self, action: str, *, failure: bool = False) -> bool:
        """Whether an action is recorded of all users, where it works or where it fails."""
        return any(
            policy.for_all_users
            and (policy.failure if failure else policy.success)
            and policy.records(action)
            for policy in self.policies or ()
        )

    @property
    def statements(self) -> list[str]:
        """The enabled policies that record more than log-ins and what administrators do by default."""
        return sorted(
            policy.name
            for policy in self.policies or ()
            if policy.options - {"LOGON", "LOGOFF"} and not policy.name.startswith("ORA_")
        )


def read_settings(connection: ServerConnection, *, policies: bool) -> Settings:
    """``policies``: whether the views of policies may be read."""
    number = connection.version
    major = int(re.match(r"\d*", number)[0] or 0)  # type: ignore[index]  # it always matches
    return Settings(
        version=_version(connection, number, major),
        major=major,
        pure=_mode(connection),
        policies=_policies(connection) if policies else None,
        audit_trail=_value(connection, AUDIT_TRAIL),
    )


def _version(connection: ServerConnection, number: str, major: int) -> str:
    """As its users write it: Oracle Database 19c (19.21.0.0.0)."""
    rows = connection.rows(PRODUCT)
    found = _NAME.search(rows[0][0] or "") if rows else None
    name = found[1] if found else _NAMES.get(major, str(major))
    return f"Oracle Database {name} ({number})"


def _mode(connection: ServerConnection) -> bool | None:
    value = _value(connection, MODE)
    return None if value is None else value.upper() == "TRUE"


def _value(connection: ServerConnection, query: str) -> str | None:
    """The value of a setting; None where it may not be read."""
    try:
        rows = connection.rows(query)
    except ConfigurationError:
        return None
    return str(rows[0][0]) if rows and rows[0][0] is not None else None


def _policies(connection: ServerConnection) -> tuple[EnabledPolicy, ...]:
    options: dict[str, set[str]] = {}
    for name, option in connection.rows(RULES):
        options.setdefault(name, set()).add(option)
    try:
        enabled = connection.rows(ENABLED)
    except ConfigurationError:
        enabled = connection.rows(ENABLED_12_1)
    return tuple(
        EnabledPolicy(
            name, entity in _FOR_ALL, success == "YES", failure == "YES", frozenset(options.get(name, ()))
        )
        for name, entity, success, failure in enabled
    )
