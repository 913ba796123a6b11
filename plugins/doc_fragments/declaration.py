# Copyright (c) 2026, The dbaudit authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from textwrap import indent

_FIELDS = r"""
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
    - V(on_create) sets O(password) for a new database only. A change of where the password is sent (O(host), O(port),
      O(ssl_ca), a weaker O(ssl_mode)) is refused then.
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
      description: Whether row counts and result states are stored, if the engine reports them. The rows themselves never are.
      type: bool
    mask_sensitive_data:
      description:
        - Whether the values in statements are replaced before they are stored. Passwords are removed whatever this says.
      type: bool
    retention_days:
      description: The days to keep events.
      type: int
    scope:
      description:
        - Whose events are stored. V(database) are those of this database. What belongs to no database of the server, such as
          a refused log-in without one, is then stored once, for the oldest of the server's databases that is not paused.
        - V(server) is everything that the server records, whichever database it is of.
        - A new database gets V(database). One that was declared before this option was there has V(server).
      type: str
      choices: [database, server]
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
"""


_LIST = r"""
options:
  databases:
    description:
      - The databases, each with what is declared of it. Options that are left out stay as they are.
      - All are checked before anything is changed, and all are changed in one transaction.
    type: list
    elements: dict
    required: true
    suboptions:
      state:
        description:
          - V(present) makes the database what the other options say, V(absent) ends its auditing.
        type: str
        choices: [present, absent]
        default: present"""


class ModuleDocFragment:
    """What a task declares of a database: options of the module itself, or of each entry of its list ``databases``."""


ModuleDocFragment.DOCUMENTATION = "options:" + indent(_FIELDS, "  ")
ModuleDocFragment.LIST = _LIST + indent(_FIELDS.replace("O(", "O(databases[]."), "      ")
