#!/usr/bin/python

# Copyright (c) 2026, The dbaudit authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: database
short_description: Declare a database whose activity is audited
version_added: 0.1.0
description:
  - Declares one database to dbaudit, changes its declaration, or ends its auditing.
  - What would change is asked of the API itself, which also compares passwords where they are stored.
    So check mode and diff are correct for secrets too, and a second run reports no change.
author:
  - The dbaudit authors (@dbaudit)
extends_documentation_fragment:
  - dbaudit.dbaudit.declaration
  - dbaudit.dbaudit.connection
  - dbaudit.dbaudit.attributes
options:
  state:
    description:
      - V(present) makes the database what the other options say. Options that are left out stay as they are.
      - V(absent) ends its auditing. Events that were collected are kept until their retention ends.
    type: str
    choices: [present, absent]
    default: present
  verify:
    description:
      - Whether an agent tries the connection before a new database or a change is stored. If it fails, nothing is stored and the
        task fails, with the agent's report.
      - The agent is given a minute to try, whatever O(timeout) says. Nothing is tried in check mode, nor when nothing would change.
    type: bool
    default: false
  wait:
    description:
      - Whether to wait until an agent has tried the connection. If it fails, the task fails; the declaration is stored all the same.
      - Nothing is waited for in check mode.
    type: bool
    default: false
  wait_timeout:
    description:
      - The seconds to wait at most when O(wait=true).
    type: int
    default: 60
seealso:
  - module: dbaudit.dbaudit.databases
  - module: dbaudit.dbaudit.database_info
"""

EXAMPLES = r"""
- name: Audit the shop's database
  dbaudit.dbaudit.database:
    api_url: https://audit.example.com:8443
    api_key: "{{ lookup('ansible.builtin.env', 'DBAUDIT_API_KEY') }}"
    name: shop
    type: postgresql
    host: pg1.example.com
    database: shop
    username: dbaudit
    password: "{{ shop_audit_password }}"
    ssl_mode: verify-full
    ssl_ca: "{{ lookup('ansible.builtin.file', 'company-ca.pem') }}"
    tags:
      - production
      - critical
    audit_options:
      capture_queries: true
      mask_sensitive_data: true
      retention_days: 365

- name: Say only once where the API is
  module_defaults:
    group/dbaudit.dbaudit.dbaudit:
      api_url: https://audit.example.com:8443
      api_key: "{{ lookup('ansible.builtin.env', 'DBAUDIT_API_KEY') }}"
  block:
    - name: Audit the warehouse, and wait until an agent has reached it
      dbaudit.dbaudit.database:
        name: warehouse
        type: postgresql
        host: pg2.example.com
        port: 5433
        database: warehouse
        username: dbaudit
        password: "{{ warehouse_audit_password }}"
        wait: true
      register: warehouse

    - name: Rename it
      dbaudit.dbaudit.database:
        id: "{{ warehouse.database.id }}"
        name: warehouse-2

    - name: Stop collecting for a while
      dbaudit.dbaudit.database:
        name: warehouse-2
        audit_status: paused

    - name: End its auditing
      dbaudit.dbaudit.database:
        name: warehouse-2
        state: absent
"""

RETURN = r"""
database:
  description:
    - The database as the API has it, without its secrets. In check mode, as it would be.
    - Its fields are those that M(dbaudit.dbaudit.database_info) describes.
  returned: success and O(state=present)
  type: dict
  sample:
    id: db_abc123
    name: shop
    type: postgresql
    host: pg1.example.com
    port: 5432
    database: shop
    username: dbaudit
    ssl_mode: verify-full
    status: pending
    audit_status: initializing
    tags: [critical, production]
    created_at: "2026-01-15T10:30:00Z"
    updated_at: "2026-01-15T10:30:00Z"
diff:
  description:
    - What changed, without secrets.
    - A changed secret shows as C(password_changed) or C(ssl_key_changed) under C(after).
  returned: success
  type: dict
  sample:
    before: {port: 5432}
    after: {port: 5433, password_changed: true}
error_code:
  description: The code of the API's error, which stays the same over releases. V(null) when the answer was none of the API's.
  returned: when the API refused
  type: str
  sample: validation_failed
status:
  description: The HTTP status of the API's answer.
  returned: when the API refused
  type: int
  sample: 400
details:
  description: The fields that the API refused.
  returned: when the API refused
  type: list
  elements: dict
  contains:
    pointer:
      description: The JSON pointer of the field.
      type: str
      sample: /port
    message:
      description: What is wrong with it and what would be right.
      type: str
report:
  description: What the agent found when it tried the connection.
  returned: when O(verify=true) and the connection failed
  type: dict
request_id:
  description: The identifier under which the API's log has the request.
  returned: when the API refused
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.dbaudit.dbaudit.plugins.module_utils._argspec import argument_spec, refuse_empty
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._client import Client
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._database import DATABASES, FIELDS, HOW, ensure
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._errors import ClientError
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._resource import Resource


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(
            verify={"type": "bool", "default": False},
            wait={"type": "bool", "default": False},
            wait_timeout={"type": "int", "default": 60},
            **HOW,
            **FIELDS,
        ),
        required_one_of=[("name", "id")],
        supports_check_mode=True,
    )
    refuse_empty(module, ("id", "name"))
    try:
        databases = Resource(Client.of(module.params), *DATABASES)
        module.exit_json(**ensure(databases, module.params, module.check_mode))
    except ClientError as error:
        module.fail_json(**error.result())


if __name__ == "__main__":
    main()
