#!/usr/bin/python

# Copyright (c) 2026, The dbaudit authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: db_conns_auditing_info
short_description: Read where the connection events of databases are sent, and how that goes
version_added: 0.1.0
description:
  - Returns the settings, the policy and the switch of every database, of dbaudit or of a Redis Enterprise cluster.
  - Of dbaudit it returns also its agents and how sending goes.
  - The API key needs C(view_cluster_info) and C(read:databases), the user of a Redis Enterprise cluster a role that may view the cluster and its databases.
author:
  - The dbaudit authors (@dbaudit)
extends_documentation_fragment:
  - dbaudit.dbaudit.connection.cluster
  - dbaudit.dbaudit.connection
  - dbaudit.dbaudit.attributes.info
seealso:
  - module: dbaudit.dbaudit.db_conns_auditing
"""

EXAMPLES = r"""
- name: Read how sending goes
  dbaudit.dbaudit.db_conns_auditing_info:
    api_url: https://audit.example.com:8443
    api_key: "{{ lookup('ansible.builtin.env', 'DBAUDIT_API_KEY') }}"
  register: auditing

- name: Fail when events have been waiting for more than a minute
  ansible.builtin.assert:
    that: auditing.sending.oldest_unsent_seconds < 60
    fail_msg: "{{ auditing.sending.databases | rejectattr('state', 'eq', 'connected') | map(attribute='last_error.message') | join(', ') }}"

- name: Read what a Redis Enterprise cluster is set to
  dbaudit.dbaudit.db_conns_auditing_info:
    api_url: https://cluster.example.com:9443
    api_username: viewer@example.com
    api_password: "{{ cluster_password }}"
    ca_path: /etc/ssl/cluster.example.com.pem
"""

RETURN = r"""
config:
  description: The settings. Empty when nothing is set.
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
  description: Every database with its switch.
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
nodes:
  description: The agents.
  returned: when dbaudit answers
  type: list
  elements: dict
  contains:
    id:
      description: The identifier of the agent.
      type: str
    name:
      description: What people call it.
      type: str
    version:
      description: Its version.
      type: str
    alive:
      description: Whether it has been heard of lately.
      type: bool
    capabilities:
      description: What it can do; C(db_conns_auditing) is sending connection events.
      type: list
      elements: str
    started_at:
      description: When it was started, in UTC.
      type: str
    last_heartbeat:
      description: When it was last heard of, in UTC.
      type: str
    databases:
      description: The identifiers of the databases that it collects at the moment.
      type: list
      elements: str
sending:
  description: How sending goes.
  returned: when dbaudit answers
  type: dict
  contains:
    sent:
      description: Events that have arrived.
      type: int
    pending:
      description: Events that are stored and wait to be sent.
      type: int
    reconnects:
      description: Connections to the listener that were made again.
      type: int
    expired:
      description: Events whose retention ended before they were sent.
      type: int
    oldest_unsent_seconds:
      description: The seconds since the first event that waits happened, 0 where none waits.
      type: float
    databases:
      description: The same for each database that is switched on, with the agent, its state and its last error.
      type: list
      elements: dict
      sample:
        - database_id: db_abc123
          database_name: shop
          node: agent-1
          state: connected
          since: "2026-01-20T15:30:45Z"
          sent: 15420
          pending: 0
          reconnects: 1
          expired: 0
          oldest_unsent_seconds: 0.0
          last_error:
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.dbaudit.dbaudit.plugins.module_utils._argspec import CLUSTER_RULES, cluster_argument_spec
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._client import Client
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._db_conns import Cluster, Standing
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._db_conns_switches import switches_of
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._errors import ClientError


def main() -> None:
    module = AnsibleModule(argument_spec=cluster_argument_spec(), supports_check_mode=True, **CLUSTER_RULES)
    try:
        client = Client.of(module.params)
        cluster = Cluster(client)
        config, policy = cluster.config(), cluster.policy()
        switches = switches_of(client, 0)
        standing = Standing(config, policy, switches.all())
        module.exit_json(changed=False, **dict(standing.shown(), **switches.agents_and_sending()))
    except ClientError as error:
        module.fail_json(**error.result())


if __name__ == "__main__":
    main()
