#!/usr/bin/python

# Copyright (c) 2026, The dbaudit authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: source_audit
short_description: Prepare the own audit of a database server
version_added: 0.1.0
description:
  - Brings PostgreSQL, MariaDB or MySQL to record what dbaudit reads, and makes the account that the agents log in as, with no right
    but those that are documented for it.
  - Runs on the host of the database server, with its own program C(psql), C(mariadb) or C(mysql). Statements go to the standard input of
    that program, the password of its log-in into its environment.
  - Takes nothing away. Other libraries, destinations and events that are there already stay, and so do other rights of the account.
  - Restarts nothing. The role P(dbaudit.dbaudit.source_audit#role) does where that is asked for.
author:
  - The dbaudit authors (@dbaudit)
requirements:
  - the program psql, mariadb or mysql
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
    support: full
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: partial
    details:
      - Where a restart is needed in between, the second run after it does what had to wait for it.
options:
  engine:
    description:
      - The database server.
    type: str
    required: true
    choices: [postgresql, mariadb, mysql]
  source:
    description:
      - What the agents are going to read.
      - V(remote) and V(local) are the log of PostgreSQL, over the connection or from the disk of its host.
      - V(file), V(remote_file) are the file of C(server_audit) of MariaDB, from the disk or over the connection.
      - V(general_log) is the table C(mysql.general_log) of MariaDB and MySQL.
      - V(error_log) are the refused log-ins that MySQL keeps in C(performance_schema.error_log).
      - If not set, V(remote), V(file) or V(general_log), as the engine is PostgreSQL, MariaDB or MySQL.
    type: str
    choices: [remote, local, file, remote_file, general_log, error_log]
  statements:
    description:
      - By what PostgreSQL records statements. V(none) leaves as it is what it records of them.
    type: str
    choices: [pgaudit, log_statement, none]
    default: pgaudit
  database:
    description:
      - The database that is declared to dbaudit. On PostgreSQL extensions and rights on functions belong to one database.
    type: str
    default: postgres
  account:
    description:
      - The name of the account that the agents log in as.
    type: str
    default: dbaudit
  account_host:
    description:
      - From where that account may log in, on MariaDB and MySQL.
    type: str
    default: '%'
  account_password:
    description:
      - Its password. PostgreSQL is sent a SCRAM verifier that is made here.
      - Needed to make the account.
    type: str
  update_password:
    description:
      - V(always) changes the password where it is another one.
      - V(on_create) leaves the password of an account that is there.
    type: str
    choices: [always, on_create]
    default: always
  settings:
    description:
      - More settings of the server, or other values of those that are set by default.
    type: dict
    default: {}
  hba:
    description:
      - Lines of C(pg_hba.conf) that let the agents in. They are put before all others, in a block of their own.
    type: list
    elements: str
    default: []
  client:
    description:
      - The program that runs statements. If not set, C(psql), C(mariadb) or C(mysql).
    type: str
  run_as:
    description:
      - The account of the host that the program is run as, such as V(postgres). Takes root.
    type: str
  login_host:
    description: The address of the server. If not set, the program's own way, a Unix socket.
    type: str
  login_port:
    description: The port of the server.
    type: int
  login_unix_socket:
    description: The Unix socket of the server, for PostgreSQL the folder that it is in.
    type: str
  login_user:
    description: An administrator of the server.
    type: str
  login_password:
    description: The password of the administrator.
    type: str
seealso:
  - module: dbaudit.dbaudit.database
"""

EXAMPLES = r"""
- name: Prepare PostgreSQL
  dbaudit.dbaudit.source_audit:
    engine: postgresql
    run_as: postgres
    database: shop
    account_password: "{{ shop_audit_password }}"
    hba:
      - hostssl shop dbaudit 10.0.0.5/32 scram-sha-256
  register: audit

- name: Report that a restart is due
  ansible.builtin.debug:
    msg: "Restart PostgreSQL for {{ audit.restart_reasons | join(', ') }}."
  when: audit.restart_required

- name: Prepare MariaDB for an agent on its host
  dbaudit.dbaudit.source_audit:
    engine: mariadb
    account_host: 127.0.0.1
    account_password: "{{ shop_audit_password }}"
"""

RETURN = r"""
version:
  description: The server and its version.
  returned: success
  type: str
  sample: PostgreSQL 17.5
statements:
  description: The statements that were run, or would be in check mode, without secrets.
  returned: success
  type: list
  elements: str
  sample: ["ALTER SYSTEM SET log_connections = 'on';"]
restart_required:
  description: Whether the server has to be restarted.
  returned: success
  type: bool
restart_reasons:
  description: The settings that take effect only after a restart.
  returned: success
  type: list
  elements: str
  sample: [logging_collector, shared_preload_libraries]
later:
  description: What can be done only after that restart; run the module again then.
  returned: success
  type: list
  elements: str
  sample: [the extension pgaudit and its settings]
option_file:
  description: What has to stand in the option file of MariaDB so that it outlives a restart. Empty for the others, which keep it by themselves.
  returned: success
  type: dict
  sample: {server_audit_logging: 'ON'}
audit_file:
  description: The file of C(server_audit) of MariaDB.
  returned: success
  type: str
  sample: /var/lib/mysql/server_audit.log
"""

import os
import tempfile
from typing import Any, Dict, List, Optional, Tuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dbaudit.dbaudit.plugins.module_utils import _source_mysql, _source_postgresql
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._errors import ClientError
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._source_clients import Login, Mysql, Psql
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._source_plan import Plan, Wanted, text_of

SOURCES = {
    "postgresql": ("remote", "local"),
    "mariadb": ("file", "remote_file", "general_log"),
    "mysql": ("general_log", "error_log"),
}
CLIENTS = {"postgresql": "psql", "mariadb": "mariadb", "mysql": "mysql"}
BEGIN = "# BEGIN dbaudit.dbaudit.source_audit"
END = "# END dbaudit.dbaudit.source_audit"


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "engine": {"type": "str", "required": True, "choices": list(SOURCES)},
            "source": {"type": "str", "choices": ["remote", "local", "file", "remote_file", "general_log", "error_log"]},
            "statements": {"type": "str", "choices": ["pgaudit", "log_statement", "none"], "default": "pgaudit"},
            "database": {"type": "str", "default": "postgres"},
            "account": {"type": "str", "default": "dbaudit"},
            "account_host": {"type": "str", "default": "%"},
            "account_password": {"type": "str", "no_log": True},
            "update_password": {"type": "str", "choices": ["always", "on_create"], "default": "always", "no_log": False},
            "settings": {"type": "dict", "default": {}},
            "hba": {"type": "list", "elements": "str", "default": []},
            "client": {"type": "str"},
            "run_as": {"type": "str"},
            "login_host": {"type": "str"},
            "login_port": {"type": "int"},
            "login_unix_socket": {"type": "str"},
            "login_user": {"type": "str"},
            "login_password": {"type": "str", "no_log": True},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**_prepare(module))
    except ClientError as error:
        module.fail_json(**error.result())
    except OSError as error:
        module.fail_json(msg=str(error))


def _prepare(module: AnsibleModule) -> Dict[str, Any]:
    given = module.params
    engine = given["engine"]
    login = Login(
        client=given["client"] or CLIENTS[engine],
        **{name: given["login_%s" % name] for name in ("host", "port", "user", "password", "unix_socket")},
        run_as=given["run_as"],
    )
    wanted = _wanted(given)
    secrets = [wanted.account_password] if wanted.account_password else []
    audit_file = None
    if engine == "postgresql":
        psql = Psql(module, login, secrets, given["database"])
        plan, version, state = _source_postgresql.plan(psql, wanted)
        hba = _LogInRules(state["hba_file"], given["hba"])
        hba.add_to(plan)
        if not module.check_mode:
            hba.write(module, psql)
            _run(psql, plan)
    else:
        mysql = Mysql(module, login, secrets)
        plan, version, variables = _source_mysql.plan(mysql, engine, wanted)
        audit_file = _source_mysql.audit_file(variables) if wanted.source in ("file", "remote_file") else None
        if not module.check_mode:
            _run(mysql, plan)
    for warning in plan.warnings:
        module.warn(warning)
    return {
        "changed": bool(plan.after),
        "diff": {"before": plan.before, "after": plan.after},
        "version": version,
        "statements": plan.shown,
        "restart_required": bool(plan.restart),
        "restart_reasons": plan.restart,
        "later": plan.later,
        "option_file": plan.option_file,
        "audit_file": audit_file,
    }


def _wanted(given: Dict[str, Any]) -> Wanted:
    engine = given["engine"]
    source = given["source"] or SOURCES[engine][0]
    if source not in SOURCES[engine]:
        raise ClientError("The source %s is none of %s: give one of %s." % (source, engine, ", ".join(SOURCES[engine])))
    return Wanted(
        source=source,
        statements=given["statements"],
        account=given["account"],
        account_host=given["account_host"],
        account_password=given["account_password"],
        update_password=given["update_password"],
        settings={name: text_of(value) for name, value in given["settings"].items()},
    )


def _run(client: Any, plan: Plan) -> None:
    if plan.statements:
        client.run(plan.statements)


class _LogInRules:
    """A block of lines at the beginning of pg_hba.conf, where the first line that fits decides."""

    def __init__(self, path: str, lines: List[str]) -> None:
        self._path = path
        self._lines = lines
        self._before: Optional[str] = None
        self._after: Optional[str] = None

    def add_to(self, plan: Plan) -> None:
        if not self._lines:
            return
        with open(self._path, encoding="utf-8") as file:
            self._before = file.read()
        present, rest = _block(self._before)
        if present != self._lines:
            self._after = "".join("%s\n" % line for line in (BEGIN, *self._lines, END)) + rest
            plan.change(self._path, present, self._lines, "SELECT pg_reload_conf()")

    def write(self, module: AnsibleModule, psql: Psql) -> None:
        if self._after is None or self._before is None:
            return
        _replace(module, self._path, self._after)
        errors = _source_postgresql.log_in_rules(psql)
        if errors:
            _replace(module, self._path, self._before)
            raise ClientError("PostgreSQL refuses lines of hba, %s was left as it was: %s" % (self._path, "; ".join(errors)))


def _block(text: str) -> Tuple[Optional[List[str]], str]:
    """The lines of the block, None where there is no block, and what follows it."""
    lines = text.splitlines(keepends=True)
    marks = [line.rstrip("\n") for line in lines]
    if BEGIN not in marks or END not in marks:
        return None, text
    begin, end = marks.index(BEGIN), marks.index(END)
    return marks[begin + 1 : end], "".join(lines[:begin] + lines[end + 1 :])


def _replace(module: AnsibleModule, path: str, text: str) -> None:
    descriptor, draft = tempfile.mkstemp(dir=module.tmpdir)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    module.atomic_move(draft, path)  # which keeps owner and mode


if __name__ == "__main__":
    main()
