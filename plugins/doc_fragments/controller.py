# Copyright (c) 2026, The dbaudit authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """The connection to the API, for plugins that run on the controller."""

    DOCUMENTATION = r"""
options:
  api_url:
    description:
      - The address of the dbaudit API, such as V(https://audit.example.com:8443).
    type: str
    required: true
    env:
      - name: DBAUDIT_API_URL
  api_key:
    description:
      - The key of the API, which needs the scope C(read:databases).
    type: str
    required: true
    env:
      - name: DBAUDIT_API_KEY
  validate_certs:
    description:
      - Whether the certificate of the API is verified.
    type: bool
    default: true
  ca_path:
    description:
      - A file of PEM certificates to trust instead of the system's.
    type: path
  timeout:
    description:
      - The seconds to wait for an answer.
    type: int
    default: 30
  retries:
    description:
      - How often a request is sent again that was refused for the moment or got lost.
    type: int
    default: 3
"""
