# Copyright (c) 2026, The dbaudit authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: database
short_description: Look audited databases up by their names
version_added: 0.1.0
description:
  - Returns what M(dbaudit.dbaudit.database_info) returns of each named database.
  - It fails for a name that no database has.
author:
  - The dbaudit authors (@dbaudit)
extends_documentation_fragment:
  - dbaudit.dbaudit.controller
options:
  _terms:
    description:
      - The names of the databases, or their identifiers, such as C(db_abc123).
    type: list
    elements: str
    required: true
seealso:
  - plugin: dbaudit.dbaudit.databases
    plugin_type: inventory
"""

EXAMPLES = r"""
- name: Show where the shop's database is
  ansible.builtin.debug:
    msg: "{{ database.host }}:{{ database.port }} is {{ database.status }}"
  vars:
    database: "{{ lookup('dbaudit.dbaudit.database', 'shop', api_url='https://audit.example.com:8443') }}"
"""

RETURN = r"""
_raw:
  description: The databases, without their secrets.
  type: list
  elements: dict
"""

from typing import Any, Dict, List, Optional

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.dbaudit.dbaudit.plugins.module_utils._client import Client
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._database import DATABASES
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._errors import ClientError
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._resource import Resource

CONNECTION = ("api_url", "api_key", "validate_certs", "ca_path", "timeout", "retries")


class LookupModule(LookupBase):
    """One request for each name."""

    def run(self, terms: List[str], variables: Optional[Dict[str, Any]] = None, **kwargs: Any) -> List[Dict[str, Any]]:
        self.set_options(var_options=variables, direct=kwargs)
        try:
            databases = Resource(Client.of({name: self.get_option(name) for name in CONNECTION}), *DATABASES)
            return [_found(databases, "" if term is None else str(term)) for term in terms]
        except ClientError as error:
            raise AnsibleLookupError(str(error)) from error


def _found(databases: Resource, term: str) -> Dict[str, Any]:
    found = databases.named(term)
    if found is None and term.startswith("db_"):
        found = databases.get(term)
    if found is None:
        raise ClientError("There is no database named %s." % term)
    return found
