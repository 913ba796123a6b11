# Copyright (c) 2026, The dbaudit authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: it can change with every release.

"""A list of databases as a task declares it, in one request."""

from __future__ import annotations

import re
import time
from typing import Any, Dict, List, Mapping, Sequence

from ansible_collections.dbaudit.dbaudit.plugins.module_utils._client import Client
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._database import FIELDS, HOW, given_fields
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._errors import ApiError, ClientError

PATH = "/v1/databases/bulk"
POLL_SECONDS = 1.0
NAMED = 10
POINTER = re.compile(r"/databases/([0-9]+)(/.*)?")

ENTRY = {
    "type": "list",
    "elements": "dict",
    "required": True,
    "options": dict(HOW, **FIELDS),
    "required_one_of": [("name", "id")],
}


def ensure_all(client: Client, params: Mapping[str, Any], check_mode: bool) -> Dict[str, Any]:
    """Brings all databases of a list to what the task declares, and returns the result of the module.

    :param params: the options of the module ``databases``.
    :raises ClientError: it could not be done; nothing was changed then, except where it says so.
    """
    entries = params["databases"]
    body: Dict[str, Any] = {"databases": [_entry(entry) for entry in entries]}
    if params["prune"]:
        body["prune"] = {"tags": params["prune_tags"], "limit": params["prune_limit"]}
    try:
        plan = client.request("POST", PATH, {"dry_run": "true"} if check_mode else None, body)
    except ApiError as error:
        raise _named(error, entries) from error
    result = {
        "changed": plan["changed"],
        "results": [_without_diff(one) for one in plan["results"]],
        "pruned": [_without_diff(one) for one in plan["pruned"]],
        "diff": _diff(plan["results"] + plan["pruned"]),
    }
    if params["wait"] and not check_mode:
        _wait(client, result, params["wait_timeout"])
    return result


def wrong_entry(message: str, entries: Any) -> str:
    """``message`` of Ansible about an option of some entry, with the place of the first entry that it fits."""
    name = re.search(r"databases(?: -> |\.)(\w+)", message) or re.search(r"'(\w+)' is of type", message) or re.search(r"value of (\w+) must be", message)
    if not isinstance(entries, list) or name is None:
        return message
    for place, entry in enumerate(entries):
        if isinstance(entry, dict) and _is_wrong(entry, name.group(1)):
            return "%s This is entry %d of databases, %s." % (message, place, entry.get("name") or entry.get("id"))
    return message


def _is_wrong(entry: Mapping[str, Any], name: str) -> bool:
    option = dict(ENTRY["options"]).get(name)
    value = entry.get(name)
    if option is None:
        return name in entry
    if value is None:
        return False
    if "choices" in option:
        return value not in option["choices"]
    if option["type"] == "int":
        return not re.fullmatch(r"-?[0-9]+", str(value))
    if option["type"] == "bool":
        return str(value).lower() not in ("yes", "no", "true", "false", "on", "off", "1", "0", "y", "n", "t", "f", "1.0", "0.0")
    return not isinstance(value, {"dict": dict, "list": list}.get(option["type"], str))


def _entry(entry: Mapping[str, Any]) -> Dict[str, Any]:
    how = {name: entry[name] for name in HOW if entry[name] is not None}
    return dict(given_fields(entry), **how)


def _named(error: ApiError, entries: Sequence[Mapping[str, Any]]) -> ClientError:
    """The error of the API, which points into the list, with the names of the databases that it means."""
    lines = []
    for detail in error.facts["details"]:
        found = POINTER.fullmatch(detail["pointer"])
        if found is not None:
            entry = entries[int(found.group(1))]
            detail["database"] = entry["name"] or entry["id"]
            lines.append("%s (entry %s): %s %s" % (detail["database"], found.group(1), (found.group(2) or "")[1:], detail["message"]))
    if not lines:
        return error
    more = "" if len(lines) <= NAMED else " And %d more." % (len(lines) - NAMED)
    return ClientError("Nothing was changed. %s.%s" % ("; ".join(lines[:NAMED]), more), **error.facts)


def _without_diff(result: Mapping[str, Any]) -> Dict[str, Any]:
    return {name: value for name, value in result.items() if name != "diff"}


def _diff(results: Sequence[Mapping[str, Any]]) -> Dict[str, Any]:
    """Before and after of every database that changes, by its name, or by its id where several changed ones share it."""
    before: Dict[str, Any] = {}
    after: Dict[str, Any] = {}
    for result in results:
        if "diff" not in result:
            continue
        plan = result["diff"]
        name = result["name"] if result["name"] not in before else result["id"]
        marks = {mark: value for mark, value in plan.items() if mark.endswith("_changed")}
        before[name] = plan["before"]
        after[name] = dict(plan["after"], **marks)
    return {"before": before, "after": after}


def _wait(client: Client, result: Dict[str, Any], timeout_seconds: float) -> None:
    """Waits until an agent has tried the connection of every database of the list, and adds what it found.

    :raises ClientError: some connections failed, or the time is over.
    """
    wanted = {one["id"]: one for one in result["results"] if one["action"] != "removed" and one["id"] is not None}
    deadline = time.monotonic() + timeout_seconds
    while True:
        for database in _states(client, wanted):
            wanted[database["id"]].update(status=database["status"], status_reason=database["status_reason"])
        failed = [one for one in wanted.values() if one.get("status") == "error"]
        waiting = [one for one in wanted.values() if one.get("status") not in ("connected", "error")]
        if not waiting or time.monotonic() >= deadline:
            break
        time.sleep(POLL_SECONDS)
    if failed:
        text = "; ".join("%s: %s" % (one["name"], one["status_reason"] or "the API gives no reason") for one in failed[:NAMED])
        more = "" if len(failed) <= NAMED else " And %d more." % (len(failed) - NAMED)
        raise ClientError("All are declared, but the connections of %d of %d failed. %s.%s" % (len(failed), len(wanted), text, more), **result)
    if waiting:
        names = ", ".join(one["name"] for one in waiting[:NAMED])
        raise ClientError(
            "All are declared, but %d of %d are not connected after %d seconds (option wait_timeout), such as %s. Is an agent running?"
            % (len(waiting), len(wanted), timeout_seconds, names),
            **result,
        )


def _states(client: Client, wanted: Mapping[str, Any]) -> List[Dict[str, Any]]:
    return [database for database in client.items("/v1/databases", {}) if database["id"] in wanted]
