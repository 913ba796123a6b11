# Copyright (c) 2026, The dbaudit authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: it can change with every release.

"""The auditing of database connections as a task declares it: the settings, the policy and the switches of databases.

The API is that of Redis Enterprise, which dbaudit has too. It knows no dry run, so what would change is found out here. What
its documentation leaves open is met both ways: settings that are not there may be answered with {} or with an error, a change
may be merged or replace everything, and only the codes of errors say what they mean.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.dbaudit.dbaudit.plugins.module_utils._client import Client
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._db_conns_switches import SWITCH, Switches, switches_of
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._errors import ApiError, ClientError

SETTINGS = "/v1/cluster/auditing/db_conns"
POLICY = "/v1/cluster/policy"

NOT_SET = "db_conns_audit_config_not_found"
UNSUPPORTED = "db_conns_auditing_unsupported_by_capability"

# What a task declares of the settings; each is a field of the API with the same name.
FIELDS = {
    "audit_protocol": {"type": "str", "choices": ["TCP", "local"]},
    "audit_address": {"type": "str"},
    "audit_port": {"type": "int"},
    "audit_reconnect_interval": {"type": "int"},
    "audit_reconnect_max_attempts": {"type": "int"},
}

# What the API documents for settings that leave them out, and an answer may leave out too.
DEFAULTS = {"audit_reconnect_interval": 1, "audit_reconnect_max_attempts": 0}

# They belong to the protocol: those of another one mean nothing.
OF_PROTOCOL = ("audit_address", "audit_port")


class Standing(NamedTuple):
    """How things stand, or shall stand.

    ``config`` are the settings: {} when nothing is set, None when that cannot be read. ``databases`` are those that the task
    names, in its order.
    """

    config: Optional[Dict[str, Any]]
    policy: bool
    databases: List[Dict[str, Any]]

    def shown(self) -> Dict[str, Any]:
        """The facts of a module's result."""
        return {"config": self.config or {}, "policy": self.policy, "databases": self.databases}

    def compared(self) -> Dict[str, Any]:
        """One side of a diff."""
        switches = {"%(name)s (%(id)s)" % one: one[SWITCH] for one in self.databases}
        return {"config": self.config or {}, "policy": self.policy, "databases": switches}


class Cluster:
    """Settings and policy of one installation."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def config(self) -> Dict[str, Any]:
        """The settings with their defaults, {} when nothing is set.

        :raises ClientError: they cannot be had.
        """
        try:
            config = self._client.request("GET", SETTINGS)
        except ApiError as error:
            if error.code == NOT_SET:
                return {}
            if error.status == 404:
                raise error.advised(
                    "There is no such path, so either api_url is wrong or the API is too old (Redis Enterprise has it since 6.2.18)."
                ) from error
            raise
        if config is not None and not isinstance(config, dict):
            raise ClientError("The answer to GET %s is no object of settings. Is api_url the address of the API?" % SETTINGS)
        given = {field: value for field, value in (config or {}).items() if value is not None}
        return _without_port(dict(DEFAULTS, **given)) if given else {}

    def policy(self) -> bool:
        """Whether new databases are switched on.

        :raises ClientError: the API does not answer that.
        """
        policy = self._client.request("GET", POLICY)
        if not isinstance(policy, dict) or not isinstance(policy.get(SWITCH), bool):
            raise ClientError("The policy of the API does not know %s: its version is too old (Redis Enterprise has it since 6.2.18)." % SWITCH)
        return policy[SWITCH]

    def set_config(self, config: Mapping[str, Any]) -> bool:
        self._client.command("PUT", SETTINGS, config)
        return True

    def delete_config(self) -> bool:
        """Forgets the settings, and returns whether there were any."""
        try:
            self._client.command("DELETE", SETTINGS)
        except ApiError as error:
            if error.code == NOT_SET:
                return False
            raise
        return True

    def set_policy(self, on: bool) -> bool:
        """:raises ClientError: also when the change was accepted, and did not happen."""
        self._client.command("PUT", POLICY, {SWITCH: on})
        if self.policy() is not on:
            raise ClientError("PUT %s was accepted, and %s is still %s." % (POLICY, SWITCH, str(not on).lower()))
        return True


def ensure(client: Client, params: Mapping[str, Any], check_mode: bool) -> Dict[str, Any]:
    """Brings everything that a task declares to its state, and returns the result of the module.

    :param params: the options of the module ``db_conns_auditing``.
    :raises ClientError: it could not be done; ``changed`` in its facts says whether a part of it was.
    """
    absent = params["state"] == "absent"
    asked = _asked(params)
    cluster = Cluster(client)
    config, policy = _config(cluster, absent), cluster.policy()
    switches = switches_of(client, params["wait_timeout"]) if asked else None
    every = switches.all() if switches else []
    chosen = [(_chosen(every, name), on) for name, on in asked.items()]
    _refuse_twice(chosen)
    before = Standing(config, policy, [database for database, on in chosen])
    after = Standing(
        {} if absent else _merged(before.config or {}, params),
        before.policy if params["policy"] is None else params["policy"],
        [dict(database, **{SWITCH: on}) for database, on in chosen],
    )
    if absent and before.config:
        _refuse_what_stays_on(after, every)
    steps = _steps(cluster, switches, before, after)
    result = {"diff": {"before": before.compared(), "after": after.compared()}}
    if check_mode:
        return dict(result, changed=bool(steps), **after.shown())
    changed = False
    try:
        for step in steps:
            changed = step() or changed
        if changed:
            # An answer to a change may be empty.
            after = after._replace(config=_config(cluster, absent))
    except ClientError as error:
        error.facts["changed"] = changed
        raise
    return dict(result, changed=changed, **after.shown())


def _asked(params: Mapping[str, Any]) -> Dict[str, bool]:
    """The switches that a task declares, by the names or ids of databases."""
    asked = {}
    for name, on in (params["databases"] or {}).items():
        try:
            asked[name] = boolean(on)
        except TypeError as error:
            raise ClientError("databases: %s must be true or false." % name) from error
    if params["state"] == "absent" and (params["policy"] or True in asked.values()):
        raise ClientError("Nothing can be on without the settings: with state=absent, policy and every one of databases must be false.")
    return asked


def _chosen(every: List[Dict[str, Any]], wanted: str) -> Dict[str, Any]:
    found = [database for database in every if wanted in (database["id"], database["name"])]
    if not found:
        raise ClientError("databases: there is no database with the name or id %s." % wanted)
    if len(found) > 1:
        ids = ", ".join("%(id)s (%(name)s)" % database for database in found)
        raise ClientError("databases: %s fits several: %s. Give an id that is no other's name." % (wanted, ids))
    return found[0]


def _refuse_twice(chosen: List[Tuple[Dict[str, Any], bool]]) -> None:
    ids = [database["id"] for database, on in chosen]
    for database, on in chosen:
        if ids.count(database["id"]) > 1:
            raise ClientError("databases: %(name)s is there twice, by its name and by its id %(id)s." % database)


def _config(cluster: Cluster, absent: bool) -> Optional[Dict[str, Any]]:
    """The settings; None when they cannot be read for a node that lacks the capability, which hinders no one to remove them."""
    try:
        return cluster.config()
    except ApiError as error:
        if absent and error.code == UNSUPPORTED:
            return None
        raise


def _merged(current: Mapping[str, Any], params: Mapping[str, Any]) -> Dict[str, Any]:
    """The settings that a task declares, whole: what it leaves out stays.

    :raises ClientError: they do not fit together.
    """
    given = {field: params[field] for field in FIELDS if params[field] is not None}
    kept = dict(current or DEFAULTS)
    if given.get("audit_protocol", kept.get("audit_protocol")) != kept.get("audit_protocol"):
        kept = {field: value for field, value in kept.items() if field not in OF_PROTOCOL}
    config = dict(kept, **given)
    local = config.get("audit_protocol") == "local"
    if local and "audit_port" in given:
        raise ClientError("audit_port must not be given with audit_protocol=local: a socket has no port.")
    needed = ("audit_protocol", "audit_address") + (() if local else ("audit_port",))
    missing = [field for field in needed if field not in config]
    if missing:
        what = "The settings so far" if current else "Nothing is set so far, and the settings"
        raise ClientError("%s lack %s." % (what, ", ".join(missing)))
    return _without_port(config)


def _without_port(config: Dict[str, Any]) -> Dict[str, Any]:
    if config.get("audit_protocol") == "local":
        config.pop("audit_port", None)
    return config


def _refuse_what_stays_on(after: Standing, every: List[Dict[str, Any]]) -> None:
    """Before anything is turned off, what would hinder the removal of the settings in the end."""
    if after.policy:
        raise ClientError("The policy turns auditing on for new databases. To remove the settings, give policy=false too.")
    off = [database["id"] for database in after.databases]
    on = ["%(name)s (%(id)s)" % database for database in every if database[SWITCH] and database["id"] not in off]
    if on:
        raise ClientError("Auditing is on for %s too. To remove the settings, give each as false in databases." % ", ".join(on))


def _steps(cluster: Cluster, switches: Optional[Switches], before: Standing, after: Standing) -> List[Callable[[], bool]]:
    """The changes in the only order that the API accepts: settings, policy, databases, and the other way round to remove them.

    Each returns whether it changed something.
    """
    steps = []  # type: List[Callable[[], bool]]
    if after.config and after.config != before.config:
        steps.append(lambda: cluster.set_config(after.config or {}))
    elif after.config != before.config:
        steps.append(cluster.delete_config)
    if after.policy is not before.policy:
        steps.append(lambda: cluster.set_policy(after.policy))
    if switches is not None:
        pairs = zip(before.databases, after.databases)
        steps += [_turning(switches, new) for old, new in pairs if old[SWITCH] is not new[SWITCH]]
    return steps if after.config else steps[::-1]


def _turning(switches: Switches, database: Mapping[str, Any]) -> Callable[[], bool]:
    def turn() -> bool:
        switches.turn(database["id"], database[SWITCH])
        return True

    return turn
