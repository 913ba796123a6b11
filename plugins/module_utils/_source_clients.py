# Copyright (c) 2026, The dbaudit authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: it can change with every release.

"""Programs of the database servers' own, by which statements are run: ``psql``, ``mysql``, ``mariadb``.

They are on every database host, and need no Python driver there. Statements go to their standard input and the password of
the log-in into their environment: neither is in a process list.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from ansible_collections.dbaudit.dbaudit.plugins.module_utils._errors import ClientError

CONNECT_TIMEOUT_SECONDS = 10
HIDDEN = "********"


class Login(NamedTuple):
    """How a server is reached: what is None is left to the program."""

    client: str
    run_as: Optional[str] = None
    host: Optional[str] = None
    port: Optional[int] = None
    user: Optional[str] = None
    password: Optional[str] = None
    unix_socket: Optional[str] = None


class Client:
    """Runs statements by a program.

    :param module: the ``AnsibleModule``.
    :param secrets: what must never be in an error.
    """

    def __init__(self, module: Any, login: Login, secrets: Sequence[str]) -> None:
        self._module = module
        self._login = login
        self._secrets = [secret for secret in (*secrets, login.password) if secret]

    def _output(self, arguments: List[str], environment: Dict[str, str], statements: str) -> str:
        user = ["runuser", "-u", self._login.run_as, "--"] if self._login.run_as else []
        code, output, error = self._module.run_command(
            user + [self._login.client] + arguments,
            data=statements,
            environ_update=dict(environment, LC_ALL="C.UTF-8"),
            handle_exceptions=False,
        )
        if code != 0:
            raise ClientError("%s: %s" % (self._login.client, self._without_secrets(error.strip() or "exit status %s" % code)))
        return output

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text


class Psql(Client):
    """PostgreSQL, in one database."""

    def __init__(self, module: Any, login: Login, secrets: Sequence[str], database: str) -> None:
        super().__init__(module, login, secrets)
        self._database = database

    def run(self, statements: Sequence[str]) -> str:
        """Run statements one by one until the first that fails; what they returned, without decoration."""
        login = self._login
        options = ["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--no-password", "--dbname", self._database]
        options += ["--set", "ON_ERROR_STOP=1", "--set", "VERBOSITY=terse", "--file", "-"]
        for option, value in (("--host", login.unix_socket or login.host), ("--port", login.port), ("--username", login.user)):
            if value is not None:
                options += [option, str(value)]
        environment = {
            "PGCONNECT_TIMEOUT": str(CONNECT_TIMEOUT_SECONDS),
            "PGAPPNAME": "dbaudit source_audit",
            "PGCLIENTENCODING": "UTF8",
            "PGOPTIONS": "-c standard_conforming_strings=on -c client_min_messages=warning",
        }
        if login.password is not None:
            environment["PGPASSWORD"] = login.password
        return self._output(options, environment, "".join("%s;\n" % statement for statement in statements))


class Mysql(Client):
    """MySQL or MariaDB."""

    def run(self, statements: Sequence[str]) -> List[List[Optional[str]]]:
        """Run statements one by one until the first that fails; the rows of all of them."""
        login = self._login
        options = ["--batch", "--skip-column-names", "--binary-mode", "--default-character-set=utf8mb4"]
        options += ["--connect-timeout=%d" % CONNECT_TIMEOUT_SECONDS]
        given = (("host", login.host), ("port", login.port), ("user", login.user), ("socket", login.unix_socket))
        options += ["--%s=%s" % (option, value) for option, value in given if value is not None]
        environment = {} if login.password is None else {"MYSQL_PWD": login.password}
        text = "".join("%s;\n" % statement for statement in ("SET SESSION sql_mode = ''", *statements))
        rows = self._output(options, environment, text).split("\n")
        return [[_value(field) for field in row.split("\t")] for row in rows if row]


_ESCAPES = {"\\n": "\n", "\\t": "\t", "\\0": "\0", "\\\\": "\\"}


def _value(field: str) -> Optional[str]:
    return None if field == "NULL" else re.sub(r"\\[nt0\\]", lambda found: _ESCAPES[found.group()], field)


def postgresql_literal(text: str) -> str:
    """A literal where ``standard_conforming_strings`` is on, as Psql has it."""
    _one_line(text)
    return "'%s'" % text.replace("'", "''")


def postgresql_identifier(name: str) -> str:
    _one_line(name)
    return '"%s"' % name.replace('"', '""')


def mysql_literal(text: str) -> str:
    """A literal where ``sql_mode`` is empty, as Mysql has it."""
    _one_line(text)
    return "'%s'" % text.replace("\\", "\\\\").replace("'", "''")


def _one_line(text: str) -> None:
    # The programs read line by line, and some of them have commands of their own at the beginning of a line.
    if re.search(r"[\0\r\n]", text):
        raise ClientError("A name, a password or a setting may not have a line break in it.")
