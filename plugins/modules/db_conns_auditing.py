#!/usr/bin/python

# Copyright (c) 2026, The dbaudit authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: db_conns_auditing
short_description: Say where the connection events of databases are sent
version_added: 0.1.0
description:
  - Sets the listener that gets a notification for every new connection, log-in and disconnection of the databases that are switched on,
    and switches databases on and off.
  - Manages dbaudit as well as a Redis Enterprise cluster, whose endpoint C(/v1/cluster/auditing/db_conns) it is.
  - The order that the API asks for is kept within one task. On go the settings, then the policy, then the databases; off they go the other way round.
  - What can be known before is checked before anything is changed, in check mode too. The API has no dry run for these settings,
    so check mode cannot foresee everything else that it refuses, such as an address that is none.
author:
  - The dbaudit authors (@dbaudit)
extends_documentation_fragment:
  - dbaudit.dbaudit.connection.cluster
  - dbaudit.dbaudit.connection
  - dbaudit.dbaudit.attributes
options:
  state:
    description:
      - V(present) makes the settings what the other options say. Options that are left out stay as they are.
      - V(absent) removes the settings. Before that, the policy and every database have to be off. What the task gives as V(false) in
        O(policy) and O(databases) is turned off first; nothing else is, and the task fails when something stays on.
    type: str
    choices: [present, absent]
    default: present
  audit_protocol:
    description:
      - V(TCP) sends to a host and port, V(local) to a unix stream socket on the host of each agent or node.
      - Required when nothing is set so far. When it changes, O(audit_address) and O(audit_port) have to be given again.
      - Redis documents V(local) as not meant for production.
    type: str
    choices: [TCP, local]
  audit_address:
    description:
      - The host name or IP address of the listener with O(audit_protocol=TCP), the absolute path of its socket with O(audit_protocol=local).
      - Required when nothing is set so far.
    type: str
  audit_port:
    description:
      - The port of the listener. Required with O(audit_protocol=TCP) when none is set so far, refused with O(audit_protocol=local).
    type: int
  audit_reconnect_interval:
    description:
      - The seconds between two attempts to connect to the listener. The API takes V(1) where it has never been set.
    type: int
  audit_reconnect_max_attempts:
    description:
      - So many attempts to connect are made in a row, then sending gives up. V(0) sets no limit, which the API takes where it has never been set.
    type: int
  policy:
    description:
      - Whether databases that are added from now on are switched on, where nothing else is said of them. Those that exist stay as they are.
    type: bool
  databases:
    description:
      - The switches of databases, V(true) or V(false) for each. A key is the name of a database or its identifier, which is
        C(db_abc123) in dbaudit and the number C(uid) in Redis Enterprise. Databases that are left out stay as they are.
      - A Redis Enterprise cluster carries a change out after it has accepted it. The module waits for that, and for a database that is busy
        with another change.
      - Redis Enterprise 8.2 can say more of a database in C(audit_settings), which wins over this switch there; it is left alone.
    type: dict
  wait_timeout:
    description:
      - The seconds to wait at most for one database of a Redis Enterprise cluster, until it takes the change and again until it is carried out.
    type: int
    default: 60
seealso:
  - module: dbaudit.dbaudit.db_conns_auditing_info
  - module: dbaudit.dbaudit.database
  - name: Redis Enterprise REST API, database connection auditing
    description: The endpoint that the module manages.
    link: https://redis.io/docs/latest/operate/rs/references/rest-api/requests/cluster/auditing-db-conns/
"""

EXAMPLES = r"""
- name: Send the connection events of two databases, and of all that are added later
  dbaudit.dbaudit.db_conns_auditing:
    api_url: https://audit.example.com:8443
    api_key: "{{ lookup('ansible.builtin.env', 'DBAUDIT_API_KEY') }}"
    audit_protocol: TCP
    audit_address: listener.example.com
    audit_port: 12345
    policy: true
    databases:
      shop: true
      warehouse: true

- name: The same for a Redis Enterprise cluster, which has its own certificate
  dbaudit.dbaudit.db_conns_auditing:
    api_url: https://cluster.example.com:9443
    api_username: admin@example.com
    api_password: "{{ cluster_password }}"
    ca_path: /etc/ssl/cluster.example.com.pem
    audit_protocol: TCP
    audit_address: listener.example.com
    audit_port: 12345
    databases:
      1: true

- name: Say only once where the API is
  module_defaults:
    group/dbaudit.dbaudit.dbaudit:
      api_url: https://audit.example.com:8443
      api_key: "{{ lookup('ansible.builtin.env', 'DBAUDIT_API_KEY') }}"
  block:
    - name: Go over to a socket
      dbaudit.dbaudit.db_conns_auditing:
        audit_protocol: local
        audit_address: /run/audit/listener.sock

    - name: Find out what is on
      dbaudit.dbaudit.db_conns_auditing_info:
      register: auditing

    - name: Turn all of it off
      dbaudit.dbaudit.db_conns_auditing:
        state: absent
        policy: false
        databases: "{{ dict(auditing.databases | selectattr('db_conns_auditing') | map(attribute='id') | product([false])) }}"
"""

RETURN = r"""
config:
  description: The settings; in check mode, as they would be. Empty when nothing is set.
  returned: success
  type: dict
  sample:
    audit_protocol: TCP
    audit_address: listener.example.com
    audit_port: 12345
    audit_reconnect_interval: 1
    audit_reconnect_max_attempts: 0
policy:
  description: Whether databases that are added are switched on.
  returned: success
  type: bool
databases:
  description: Those that O(databases) names, in its order.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The identifier of the database, in Redis Enterprise its C(uid).
      type: str
      sample: db_abc123
    name:
      description: The name of the database.
      type: str
      sample: shop
    db_conns_auditing:
      description: Whether its connection events are sent.
      type: bool
diff:
  description: Settings, policy and the switches that O(databases) names, before and after.
  returned: success
  type: dict
  sample:
    before: {config: {}, policy: false, databases: {shop (db_abc123): false}}
    after:
      config: {audit_protocol: local, audit_address: /run/audit/listener.sock, audit_reconnect_interval: 1, audit_reconnect_max_attempts: 0}
      policy: false
      databases: {shop (db_abc123): true}
changed:
  description: Whether something was changed, or would be in check mode. After a failure, whether a part of the task was done before it.
  returned: success, or a change failed
  type: bool
error_code:
  description:
    - The code of the API's error, which stays the same over releases, such as C(db_conns_auditing_unsupported_by_capability),
      C(db_conns_auditing_missing_config), C(db_conns_auditing_bad_config), C(db_conns_auditing_bad_address),
      C(db_conns_auditing_config_missing), C(cannot_delete_audit_config_when_policy_enabled) and
      C(cannot_delete_audit_config_when_bdb_enabled).
    - V(null) when the answer had none.
  returned: when the API refused
  type: str
  sample: db_conns_auditing_bad_address
status:
  description: The HTTP status of the API's answer. The same code may come with another status from another version.
  returned: when the API refused
  type: int
  sample: 400
details:
  description: The fields that the API refused, for those of its paths that report them one by one.
  returned: when the API refused
  type: list
  elements: dict
request_id:
  description: The identifier under which the API's log has the request, V(null) when the answer had none.
  returned: when the API refused
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.dbaudit.dbaudit.plugins.module_utils._argspec import CLUSTER_RULES, cluster_argument_spec
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._client import Client
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._db_conns import FIELDS, ensure
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._errors import ClientError


def main() -> None:
    module = AnsibleModule(
        argument_spec=cluster_argument_spec(
            state={"type": "str", "choices": ["present", "absent"], "default": "present"},
            policy={"type": "bool"},
            databases={"type": "dict"},
            wait_timeout={"type": "int", "default": 60},
            **FIELDS,
        ),
        supports_check_mode=True,
        **CLUSTER_RULES,
    )
    try:
        module.exit_json(**ensure(Client.of(module.params), module.params, module.check_mode))
    except ClientError as error:
        module.fail_json(**error.result())


if __name__ == "__main__":
    main()
