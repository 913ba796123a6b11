#!/usr/bin/python

# Copyright (c) 2026, The dbaudit authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: event_info
short_description: Read audit events
version_added: 0.1.0
description:
  - Returns the audit events that fit every filter given, such as the failed log-ins of the last day.
  - It reads no more than O(max_events), because a database can have millions. Other programs follow events with the API itself.
author:
  - The dbaudit authors (@dbaudit)
extends_documentation_fragment:
  - dbaudit.dbaudit.connection
  - dbaudit.dbaudit.attributes.info
options:
  database_id:
    description:
      - The identifier of the database, also of one that was removed.
    type: str
  type:
    description:
      - The types of events, such as V(user.login_failed). Any of them fits.
    type: list
    elements: str
  user:
    description:
      - The whole name of the database user.
    type: str
  start_date:
    description:
      - The time from which on, in ISO 8601. Without a zone it is UTC.
    type: str
  end_date:
    description:
      - The time up to which, in ISO 8601. Without a zone it is UTC.
    type: str
  severity:
    description:
      - How much the events matter.
    type: str
    choices: [info, warning, critical]
  query_contains:
    description:
      - A part of the statement as it is stored.
    type: str
  order:
    description:
      - Which events come first by their time, and are returned when there are more than O(max_events).
    type: str
    choices: [newest, oldest]
    default: newest
  max_events:
    description:
      - The most events to return.
    type: int
    default: 1000
seealso:
  - module: dbaudit.dbaudit.database_info
"""

EXAMPLES = r"""
- name: Read the failed log-ins since midnight
  dbaudit.dbaudit.event_info:
    api_url: https://audit.example.com:8443
    api_key: "{{ lookup('ansible.builtin.env', 'DBAUDIT_API_KEY') }}"
    type: [user.login_failed]
    start_date: "2026-01-20T00:00:00Z"
  register: failed

- name: Fail when there are many
  ansible.builtin.assert:
    that: failed.events | length < 100
"""

RETURN = r"""
events:
  description: The events, each with the fields that the API's document describes.
  returned: success
  type: list
  elements: dict
  sample:
    - id: evt_42
      type: user.login_failed
      timestamp: "2026-01-20T14:22:15.000000Z"
      database_id: db_abc123
      database_name: shop
      user: app
      source_ip: 10.0.0.7
      outcome: failure
truncated:
  description: Whether there are more events than O(max_events).
  returned: success
  type: bool
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

from typing import Any, Dict, List, Mapping, Tuple

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.dbaudit.dbaudit.plugins.module_utils._argspec import argument_spec, refuse_empty
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._client import Client
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._errors import ClientError

PATH = "/v1/events"
PAGE = 1000
FILTERS = {
    "database_id": {"type": "str"},
    "type": {"type": "list", "elements": "str"},
    "user": {"type": "str"},
    "start_date": {"type": "str"},
    "end_date": {"type": "str"},
    "severity": {"type": "str", "choices": ["info", "warning", "critical"]},
    "query_contains": {"type": "str"},
    "order": {"type": "str", "choices": ["newest", "oldest"], "default": "newest"},
}


def read(client: Client, params: Mapping[str, Any]) -> Tuple[List[Dict[str, Any]], bool]:
    """The events that fit, no more than asked for, and whether there are more."""
    wanted = {name: params[name] for name in FILTERS if params[name] is not None}
    if "type" in wanted:
        wanted["type"] = ",".join(wanted["type"])
    most = params["max_events"]
    if most < 1:
        raise ClientError("max_events must be at least 1.")
    events: List[Dict[str, Any]] = []
    while True:
        page = client.request("GET", PATH, dict(wanted, limit=min(PAGE, most - len(events))))
        events.extend(page["data"])
        cursor = page["pagination"]["next_cursor"]
        if cursor is None or len(events) >= most:
            return events, cursor is not None
        wanted["cursor"] = cursor


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(max_events={"type": "int", "default": 1000}, **FILTERS),
        supports_check_mode=True,
    )
    refuse_empty(module, FILTERS)
    try:
        events, truncated = read(Client.of(module.params), module.params)
        module.exit_json(changed=False, events=events, truncated=truncated)
    except ClientError as error:
        module.fail_json(**error.result())


if __name__ == "__main__":
    main()
