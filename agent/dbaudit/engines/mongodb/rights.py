"""The rights that the agent's user has on a server, as the server itself sees them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from dbaudit.engines.mongodb.connection import MemberConnection
from dbaudit.engines.mongodb.remedies import grant_role

OF_CLUSTER = ("getLog", "getCmdLineOpts", "getParameter", "inprog", "listDatabases", "serverStatus")
"""Actions on the cluster that collecting needs; clusterMonitor has them all."""
ROLE = "clusterMonitor"
_SUPERUSERS = frozenset({"root", "__system", "dbOwner", "userAdminAnyDatabase", "restore", "clusterAdmin"})


class Rights(msgspec.Struct, frozen=True, kw_only=True):
    """What the user may do; ``authorization`` is False if the server requires no log-in."""

    user: str
    user_database: str
    roles: frozenset[str]
    cluster: frozenset[str]
    profile: bool
    db_stats: bool
    authorization: bool = True

    @property
    def permissions(self) -> dict[str, bool]:
        """The rights under the names that a test report shows."""
        return {
            **{name: not self.authorization or name in self.cluster for name in OF_CLUSTER},
            "find_system_profile": not self.authorization or self.profile,
            "dbStats": not self.authorization or self.db_stats,
        }

    @property
    def too_many(self) -> bool:
        """Whether the user has roles far beyond what collecting needs."""
        return bool(self.roles & _SUPERUSERS)

    @property
    def grant(self) -> str:
        """The command that grants every missing right."""
        return grant_role(self.user, self.user_database, ROLE)

    def suffice(self) -> bool:
        """Whether every right that collecting needs is there."""
        return all(self.permissions.values())


def read_rights(connection: MemberConnection, database: str) -> Rights:
    """Ask the server for the rights of the session's user; ``database`` is the one that dbStats is for."""
    info = connection.command({"connectionStatus": 1, "showPrivileges": True})["authInfo"]
    users = info.get("authenticatedUsers") or [{}]
    privileges = info.get("authenticatedUserPrivileges") or []
    return Rights(
        user=str(users[0].get("user", "")),
        user_database=str(users[0].get("db", "")),
        roles=frozenset(str(role.get("role")) for role in info.get("authenticatedUserRoles") or []),
        cluster=_actions(privileges, lambda on: bool(on.get("cluster") or on.get("anyResource"))),
        profile="find" in _actions(privileges, lambda on: _covers(on, "", "system.profile")),
        db_stats="dbStats" in _actions(privileges, lambda on: _covers(on, database, "")),
        authorization=bool(info.get("authenticatedUsers")),
    )


def _covers(resource: Mapping[str, Any], database: str, collection: str) -> bool:
    if resource.get("anyResource"):
        return True
    return resource.get("db") in ("", database) and resource.get("collection") in ("", collection)


def _actions(privileges: Iterable[Mapping[str, Any]], applies: Any) -> frozenset[str]:
    return frozenset(
        str(action)
        for privilege in privileges
        if applies(privilege.get("resource") or {})
        for action in privilege.get("actions") or []
    )
