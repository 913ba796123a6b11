#!/usr/bin/python

# Copyright (c) 2026, The dbaudit authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: api_key
short_description: Make, change and revoke keys of the dbaudit API
version_added: 0.1.0
description:
  - Makes a key of the API with the scopes that are asked for, changes its scopes, replaces it or revokes it.
  - A key is shown only once, in the result of the task that makes it. Use C(no_log) on that task, and keep the key in a vault.
  - O(api_key) has to be a key with the scope V(admin).
author:
  - The dbaudit authors (@dbaudit)
extends_documentation_fragment:
  - dbaudit.dbaudit.connection
  - dbaudit.dbaudit.attributes
options:
  state:
    description:
      - V(present) makes the key when none of this name can be used, and gives it exactly these O(scopes).
      - What it is bound to beside its scopes stays as it is where the option is not given, also with O(replace=true).
      - V(absent) revokes every key of this name.
    type: str
    choices: [present, absent]
    default: present
  name:
    description:
      - What the key is for. It is the identity of the key.
    type: str
    required: true
  scopes:
    description:
      - What the key may do; V(admin) contains all others. Required with O(state=present).
    type: list
    elements: str
    choices: ["read:databases", "write:databases", "test:databases", "read:events", view_cluster_info, update_cluster, admin]
  expires_at:
    description:
      - From when on the key is refused, in UTC as V(2027-01-31T12:00:00Z), or V(never).
      - A key that has expired gets more time by a later one.
    type: str
  networks:
    description:
      - Where the key may be used, in CIDR notation, such as V(10.1.0.0/16). An empty list is everywhere.
      - What counts is the address of the TCP connection; behind a proxy it is that of the proxy.
    type: list
    elements: str
  tags:
    description:
      - The key reaches only databases that have all of these tags, and their events. An empty list is all databases.
      - Not together with the scopes V(view_cluster_info), V(update_cluster) and V(admin).
    type: list
    elements: str
  replace:
    description:
      - Whether to make a new key in any case and revoke the present one, to change keys from time to time.
      - The task is never unchanged then.
    type: bool
    default: false
attributes:
  idempotent:
    support: partial
    details:
      - With O(replace=true) each run makes a new key.
"""

EXAMPLES = r"""
- name: Make a key for the reports
  dbaudit.dbaudit.api_key:
    api_url: https://audit.example.com:8443
    api_key: "{{ lookup('ansible.builtin.env', 'DBAUDIT_API_KEY') }}"
    name: reports
    scopes:
      - read:databases
      - read:events
    networks:
      - 10.1.0.0/16
    tags:
      - shop
  register: reports
  no_log: true

- name: Revoke it
  dbaudit.dbaudit.api_key:
    api_url: https://audit.example.com:8443
    api_key: "{{ lookup('ansible.builtin.env', 'DBAUDIT_API_KEY') }}"
    name: reports
    state: absent
"""

RETURN = r"""
key:
  description: The key itself, which nobody can show again.
  returned: when a key was made
  type: str
info:
  description: What the API knows of the key, without the key itself. In check mode, as it would be.
  returned: success and O(state=present)
  type: dict
  sample:
    id: key_abc123
    name: reports
    scopes: ["read:databases", "read:events"]
    created_at: "2026-01-15T10:30:00Z"
    last_used_at: null
    revoked_at: null
    expires_at: null
    networks: [10.1.0.0/16]
    tags: [shop]
diff:
  description: What changed.
  returned: success
  type: dict
error_code:
  description: The code of the API's error, which stays the same over releases. V(null) when the answer was none of the API's.
  returned: when the API refused
  type: str
  sample: not_found
status:
  description: The HTTP status of the API's answer.
  returned: when the API refused
  type: int
  sample: 404
details:
  description: The fields that the API refused, each with C(pointer) and C(message).
  returned: when the API refused
  type: list
  elements: dict
request_id:
  description: The identifier under which the API's log has the request.
  returned: when the API refused
  type: str
"""

import re
from ipaddress import ip_network
from typing import Any, Dict, List, Mapping

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.dbaudit.dbaudit.plugins.module_utils._argspec import argument_spec, refuse_empty, refuse_null
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._client import Client
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._errors import ClientError

PATH = "/v1/keys"
SCOPES = ["read:databases", "write:databases", "test:databases", "read:events", "view_cluster_info", "update_cluster", "admin"]
BOUNDS = ("expires_at", "networks", "tags")
NEVER = "never"
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


def ensure(client: Client, params: Mapping[str, Any], check_mode: bool) -> Dict[str, Any]:
    """Brings the key of a name to what the task declares, and returns the result of the module."""
    usable = [key for key in client.request("GET", PATH)["data"] if key["name"] == params["name"] and key["revoked_at"] is None]
    before = {key["id"]: _declared(key) for key in usable}
    if params["state"] == "absent":
        if not check_mode:
            _revoke(client, usable)
        return {"changed": bool(usable), "diff": {"before": before, "after": {}}}
    if len(usable) > 1:
        ids = ", ".join(key["id"] for key in usable)
        raise ClientError("%d keys are named %s: %s. Revoke all but one with dbaudit keys revoke." % (len(usable), params["name"], ids))
    wanted = _wanted(params)
    if usable and not params["replace"]:
        return _changed(client, usable[0], wanted, check_mode)
    for key in usable:
        wanted = dict({name: key[name] for name in BOUNDS}, **wanted)
    result: Dict[str, Any] = {
        "changed": True,
        "info": dict(wanted, name=params["name"]),
        "diff": {"before": before, "after": {"new": wanted}},
    }
    if not check_mode:
        made = client.request("POST", PATH, None, dict(wanted, name=params["name"]))
        result["key"] = made.pop("key")
        result["info"] = made
        try:
            _revoke(client, usable)
        except ClientError as error:
            raise ClientError("The new key was made, but the old one was not revoked: %s" % error, **result) from error
    return result


def _wanted(params: Mapping[str, Any]) -> Dict[str, Any]:
    wanted: Dict[str, Any] = {"scopes": [scope for scope in SCOPES if scope in params["scopes"]]}
    if params["expires_at"] is not None:
        if params["expires_at"] != NEVER and not TIME.match(params["expires_at"]):
            raise ClientError("expires_at has to be a time in UTC such as 2027-01-31T12:00:00Z, or never.")
        wanted["expires_at"] = None if params["expires_at"] == NEVER else params["expires_at"]
    if params["networks"] is not None:
        wanted["networks"] = list(dict.fromkeys(_normal(network) for network in params["networks"]))
    if params["tags"] is not None:
        wanted["tags"] = params["tags"]
    return wanted


def _normal(network: str) -> str:
    try:
        return str(ip_network(network))
    except ValueError:
        return network  # the API says what is wrong with it


def _declared(key: Mapping[str, Any]) -> Dict[str, Any]:
    return {name: key[name] for name in ("scopes",) + BOUNDS}


def _changed(client: Client, key: Mapping[str, Any], wanted: Mapping[str, Any], check_mode: bool) -> Dict[str, Any]:
    before, after = _declared(key), dict(_declared(key), **wanted)
    info = dict(key, **after)
    if before != after and not check_mode:
        info = client.request("PATCH", "%s/%s" % (PATH, key["id"]), None, wanted)
    return {"changed": before != after, "info": info, "diff": {"before": {key["id"]: before}, "after": {key["id"]: after}}}


def _revoke(client: Client, keys: List[Dict[str, Any]]) -> None:
    for key in keys:
        client.request("DELETE", "%s/%s" % (PATH, key["id"]))


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(
            state={"type": "str", "choices": ["present", "absent"], "default": "present"},
            name={"type": "str", "required": True},
            scopes={"type": "list", "elements": "str", "choices": SCOPES},
            expires_at={"type": "str"},
            networks={"type": "list", "elements": "str"},
            tags={"type": "list", "elements": "str"},
            replace={"type": "bool", "default": False},
        ),
        required_if=[("state", "present", ["scopes"])],
        supports_check_mode=True,
    )
    refuse_empty(module, ("name",))
    refuse_null(module, ("expires_at", "networks", "tags"))
    try:
        module.exit_json(**ensure(Client.of(module.params), module.params, module.check_mode))
    except ClientError as error:
        module.fail_json(**error.result())


if __name__ == "__main__":
    main()
