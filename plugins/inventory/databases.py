# Copyright (c) 2026, The dbaudit authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: databases
short_description: The audited databases as hosts
version_added: 0.1.0
description:
  - Makes a host of each database that is declared to dbaudit, in groups by type, status, audit status and tag.
  - The name of its file must end in C(dbaudit.yml) or C(dbaudit.yaml).
author:
  - The dbaudit authors (@dbaudit)
extends_documentation_fragment:
  - dbaudit.dbaudit.controller
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
options:
  plugin:
    description:
      - Has to be V(dbaudit.dbaudit.databases).
    type: str
    required: true
    choices: [dbaudit.dbaudit.databases]
  filters:
    description:
      - Only databases that fit all of these, as the options of M(dbaudit.dbaudit.database_info).
    type: dict
    default: {}
    suboptions:
      status:
        description: The state of the connection.
        type: str
      type:
        description: The engine.
        type: str
      tags:
        description: Tags that a database must all have.
        type: list
        elements: str
      host:
        description: The host name or IP address of the server.
        type: str
  hostname:
    description:
      - What a host is called. V(name) is the name of the database, which has to be its own; V(id) its identifier;
        V(host) the host of its server, which several databases can share.
    type: str
    choices: [name, id, host]
    default: name
  group_prefix:
    description:
      - The beginning of the names of the groups.
    type: str
    default: dbaudit_
notes:
  - Each host has the variable C(dbaudit_database) with everything that M(dbaudit.dbaudit.database_info) returns of the database, and
    C(ansible_host) with the host of its server. With O(hostname=host) C(dbaudit_databases) is the list of all that are there.
  - No secret is among them.
"""

EXAMPLES = r"""
# production.dbaudit.yml
plugin: dbaudit.dbaudit.databases
api_url: https://audit.example.com:8443
# api_key comes from the environment variable DBAUDIT_API_KEY
filters:
  tags: [production]
keyed_groups:
  - key: dbaudit_database.audit_options.retention_days
    prefix: retention
compose:
  ansible_port: 22
groups:
  in_trouble: dbaudit_database.status != 'connected'
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/dbaudit-inventory
cache_timeout: 300
"""

from typing import Any, Dict, List

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.utils.unsafe_proxy import wrap_var

from ansible_collections.dbaudit.dbaudit.plugins.module_utils._client import Client
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._errors import ClientError

CONNECTION = ("api_url", "api_key", "validate_certs", "ca_path", "timeout", "retries")
FILTERS = ("status", "type", "tags", "host")


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """Reads all pages of the list of databases, or what the cache has of it."""

    NAME = "dbaudit.dbaudit.databases"

    def verify_file(self, path: str) -> bool:
        return super().verify_file(path) and path.endswith(("dbaudit.yml", "dbaudit.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        key = self.get_cache_key(path)
        cached = self.get_option("cache")
        databases = None
        if cached and cache:
            try:
                databases = self._cache[key]
            except KeyError:
                pass
        if databases is None:
            databases = self._read()
            if cached:
                self._cache[key] = databases
        for database in databases:
            # What others declared is no template.
            self._add(wrap_var(database))

    def _read(self) -> List[Dict[str, Any]]:
        filters = dict(self.get_option("filters"))
        unknown = set(filters) - set(FILTERS)
        if unknown:
            raise AnsibleParserError("filters: %s is not known; known are %s." % (", ".join(sorted(unknown)), ", ".join(FILTERS)))
        for name, value in filters.items():
            if value in (None, "", []):
                raise AnsibleParserError("filters: %s is empty. Give a value, or leave the filter out." % name)
        if "tags" in filters:
            tags = filters["tags"]
            filters["tags"] = tags if isinstance(tags, str) else ",".join(tags)
        try:
            client = Client.of({name: self.get_option(name) for name in CONNECTION})
            return list(client.items("/v1/databases", filters))
        except ClientError as error:
            raise AnsibleParserError(str(error)) from error

    def _add(self, database: Dict[str, Any]) -> None:
        by = self.get_option("hostname")
        name = database[by]
        known = self.inventory.get_host(name)
        if known is not None and by != "host" and known.vars.get("dbaudit_database", {}).get("id") not in (None, database["id"]):
            raise AnsibleParserError("Two databases are named %s. Use the option hostname with id." % name)
        self.inventory.add_host(name)
        self.inventory.set_variable(name, "ansible_host", database["host"])
        self.inventory.set_variable(name, "dbaudit_database", database)
        if by == "host":
            others = [] if known is None else known.vars.get("dbaudit_databases", [])
            self.inventory.set_variable(name, "dbaudit_databases", others + [database])
        prefix = self.get_option("group_prefix")
        words = ["type_" + database["type"], "status_" + database["status"], "audit_" + database["audit_status"]]
        for word in words + ["tag_" + tag for tag in database["tags"]]:
            group = self.inventory.add_group(self._sanitize_group_name(prefix + word))
            self.inventory.add_child(group, name)
        variables = self.inventory.get_host(name).get_vars()
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), variables, name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, name, strict=strict)
