#!/usr/bin/python

# Copyright (c) 2026, The dbaudit authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: database_info
short_description: Read the databases whose activity is audited
version_added: 0.1.0
description:
  - Returns the databases that are declared to dbaudit, all of them or those that fit every filter given.
author:
  - The dbaudit authors (@dbaudit)
extends_documentation_fragment:
  - dbaudit.dbaudit.connection
  - dbaudit.dbaudit.attributes.info
options:
  id:
    description:
      - The identifier of one database, such as C(db_abc123). It takes no other filter beside it.
    type: str
  name:
    description:
      - The exact name of the database.
    type: str
  status:
    description:
      - The state of the connection.
    type: str
    choices: [connected, disconnected, pending, error]
  type:
    description:
      - The engine, such as V(postgresql).
    type: str
  tags:
    description:
      - Tags that a database must all have.
    type: list
    elements: str
  host:
    description:
      - The host name or IP address of the database server, as it was declared.
    type: str
  gather_status:
    description:
      - Whether to read the present status of each database too, with its collector and health checks. It takes one more request for each.
    type: bool
    default: false
seealso:
  - module: dbaudit.dbaudit.database
"""

EXAMPLES = r"""
- name: Read every database of production that is in trouble
  dbaudit.dbaudit.database_info:
    api_url: https://audit.example.com:8443
    api_key: "{{ lookup('ansible.builtin.env', 'DBAUDIT_API_KEY') }}"
    status: error
    tags:
      - production
  register: troubled

- name: Fail when there is one
  ansible.builtin.assert:
    that: troubled.databases | length == 0
    fail_msg: "Not audited: {{ troubled.databases | map(attribute='name') | join(', ') }}"

- name: Read the health of one database
  dbaudit.dbaudit.database_info:
    api_url: https://audit.example.com:8443
    api_key: "{{ lookup('ansible.builtin.env', 'DBAUDIT_API_KEY') }}"
    name: shop
    gather_status: true
  register: shop

- name: Show it
  ansible.builtin.debug:
    var: shop.databases[0].current_status.health_checks
"""

RETURN = r"""
databases:
  description:
    - The databases that fit, without their secrets. Empty when there are none.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The identifier of the database.
      type: str
      sample: db_abc123
    name:
      description: The name of the database in dbaudit.
      type: str
      sample: shop
    type:
      description: The engine.
      type: str
      sample: postgresql
    host:
      description: The host of the database server.
      type: str
      sample: pg1.example.com
    port:
      description: The port of the database server.
      type: int
      sample: 5432
    database:
      description: The name of the database on its server.
      type: str
      sample: shop
    username:
      description: The user that the agents log in as.
      type: str
      sample: dbaudit
    ssl_mode:
      description: How the connection to the database server is protected.
      type: str
      sample: verify-full
    ssl_ca:
      description: The certificates of the authorities that are trusted, V(null) without.
      type: str
    ssl_cert:
      description: The client certificate, V(null) without.
      type: str
    tags:
      description: The words to find the database by.
      type: list
      elements: str
      sample: [production, critical]
    audit_options:
      description: What is collected and kept.
      type: dict
      sample: {capture_queries: true, capture_results: false, mask_sensitive_data: true, retention_days: 90, scope: database, engine: {}}
    status:
      description: The state of the connection, one of C(connected), C(disconnected), C(pending) and C(error).
      type: str
      sample: connected
    status_code:
      description: Why the state is C(error) or C(disconnected), as a code that stays the same over releases.
      type: str
      sample: authentication_failed
    status_reason:
      description: The same in words, with the remedy where one is known.
      type: str
    audit_status:
      description: The state of the collecting, one of C(active), C(paused) and C(initializing).
      type: str
      sample: active
    db_conns_auditing:
      description: Whether its connection events are sent to the listener of the cluster's settings.
      type: bool
      sample: false
    created_at:
      description: When the database was declared, in UTC.
      type: str
      sample: "2026-01-15T10:30:00Z"
    updated_at:
      description: When the declaration last changed, in UTC.
      type: str
      sample: "2026-01-15T10:30:00Z"
    last_event_at:
      description: When its latest event happened, in UTC. V(null) before the first one.
      type: str
      sample: "2026-01-20T14:22:15Z"
    stats:
      description: Numbers of events.
      returned: when O(id) is given
      type: dict
      sample: {events_today: 15420, events_this_week: 98540, alerts_pending: 0, policies_active: 0}
    health:
      description: What the agent last measured.
      returned: when O(id) is given
      type: dict
      sample: {latency_ms: 1.2, last_heartbeat: "2026-01-20T15:30:00Z"}
    current_status:
      description: The answer of C(GET /v1/databases/{id}/status).
      returned: O(gather_status=true)
      type: dict
      sample:
        id: db_abc123
        connection_status: connected
        audit_status: active
        collector: {version: 0.1.0, uptime_seconds: 864000, events_per_second: 42.5}
        health_checks: {connectivity: healthy, permissions: healthy, latency: healthy, disk_space: unknown, audit_source: healthy}
        last_event: {timestamp: "2026-01-20T15:30:45Z", type: database.query, user: app_user}
"""

from typing import Any, Dict, List, Mapping

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.dbaudit.dbaudit.plugins.module_utils._argspec import argument_spec, refuse_empty
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._client import Client
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._database import DATABASES
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._errors import ClientError
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._resource import Resource

FILTERS = {
    "name": {"type": "str"},
    "status": {"type": "str", "choices": ["connected", "disconnected", "pending", "error"]},
    "type": {"type": "str"},
    "tags": {"type": "list", "elements": "str"},
    "host": {"type": "str"},
}


def gather(databases: Resource, params: Mapping[str, Any]) -> List[Dict[str, Any]]:
    if params["id"] is not None:
        one = databases.get(params["id"])
        found = [] if one is None else [one]
    else:
        tags = params["tags"]
        if any("," in tag for tag in tags or ()):
            raise ClientError("tags: no tag has a comma; give a list.")
        filters = {name: params[name] for name in FILTERS if params[name] is not None}
        if tags is not None:
            filters["tags"] = ",".join(tags)
        found = databases.matching(filters)
    if params["gather_status"]:
        found = [dict(database, current_status=databases.detail(database["id"], "status")) for database in found]
    return found


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(id={"type": "str"}, gather_status={"type": "bool", "default": False}, **FILTERS),
        mutually_exclusive=[("id", name) for name in FILTERS],
        supports_check_mode=True,
    )
    refuse_empty(module, ("id", *FILTERS))
    try:
        databases = Resource(Client.of(module.params), *DATABASES)
        module.exit_json(changed=False, databases=gather(databases, module.params))
    except ClientError as error:
        module.fail_json(**error.result())


if __name__ == "__main__":
    main()
