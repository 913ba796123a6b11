"""What an account may do, from the statements that SHOW GRANTS gives."""

from __future__ import annotations

import re

import msgspec

from dbaudit.engines.mysql_protocol.connection import ServerConnection

_NAME = r"(?:`(?:[^`]|``)*`|[^\s.`]+)"
_GRANT = re.compile(
    rf"(?P<kind>GRANT|REVOKE) (?P<rights>.+?) ON (?:TABLE )?(?P<schema>{_NAME})\.(?P<table>{_NAME})"
    r" (?:TO|FROM) ",
    re.DOTALL,
)
_COLUMNS = re.compile(r"\s*\([^)]*\)")


class Grant(msgspec.Struct, frozen=True):
    """Some rights on ``schema``.``table``; ``*`` for all of either."""

    rights: frozenset[str]
    schema: str
    table: str
    revoked: bool = False


class Grants(msgspec.Struct, frozen=True):
    """All rights of an account, those of its active roles included."""

    grants: tuple[Grant, ...]

    def allow(self, right: str, schema: str = "*", table: str = "*") -> bool:
        """Whether the account has a right, such as ``SELECT``, on a table, a schema, or all (``*``)."""
        allowed = False
        for grant in self.grants:
            if grant.schema != "*" and not _matches(grant.schema, schema):
                continue
            if grant.table not in ("*", table):
                continue
            if right in grant.rights or "ALL PRIVILEGES" in grant.rights:
                # A partial revoke takes a right on everything away from one schema.
                allowed = not grant.revoked
        return allowed

    def missing(self, rights: tuple[str, ...], schema: str, table: str = "*") -> tuple[str, ...]:
        """Those of ``rights`` that the account lacks."""
        return tuple(right for right in rights if not self.allow(right, schema, table))


def read_grants(connection: ServerConnection) -> Grants:
    """Ask the server for what the session's account may do."""
    statements = [str(row[0]) for row in connection.rows("SHOW GRANTS")]
    if connection.refusal("SELECT CURRENT_ROLE()") is None:
        roles = connection.value("SELECT CURRENT_ROLE()")
        # MariaDB lists the rights of the role without being asked, and has no USING.
        using = f"SHOW GRANTS FOR CURRENT_USER() USING {roles}"
        if roles not in (None, "NONE") and connection.refusal(using) is None:
            statements += [str(row[0]) for row in connection.rows(using)]
    return Grants(tuple(grant for statement in statements if (grant := parse_grant(statement)) is not None))


def parse_grant(statement: str) -> Grant | None:
    """The rights that a statement of SHOW GRANTS gives; None for one about roles or proxies.

    >>> parse_grant("GRANT SELECT, SHOW VIEW ON `shop`.* TO `app`@`%`").schema
    'shop'
    """
    found = _GRANT.match(statement)
    if found is None or found["rights"] == "PROXY":
        return None
    rights = _COLUMNS.sub(" OF SOME COLUMNS", found["rights"])
    return Grant(
        frozenset(right.strip().upper() for right in rights.split(",")),
        _unquoted(found["schema"]),
        _unquoted(found["table"]),
        revoked=found["kind"] == "REVOKE",
    )


def _unquoted(name: str) -> str:
    return name[1:-1].replace("``", "`") if name.startswith("`") else name


def _matches(pattern: str, schema: str) -> bool:
    """Whether a schema is meant by a pattern of LIKE, as the schema of a grant is one."""
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    regex = "".join(
        ".*" if part == "%" else "." if part == "_" else re.escape(part.lstrip("\\") or part)
        for part in parts
    )
    return re.fullmatch(regex, schema, re.DOTALL) is not None
