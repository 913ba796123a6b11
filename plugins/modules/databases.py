#!/usr/bin/python

# Copyright (c) 2026, The dbaudit authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: databases
short_description: Declare all audited databases at once
version_added: 0.1.0
description:
  - Brings a whole list of databases to what is declared of them, with one request in one transaction.
    A thousand of them take about as long as ten.
  - Where anything is wrong with any of them, nothing is changed, and the message names the databases at fault.
  - Databases that the list does not name can be removed with O(prune).
author:
  - The dbaudit authors (@dbaudit)
extends_documentation_fragment:
  - dbaudit.dbaudit.declaration.list
  - dbaudit.dbaudit.connection
  - dbaudit.dbaudit.attributes
options:
  prune:
    description:
      - Whether to end the auditing of the databases that O(databases) does not name.
      - An empty list is refused then. Events that were collected are kept until their retention ends.
    type: bool
    default: false
  prune_tags:
    description:
      - Only databases with all of these tags are removed by O(prune), so that several playbooks can each have their own databases.
    type: list
    elements: str
    default: []
  prune_limit:
    description:
      - The most databases that O(prune) may remove. If it were more, the task fails and changes nothing.
    type: int
    default: 10
  wait:
    description:
      - Whether to wait until an agent has tried the connection of every database of the list. If some fail, the task fails and names
        them; everything is declared all the same.
      - Nothing is waited for in check mode.
    type: bool
    default: false
  wait_timeout:
    description:
      - The seconds to wait at most when O(wait=true).
    type: int
    default: 120
seealso:
  - module: dbaudit.dbaudit.database
  - module: dbaudit.dbaudit.database_info
"""

EXAMPLES = r"""
- name: Audit everything that the inventory lists, and nothing else
  dbaudit.dbaudit.databases:
    api_url: https://audit.example.com:8443
    api_key: "{{ lookup('ansible.builtin.env', 'DBAUDIT_API_KEY') }}"
    databases:
      - name: shop
        type: postgresql
        host: pg1.example.com
        database: shop
        username: dbaudit
        password: "{{ shop_audit_password }}"
        tags: [production]
      - name: billing
        type: mariadb
        host: maria1.example.com
        database: billing
        username: dbaudit
        password: "{{ billing_audit_password }}"
        tags: [production]
      - name: warehouse-old
        state: absent
    prune: true
    prune_tags: [production]
    wait: true
"""

RETURN = r"""
results:
  description: What became of each entry, in the order of O(databases).
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The identifier of the database; V(null) in check mode for one that would be new.
      type: str
    name:
      description: Its name.
      type: str
    action:
      description: What was done, or would be in check mode. V(created), V(updated), V(removed) or V(unchanged).
      type: str
    status:
      description: The status of its connection.
      returned: when O(wait=true)
      type: str
    status_reason:
      description: Why its connection failed.
      returned: when O(wait=true)
      type: str
  sample:
    - id: db_abc123
      name: shop
      action: created
pruned:
  description: The databases that O(prune) removed, or would in check mode; their fields are those of RV(results).
  returned: success
  type: list
  elements: dict
diff:
  description: What changed, by the name of the database, without secrets.
  returned: success
  type: dict
  sample:
    before: {shop: {port: 5432}}
    after: {shop: {port: 5433, password_changed: true}}
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
      sample: /databases/731/port
    database:
      description: The name of the database that it is about.
      type: str
      sample: shop
    message:
      description: What is wrong with it and what would be right.
      type: str
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.dbaudit.dbaudit.plugins.module_utils._argspec import argument_spec, refuse_null
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._client import Client
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._databases import ENTRY, ensure_all, wrong_entry
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._errors import ClientError


class Module(AnsibleModule):
    """The results of a module with a long list."""

    def exit_json(self, **facts: Any) -> None:
        super().exit_json(invocation=self._invocation(), **facts)

    def fail_json(self, msg: str, **facts: Any) -> None:
        """Ansible's own words about an option do not say which entry of the list they mean."""
        super().fail_json(wrong_entry(str(msg), self.params.get("databases")), invocation=self._invocation(), **facts)

    def _log_invocation(self) -> None:
        """Ansible would write the whole list into one line of the host's log."""
        self.log("Invoked with %s" % self._invocation()["module_args"]["databases"])

    def _invocation(self) -> Dict[str, Any]:
        """The options without the list: searching a thousand databases for a thousand passwords takes seconds."""
        entries = self.params.get("databases")
        count = len(entries) if isinstance(entries, list) else 0
        return {"module_args": dict(self.params, databases="a list of %d" % count)}


def main() -> None:
    module = Module(
        argument_spec=argument_spec(
            databases=ENTRY,
            prune={"type": "bool", "default": False},
            prune_tags={"type": "list", "elements": "str", "default": []},
            prune_limit={"type": "int", "default": 10},
            wait={"type": "bool", "default": False},
            wait_timeout={"type": "int", "default": 120},
        ),
        supports_check_mode=True,
    )
    refuse_null(module, ("prune_tags",))
    try:
        module.exit_json(**ensure_all(Client.of(module.params), module.params, module.check_mode))
    except ClientError as error:
        module.fail_json(**error.result())


if __name__ == "__main__":
    main()
