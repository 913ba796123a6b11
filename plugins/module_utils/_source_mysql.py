# Copyright (c) 2026, The dbaudit authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: it can change with every release.

"""The own audit of MariaDB and MySQL: server_audit or the general log, and the agent's account."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, Optional, Set, Tuple

from ansible_collections.dbaudit.dbaudit.plugins.module_utils._errors import ClientError
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._source_clients import HIDDEN, Mysql, mysql_literal
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._source_passwords import is_mysql_password
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._source_plan import Plan, Wanted, same_setting

SCHEMA = "dbaudit"
_TABLE_RIGHTS = ("SELECT", "ALTER", "DROP", "CREATE", "INSERT")
_QUERY_LOG_LIMIT = 65536
_ROTATIONS = 60
_FILE_BYTES = 16000000
_REMOTE_FILE_BYTES = 1000000  # each reading over the connection goes through the whole file
_WORD = re.compile(r"[A-Za-z0-9_.]+")
_NUMBER = re.compile(r"-?\d+")

Variables = Dict[str, str]


def plan(mysql: Mysql, engine: str, wanted: Wanted) -> Tuple[Plan, str, Variables]:
    """What to change, the server's version, and its variables."""
    variables = {str(name).lower(): value or "" for name, value in mysql.run(["SHOW GLOBAL VARIABLES"])}
    version, comment = variables["version"], variables.get("version_comment", "")
    is_mariadb = "mariadb" in ("%s %s" % (version, comment)).lower()
    release = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    product = "%s %s" % ("MariaDB" if is_mariadb else "MySQL", version)
    if is_mariadb is not (engine == "mariadb"):
        raise ClientError("The server is %s: set engine to %s." % (product, "mariadb" if is_mariadb else "mysql"))
    if release < ((10, 5) if is_mariadb else (8, 0)):
        raise ClientError("%s is older than MariaDB 10.5 and MySQL 8.0: prepare it by hand, as docs/engines/%s.md says." % (product, engine))
    result = Plan()
    if is_mariadb:
        _set_mariadb(result, variables, wanted)
    else:
        _set_mysql(result, mysql, variables, wanted)
    _account(result, mysql, wanted)
    binary_log = variables.get("log_bin", "").upper() in ("ON", "1")
    _grant(result, mysql, wanted, _rights(wanted.source, is_mariadb, binary_log))
    return result, product, variables


def _set_mariadb(result: Plan, variables: Variables, wanted: Wanted) -> None:
    settings: Dict[str, str] = {}
    if wanted.source == "general_log":
        settings.update(_general_log(variables))
    else:
        if "server_audit_logging" not in variables:
            result.change("plugin server_audit", "absent", "present", "INSTALL SONAME 'server_audit'")
        result.option_file.update({"plugin_load_add": "server_audit", "server_audit": "FORCE_PLUS_PERMANENT"})
        settings.update(_server_audit(variables, wanted))
    settings.update(wanted.settings)
    for name, value in settings.items():
        if not same_setting(variables.get(name), value):
            result.change(name, variables.get(name), value, "SET GLOBAL %s = %s" % (_name(name), _literal(value)))
    result.option_file.update(settings)


def _server_audit(variables: Variables, wanted: Wanted) -> Dict[str, str]:
    events = [word.strip().upper() for word in variables.get("server_audit_events", "CONNECT,QUERY").split(",") if word.strip()]
    if events:  # without any, everything is recorded
        events += [word for word in ("CONNECT", "QUERY") if word not in events]
    file_bytes = int(variables.get("server_audit_file_rotate_size", 0))
    remote = wanted.source == "remote_file"
    settings = {
        "server_audit_events": ",".join(events),
        "server_audit_query_log_limit": str(max(int(variables.get("server_audit_query_log_limit", 0)), _QUERY_LOG_LIMIT)),
        "server_audit_file_rotate_size": str(_REMOTE_FILE_BYTES if remote else max(file_bytes, _FILE_BYTES)),
        "server_audit_file_rotations": str(max(int(variables.get("server_audit_file_rotations", 0)), _ROTATIONS)),
    }
    if remote:
        left_out = [name.strip() for name in variables.get("server_audit_excl_users", "").split(",") if name.strip()]
        settings["server_audit_excl_users"] = ",".join(left_out + ([] if wanted.account in left_out else [wanted.account]))
    # It begins to record when everything else is right.
    settings["server_audit_logging"] = "ON"
    return settings


def _set_mysql(result: Plan, mysql: Mysql, variables: Variables, wanted: Wanted) -> None:
    settings = {"log_error_verbosity": "3"} if wanted.source == "error_log" else _general_log(variables)
    settings.update(wanted.settings)
    names = ", ".join(mysql_literal(name) for name in settings)
    kept = dict(
        mysql.run(["SELECT variable_name, variable_value FROM performance_schema.persisted_variables WHERE variable_name IN (%s)" % names])
    )
    # DYNAMIC: it was set by a statement, and a restart forgets it.
    forgotten = mysql.run(
        ["SELECT variable_name FROM performance_schema.variables_info WHERE variable_source = 'DYNAMIC' AND variable_name IN (%s)" % names]
    )
    for name, value in settings.items():
        lasting = same_setting(kept.get(name), value) or (name not in kept and [name] not in forgotten)
        if not (same_setting(variables.get(name), value) and lasting):
            before = variables.get(name) if lasting else "%s until the next restart" % variables.get(name)
            result.change(name, before, value, "SET PERSIST %s = %s" % (_name(name), _literal(value)))


def _general_log(variables: Variables) -> Dict[str, str]:
    outputs = [word.strip().upper() for word in variables.get("log_output", "").split(",") if word.strip().upper() not in ("", "NONE")]
    # A file is kept where one is written; the table is added.
    kept = outputs if variables.get("general_log", "").upper() in ("ON", "1") or "TABLE" in outputs else []
    return {"log_output": ",".join(kept if "TABLE" in kept else [*kept, "TABLE"]), "general_log": "ON"}


def _name(setting: str) -> str:
    if not _WORD.fullmatch(setting):
        raise ClientError("%s is no name of a setting." % setting)
    return setting


def _literal(value: str) -> str:
    if _NUMBER.fullmatch(value) or value.lower() in ("on", "off"):
        return value
    return mysql_literal(value)


def _account_name(wanted: Wanted) -> str:
    return "%s@%s" % (mysql_literal(wanted.account), mysql_literal(wanted.account_host))


def _account(result: Plan, mysql: Mysql, wanted: Wanted) -> None:
    account = _account_name(wanted)
    what = "account %s" % account
    where = "user = %s AND host = %s" % (mysql_literal(wanted.account), mysql_literal(wanted.account_host))
    found = mysql.run(["SELECT plugin, HEX(authentication_string) FROM mysql.user WHERE %s" % where])
    password = wanted.account_password
    if not found:
        if password is None:
            raise ClientError("The %s is not there: give account_password to make it." % what)
        statement = "CREATE USER %s IDENTIFIED BY " % account
        result.change(what, "absent", "present", statement + mysql_literal(password), statement + "'%s'" % HIDDEN)
    elif password is not None and wanted.update_password == "always":
        plugin, stored = found[0]
        right = is_mysql_password(password, plugin or "", bytes.fromhex(stored or ""))
        if right is None:
            result.warnings.append("The %s logs in by %s, whose passwords cannot be compared: it was left as it is." % (what, plugin))
        elif not right:
            statement = "ALTER USER %s IDENTIFIED BY " % account
            after = HIDDEN + " (another one)"
            result.change("password of " + what, HIDDEN, after, statement + mysql_literal(password), statement + "'%s'" % HIDDEN)


def _rights(source: str, is_mariadb: bool, binary_log: bool) -> Mapping[str, Tuple[str, ...]]:
    if source == "remote_file":
        return {"*.*": ("FILE",)}
    if source == "error_log":
        return {"performance_schema.error_log": ("SELECT",)}
    if source != "general_log":
        return {}
    rights = {"mysql.general_log": _TABLE_RIGHTS, SCHEMA + ".*": _TABLE_RIGHTS}
    if binary_log:
        rights["*.*"] = ("BINLOG ADMIN",) if is_mariadb else ("SESSION_VARIABLES_ADMIN",)
    return rights


def _grant(result: Plan, mysql: Mysql, wanted: Wanted, rights: Mapping[str, Tuple[str, ...]]) -> None:
    account = _account_name(wanted)
    if SCHEMA + ".*" in rights and not mysql.run(
        ["SELECT schema_name FROM information_schema.schemata WHERE schema_name = %s" % mysql_literal(SCHEMA)]
    ):
        result.change("schema %s" % SCHEMA, "absent", "present", "CREATE DATABASE %s" % SCHEMA)
    granted = _granted(mysql, wanted)
    for place, names in rights.items():
        missing = [name for name in names if name not in granted.get(place, set())]
        if missing:
            what = "account %s: rights on %s" % (account, place)
            present = [name for name in names if name not in missing]
            result.change(what, present, list(names), "GRANT %s ON %s TO %s" % (", ".join(missing), place, account))


def _granted(mysql: Mysql, wanted: Wanted) -> Dict[str, Set[str]]:
    grantee = mysql_literal("'%s'@'%s'" % (wanted.account, wanted.account_host))
    rows: List[List[Optional[str]]] = mysql.run(
        [
            "SELECT %s, privilege_type FROM information_schema.%s_privileges WHERE grantee = %s" % (place, table, grantee)
            for table, place in (
                *(("user", "'*.*'"), ("schema", "CONCAT(table_schema, '.*')")),
                ("table", "CONCAT(table_schema, '.', table_name)"),
            )
        ]
    )
    granted: Dict[str, Set[str]] = {}
    for place, right in rows:
        granted.setdefault(str(place), set()).add(str(right).upper())
    return granted


def audit_file(variables: Mapping[str, Any]) -> Optional[str]:
    """The file of server_audit as the server's host sees it."""
    path = variables.get("server_audit_file_path") or "server_audit.log"
    folder = variables.get("datadir", "")
    return path if path.startswith("/") else "%s/%s" % (folder.rstrip("/"), path)
