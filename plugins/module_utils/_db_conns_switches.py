# Copyright (c) 2026, The dbaudit authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: it can change with every release.

"""The switch ``db_conns_auditing`` of each database: of dbaudit, or of a Redis Enterprise cluster."""

from __future__ import annotations

import time
from typing import Any, Dict, List, Mapping, Union

from ansible_collections.dbaudit.dbaudit.plugins.module_utils._client import Client
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._database import DATABASES
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._errors import ApiError, ClientError
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._resource import Resource

SWITCH = "db_conns_auditing"
POLL_SECONDS = 0.5

BDBS = "/v1/bdbs"
BDB_FIELDS = {"fields": "uid,name,status," + SWITCH}
# The state of a database whose last change was accepted and is being carried out.
CHANGING = "active-change-pending"


class DbauditSwitches:
    """Those of the databases that are declared to dbaudit."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._databases = Resource(client, *DATABASES)

    def all(self) -> List[Dict[str, Any]]:
        """Every database with its ``id``, ``name`` and switch."""
        return [_shown(database["id"], database) for database in self._databases.matching({})]

    def turn(self, identifier: str, on: bool) -> None:
        """Turns the switch of one database."""
        self._client.command("PATCH", self._databases.path_of(identifier), {SWITCH: on})

    def agents_and_sending(self) -> Dict[str, Any]:
        """What only this API reports: its agents, and the status of sending."""
        status = self._client.request("GET", "/v1/cluster/auditing/db_conns/status")
        return {"nodes": self._client.request("GET", "/v1/nodes")["data"], "sending": status}


class RedisEnterpriseSwitches:
    """Those of the databases ("bdbs") of a Redis Enterprise cluster.

    :param wait_seconds: how long to wait for a database that is busy with another change, and then for this one.
    """

    def __init__(self, client: Client, wait_seconds: float) -> None:
        self._client = client
        self._wait_seconds = wait_seconds

    def all(self) -> List[Dict[str, Any]]:
        """Every database with its uid as ``id``, ``name`` and switch."""
        bdbs = self._client.request("GET", BDBS, BDB_FIELDS)
        if not isinstance(bdbs, list):
            raise ClientError("The answer to GET %s is no list of databases. Is api_url the address of a Redis Enterprise cluster?" % BDBS)
        return [_shown(str(bdb["uid"]), bdb) for bdb in bdbs]

    def turn(self, identifier: str, on: bool) -> None:
        """Turns the switch of one database, and waits until the cluster has done so.

        :raises ClientError: also when that took too long.
        """
        path = "%s/%s" % (BDBS, identifier)
        self._order(path, on)
        deadline = time.monotonic() + self._wait_seconds
        while True:
            bdb = self._client.request("GET", path, BDB_FIELDS)
            if bdb.get(SWITCH) is on and bdb.get("status") != CHANGING:
                return
            if time.monotonic() >= deadline:
                raise ClientError(
                    "The cluster accepted %s=%s for %s, and has not carried it out after %d seconds (option wait_timeout); the database is %s."
                    % (SWITCH, str(on).lower(), bdb.get("name", path), self._wait_seconds, bdb.get("status", "in an unknown state"))
                )
            time.sleep(POLL_SECONDS)

    def agents_and_sending(self) -> Dict[str, Any]:
        """Nothing: a cluster's nodes are no matter of this collection, and how sending goes is not in its API."""
        return {}

    def _order(self, path: str, on: bool) -> None:
        deadline = time.monotonic() + self._wait_seconds
        while True:
            try:
                return self._client.command("PUT", path, {SWITCH: on})
            except ApiError as error:
                # The status, as no code is documented: for this request it means "busy with another change, try again later".
                if error.status != 409:
                    raise
                if time.monotonic() >= deadline:
                    raise error.advised("It was tried for %d seconds (option wait_timeout)." % self._wait_seconds) from error
            time.sleep(POLL_SECONDS)


Switches = Union[DbauditSwitches, RedisEnterpriseSwitches]


def switches_of(client: Client, wait_seconds: float) -> Switches:
    """The switches of the product that answers: only dbaudit takes keys, both take users.

    :param wait_seconds: as for ``RedisEnterpriseSwitches``.
    :raises ClientError: the product could not be determined.
    """
    if client.by_user and not _without_bdbs(client):
        return RedisEnterpriseSwitches(client, wait_seconds)
    return DbauditSwitches(client)


def _without_bdbs(client: Client) -> bool:
    try:
        client.request("GET", BDBS, BDB_FIELDS)
    except ApiError as error:
        if error.code in ("not_found", "path_not_found") and error.facts["request_id"]:
            return True
        raise
    return False


def _shown(identifier: str, database: Mapping[str, Any]) -> Dict[str, Any]:
    if not isinstance(database.get(SWITCH), bool):
        raise ClientError("The API does not know %s of databases: its version is too old (Redis Enterprise has it since 6.2.18)." % SWITCH)
    return {"id": identifier, "name": database["name"], SWITCH: database[SWITCH]}
