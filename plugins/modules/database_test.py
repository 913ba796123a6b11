#!/usr/bin/python

# Copyright (c) 2026, The dbaudit authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: database_test
short_description: Try the connection of an audited database now
version_added: 0.1.0
description:
  - Has an agent connect to a declared database with the stored credentials, and returns what works and what is missing,
    each with the exact statement that mends it.
  - The task fails when the server is not reached, the log-in is refused, or a right is missing that collecting needs.
    Nothing is changed on either side.
author:
  - The dbaudit authors (@dbaudit)
extends_documentation_fragment:
  - dbaudit.dbaudit.connection
  - dbaudit.dbaudit.attributes.info
options:
  name:
    description:
      - The exact name of the database.
    type: str
  id:
    description:
      - The identifier of the database, such as C(db_abc123), instead of its name.
    type: str
  fail_on_warning:
    description:
      - Whether the task fails for warnings too, such as an audit source that could be better.
    type: bool
    default: false
seealso:
  - module: dbaudit.dbaudit.database
  - module: dbaudit.dbaudit.database_info
"""

EXAMPLES = r"""
- name: Try the shop's database
  dbaudit.dbaudit.database_test:
    api_url: https://audit.example.com:8443
    api_key: "{{ lookup('ansible.builtin.env', 'DBAUDIT_API_KEY') }}"
    name: shop
  register: shop

- name: Show what the agent found
  ansible.builtin.debug:
    msg: "{{ shop.report.version }}, {{ shop.report.latency_ms }} ms, read from {{ shop.report.audit_source }}"
"""

RETURN = r"""
report:
  description: What the agent found.
  returned: success, and when the connection or a right failed
  type: dict
  contains:
    success:
      description: Whether the server was reached and every right that collecting needs is there.
      type: bool
    latency_ms:
      description: The round trip of a trivial statement, in milliseconds.
      type: float
      sample: 1.2
    version:
      description: The version of the server.
      type: str
      sample: PostgreSQL 16.1
    permissions:
      description: Each right that the engine looks for, and whether it is there.
      type: dict
      sample: {pg_monitor: true}
    warnings:
      description: One line for each diagnosis that wants attention, with its remedy.
      type: list
      elements: str
    diagnoses:
      description: Each step of the test with C(code), C(status), C(detail) and C(remedy).
      type: list
      elements: dict
    audit_source:
      description: Where events would be read from.
      type: str
      sample: jsonlog
    error_code:
      description: Why the server was not reached, such as C(authentication_failed).
      type: str
    error:
      description: The same in words.
      type: str
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

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.dbaudit.dbaudit.plugins.module_utils._argspec import argument_spec, refuse_empty
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._client import Client
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._database import DATABASES
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._errors import ClientError
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._resource import Resource


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(
            name={"type": "str"}, id={"type": "str"}, fail_on_warning={"type": "bool", "default": False}
        ),
        required_one_of=[("name", "id")],
        mutually_exclusive=[("name", "id")],
        supports_check_mode=True,
    )
    refuse_empty(module, ("id", "name"))
    params = module.params
    try:
        databases = Resource(Client.of(params), *DATABASES)
        database = databases.get(params["id"]) if params["id"] is not None else databases.named(params["name"])
        if database is None:
            raise ClientError("There is no database %s." % (params["name"] or params["id"]))
        report = databases.act(database["id"], "test")
        if not report["success"] or (params["fail_on_warning"] and report["warnings"]):
            raise ClientError("%s: %s" % (database["name"], " ".join(report["warnings"])), report=report)
        module.exit_json(changed=False, report=report)
    except ClientError as error:
        module.fail_json(**error.result())


if __name__ == "__main__":
    main()
