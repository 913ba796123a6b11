# Copyright (c) 2026, The dbaudit authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # The options of plugins/module_utils/_argspec.py.
    DOCUMENTATION = r"""
options:
  api_url:
    description:
      - The address of the dbaudit API, with or without the ending V(/v1).
      - If not set, the value of the environment variable E(DBAUDIT_API_URL) on the host where the module runs is used.
    type: str
    required: true
  api_key:
    description:
      - The API key, as C(dbaudit keys create) prints it.
      - If not set, the value of the environment variable E(DBAUDIT_API_KEY) on the host where the module runs is used.
    type: str
    required: true
  validate_certs:
    description:
      - Whether the certificate of the API is verified. Without it, an attacker on the network path can read the API key.
    type: bool
    default: true
  ca_path:
    description:
      - A file of PEM certificates, on the host where the module runs, to trust instead of the system's.
    type: path
  timeout:
    description:
      - The seconds to wait for the API, to connect and for each part of an answer.
    type: int
    default: 30
  retries:
    description:
      - How often a request is sent again when the API cannot be reached, is busy (HTTP status 429 or 503) or its answer got lost.
      - The pauses begin at half a second and double each time; an answer with C(Retry-After) of at most 60 seconds is obeyed instead.
      - A request that would not do the same when carried out twice is only sent again when it certainly was not carried out.
    type: int
    default: 3
requirements:
  - A running dbaudit API. The modules themselves need nothing but Python.
"""

    # What plugins/module_utils/_argspec.py:cluster_argument_spec has beside them and otherwise. Stands before DOCUMENTATION
    # where a module uses both: the first one wins.
    CLUSTER = r"""
options:
  api_url:
    description:
      - The address of the API, with or without the ending V(/v1). That of a Redis Enterprise cluster has the port 9443, as in
        V(https://cluster.example.com:9443).
      - If not set, the value of the environment variable E(DBAUDIT_API_URL) on the host where the module runs is used.
    type: str
    required: true
  api_key:
    description:
      - The API key of dbaudit, as C(dbaudit keys create) prints it. It is not used when O(api_username) is set.
      - If not set, the value of the environment variable E(DBAUDIT_API_KEY) on the host where the module runs is used.
      - One of O(api_key) and O(api_username) is required.
    type: str
    required: false
  api_username:
    description:
      - The user of a Redis Enterprise cluster, such as V(admin@example.com), for HTTP Basic authentication.
      - If not set, the value of the environment variable E(DBAUDIT_API_USERNAME) on the host where the module runs is used.
    type: str
  api_password:
    description:
      - The password of O(api_username).
      - If not set, the value of the environment variable E(DBAUDIT_API_PASSWORD) on the host where the module runs is used.
    type: str
  validate_certs:
    description:
      - Whether the certificate of the API is verified. Without it, an attacker on the network path can read key or password.
      - The certificate that a Redis Enterprise cluster makes for itself is verified when it is given as O(ca_path).
    type: bool
    default: true
requirements:
  - A running dbaudit API, or a Redis Enterprise cluster since version 6.2.18. The modules themselves need nothing but Python.
"""
