# Copyright (c) 2026, The dbaudit authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: it can change with every release.

"""Brings one kind of resource to its declared state.

What would change is always asked of the API itself (``dry_run``): check mode, diff and the real run share one path,
and secrets are compared where they are stored.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional
from urllib.parse import quote

from ansible_collections.dbaudit.dbaudit.plugins.module_utils._client import Client
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._errors import ApiError, ClientError


class Outcome(NamedTuple):
    """What was done, or would be done in check mode.

    ``resource`` is the resource afterwards, None when there is none any more.
    """

    changed: bool
    diff: Dict[str, Any]
    resource: Optional[Dict[str, Any]]


class Resource:
    """The resources of one kind below ``path``, each with an ``id`` and a ``name``; ``kind`` is their word in messages."""

    def __init__(self, client: Client, path: str, kind: str) -> None:
        self._client = client
        self._path = path
        self._kind = kind

    def get(self, identifier: str) -> Optional[Dict[str, Any]]:
        """The resource with this id, or None.

        :raises ClientError: the id is empty, which would address the whole list.
        """
        if not identifier:
            raise ClientError("The id is empty.")
        try:
            return self._client.request("GET", self.path_of(identifier))
        except ApiError as error:
            if error.is_gone:
                return None
            raise

    def named(self, name: str) -> Optional[Dict[str, Any]]:
        """The resource with exactly this name, or None.

        :raises ClientError: several have it, or the name is empty, which would address all of them.
        """
        if not name:
            raise ClientError("The name is empty.")
        found = self.matching({"name": name})
        if len(found) > 1:
            ids = ", ".join(item["id"] for item in found)
            raise ClientError("%d %ss are named %s: %s. Address one of them by its id." % (len(found), self._kind, name, ids))
        return found[0] if found else None

    def matching(self, filters: Mapping[str, Any]) -> List[Dict[str, Any]]:
        """Every resource that fits the ``filters`` of the API, as its list shows it."""
        return list(self._client.items(self._path, filters))

    def detail(self, identifier: str, what: str) -> Any:
        """What stands below the resource with this id, such as ``status``."""
        return self._client.request("GET", "%s/%s" % (self.path_of(identifier), what))

    def act(self, identifier: str, what: str) -> Any:
        """Does something with the resource with this id, such as ``test``, and returns what the API says of it."""
        return self._client.request("POST", "%s/%s" % (self.path_of(identifier), what))

    def create(self, body: Mapping[str, Any], query: Mapping[str, Any], check_mode: bool) -> Outcome:
        """Makes the resource that ``body`` declares; ``query`` goes along with the real request only."""
        return self._change("POST", self._path, {}, body, query, check_mode)

    def update(self, current: Mapping[str, Any], body: Mapping[str, Any], query: Mapping[str, Any], check_mode: bool) -> Outcome:
        """Brings ``current`` to what ``body`` declares; what it leaves out stays."""
        return self._change("PATCH", self.path_of(current["id"]), current, body, query, check_mode)

    def delete(self, current: Mapping[str, Any], check_mode: bool) -> Outcome:
        """Removes ``current``; that it vanished meanwhile is as good."""
        path = self.path_of(current["id"])
        changed, diff = False, {"before": {}, "after": {}}
        try:
            plan = self._client.request("DELETE", path, {"dry_run": "true"})
            changed, diff = plan["changed"], _diff(plan)
            if not check_mode:
                self._client.request("DELETE", path)
        except ApiError as error:
            if not error.is_gone:
                raise
        return Outcome(changed, diff, None)

    def path_of(self, identifier: str) -> str:
        """Where the resource with this id is."""
        return "%s/%s" % (self._path, quote(identifier, safe=""))

    def _change(
        self, method: str, path: str, current: Mapping[str, Any], body: Mapping[str, Any], query: Mapping[str, Any], check_mode: bool
    ) -> Outcome:
        if not body:
            return Outcome(False, {"before": {}, "after": {}}, dict(current))
        plan = self._client.request(method, path, {"dry_run": "true"}, body)
        diff = _diff(plan)
        if not plan["changed"]:
            return Outcome(False, diff, dict(current))
        if check_mode:
            shown = {field: value for field, value in plan["diff"]["after"].items() if field + "_changed" not in plan["diff"]}
            return Outcome(True, diff, dict(current, **shown))
        return Outcome(True, diff, self._client.request(method, path, query, body))


def _diff(plan: Mapping[str, Any]) -> Dict[str, Any]:
    """The diff of a dry run. Secrets look alike before and after, so what Ansible prints has the API's mark
    (``password_changed``) among the fields.
    """
    marks = {name: value for name, value in plan["diff"].items() if name.endswith("_changed")}
    return {"before": plan["diff"]["before"], "after": dict(plan["diff"]["after"], **marks)}
