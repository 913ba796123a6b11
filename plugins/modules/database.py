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
    So check mode and diff tell the truth about secrets too, and a second run reports no change.
author:
  - The dbaudit authors (@dbaudit)
extends_documentation_fragment:
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
  name:
    description:
      - The name of the database in dbaudit, which is its identity unless O(id) is given.
      - One of O(name) and O(id) is required.
    type: str
  id:
    description:
      - The identifier that the API gave the database, such as C(db_abc123).
      - With it, O(name) is the name that the database gets, so that it can be renamed.
    type: str
  type:
    description:
      - The engine of the database, such as V(postgresql). C(dbaudit engines) lists those that the installation knows.
      - Required for a new database; cannot be changed afterwards.
    type: str
  host:
    description:
      - The host name or IP address of the database server, as the agents reach it.
      - Required for a new database.
    type: str
  port:
    description:
      - The TCP port of the database server.
      - For a new database it may be left out for the port that is usual for O(type),
        which is 5432 for V(postgresql), 3306 for V(mysql) and V(mariadb), 1433 for V(sqlserver), 1521 for V(oracle)
        and 27017 for V(mongodb).
    type: int
  database:
    description:
      - The name of the database on its server.
      - Required for a new database.
    type: str
  username:
    description:
      - The user that the agents log in as. It needs rights to read the audit records and nothing more.
      - Required for a new database.
    type: str
  password:
    description:
      - The password of O(username). It is stored encrypted and never shown.
      - Required for a new database; an empty text where O(ssl_cert) is enough to log in.
    type: str
  update_password:
    description:
      - V(always) replaces the stored password when O(password) is another one.
      - V(on_create) sets O(password) for a new database only.
    type: str
    choices: [always, on_create]
    default: always
  ssl_mode:
    description:
      - How the agents' connection to the database server is protected. V(disable) does not use TLS,
        V(require) encrypts without knowing the server, V(verify-ca) checks the server's certificate and
        V(verify-full) checks that it was made out for O(host) too.
    type: str
    choices: [disable, require, verify-ca, verify-full]
  ssl_ca:
    description:
      - The certificates of the authorities to trust, as PEM text. An empty text takes them away.
    type: str
  ssl_cert:
    description:
      - The client certificate to log in with, as PEM text. An empty text takes it away.
    type: str
  ssl_key:
    description:
      - The private key of O(ssl_cert), as PEM text. It is stored encrypted and never shown. An empty text takes it away.
    type: str
  tags:
    description:
      - Words to find the database by. The list replaces the present one; an empty list takes all tags away.
    type: list
    elements: str
  audit_options:
    description:
      - What is collected and kept. Options that are left out stay as they are.
    type: dict
    suboptions:
      capture_queries:
        description: Whether the text of statements is stored.
        type: bool
      capture_results:
        description: Whether row counts and result states are stored, where the engine tells them. The rows themselves never are.
        type: bool
      mask_sensitive_data:
        description:
          - Whether the values in statements are replaced before they are stored. Passwords are removed whatever this says.
        type: bool
      retention_days:
        description: The days to keep events.
        type: int
      engine:
        description:
          - Options that only the engine of this database knows. They replace the present ones.
        type: dict
  audit_status:
    description:
      - V(paused) stops the collecting of events, V(active) goes on with it.
    type: str
    choices: [active, paused]
  db_conns_auditing:
    description:
      - Whether connection events of this database are sent to the listener that the cluster's settings name, from now on.
      - Without it a new database gets what the cluster's policy says. It cannot be turned on while nothing says where to send.
    type: bool
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

from ansible_collections.dbaudit.dbaudit.plugins.module_utils._argspec import argument_spec
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._client import Client
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._database import DATABASES, FIELDS, ensure
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._errors import ClientError
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._resource import Resource


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(
            state={"type": "str", "choices": ["present", "absent"], "default": "present"},
            id={"type": "str"},
            update_password={"type": "str", "choices": ["always", "on_create"], "default": "always", "no_log": False},
            verify={"type": "bool", "default": False},
            wait={"type": "bool", "default": False},
            wait_timeout={"type": "int", "default": 60},
            **FIELDS,
        ),
        required_one_of=[("name", "id")],
        supports_check_mode=True,
    )
    try:
        databases = Resource(Client.of(module.params), *DATABASES)
        module.exit_json(**ensure(databases, module.params, module.check_mode))
    except ClientError as error:
        module.fail_json(**error.result())


if __name__ == "__main__":
    main()
