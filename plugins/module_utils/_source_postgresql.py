# Copyright (c) 2026, The dbaudit authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: it can change with every release.

"""PostgreSQL's own audit: its log, pgaudit, and the agent's role."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, Tuple

from ansible_collections.dbaudit.dbaudit.plugins.module_utils._errors import ClientError
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._source_clients import (
    HIDDEN,
    Psql,
    postgresql_identifier,
    postgresql_literal,
)
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._source_passwords import is_postgresql_password, scram_verifier
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._source_plan import Plan, Wanted, same_setting

OLDEST = 11
_PRELOAD = "shared_preload_libraries"
_MONITOR = (("pg_monitor", "pg_has_role(r.oid, 'pg_monitor', 'member')", "GRANT pg_monitor TO {role}"),)
_FUNCTION = "has_function_privilege(r.oid, 'pg_catalog.%s', 'execute')"
_FUNCTIONS = ("pg_current_logfile(text)", "pg_stat_file(text, boolean)", "pg_read_binary_file(text, bigint, bigint, boolean)")
_READ_LOG = tuple((name, _FUNCTION % name, "GRANT EXECUTE ON FUNCTION %s TO {role}" % name) for name in _FUNCTIONS)
# The role's own pgaudit.log hides from it what holds for everybody else, but in the configuration's files.
_FILE_SETTINGS = (
    ("pg_file_settings", "has_table_privilege(r.oid, 'pg_catalog.pg_file_settings', 'select')", "GRANT SELECT ON pg_file_settings TO {role}"),
    (
        "pg_show_all_file_settings()",
        _FUNCTION % "pg_show_all_file_settings()",
        "GRANT EXECUTE ON FUNCTION pg_show_all_file_settings() TO {role}",
    ),
)
# What is in the configuration's files holds from the next reload or restart on.
_STATE = """
SELECT json_build_object(
  'version', current_setting('server_version_num')::integer,
  'hba_file', current_setting('hba_file'),
  'available', (SELECT default_version FROM pg_available_extensions WHERE name = 'pgaudit'),
  'extension', EXISTS (SELECT FROM pg_extension WHERE extname = 'pgaudit'),
  'settings', (
    SELECT json_object_agg(s.name, json_build_object('now', s.setting, 'context', s.context, 'next', coalesce(
      (SELECT f.setting FROM pg_file_settings f WHERE lower(f.name) = lower(s.name) ORDER BY f.seqno DESC LIMIT 1), s.setting)))
    FROM pg_settings s),
  'role', (
    SELECT json_build_object('login', r.rolcanlogin, 'superuser', r.rolsuper, 'config', coalesce(r.rolconfig, ARRAY[]::text[]),
      'password', (SELECT a.rolpassword FROM pg_authid a WHERE a.oid = r.oid), 'rights', json_build_object({rights}))
    FROM pg_roles r WHERE r.rolname = {account}))
"""


def plan(psql: Psql, wanted: Wanted) -> Tuple[Plan, str, Dict[str, Any]]:
    """What to change, the server's version, and what it is like now."""
    rights = _MONITOR + (_READ_LOG if wanted.source == "remote" else ()) + _FILE_SETTINGS
    named = ", ".join("%s, %s" % (postgresql_literal(name), check) for name, check, grant in rights)
    state = json.loads(psql.run([_STATE.replace("{rights}", named).replace("{account}", postgresql_literal(wanted.account))]))
    major = state["version"] // 10000
    if major < OLDEST:
        raise ClientError("PostgreSQL %d is older than %d, the oldest that dbaudit reads." % (major, OLDEST))
    result = Plan()
    preloaded = _libraries(state["settings"][_PRELOAD]["now"])
    if wanted.statements == "pgaudit":
        if state["available"] is None:
            raise ClientError(
                "PostgreSQL %d has no extension pgaudit. Install the package postgresql-%d-pgaudit (Debian, Ubuntu) or pgaudit_%d "
                "(Red Hat), or set statements to log_statement." % (major, major, major)
            )
        _preload(result, state["settings"][_PRELOAD]["next"])
    with_pgaudit = wanted.statements == "pgaudit" and "pgaudit" in preloaded
    for name, value in _settings(wanted, state["settings"], major).items():
        _set(result, state["settings"], name, value)
    if wanted.statements == "pgaudit" and not with_pgaudit:
        result.restart.append(_PRELOAD)
        result.later.append("the extension pgaudit and its settings")
    if result.statements:
        result.run("SELECT pg_reload_conf()")
    if with_pgaudit and not state["extension"]:
        result.change("extension pgaudit", "absent", "present", "CREATE EXTENSION pgaudit")
    _role(result, state["role"], wanted, rights, with_pgaudit)
    return result, "PostgreSQL %d.%d" % (major, state["version"] % 10000), state


def _libraries(value: str) -> List[str]:
    return [name.strip().strip('"') for name in value.split(",") if name.strip()]


def _preload(result: Plan, value: str) -> None:
    libraries = _libraries(value)
    if "pgaudit" not in libraries:
        names = ", ".join(postgresql_literal(name) for name in (*libraries, "pgaudit"))
        after = ", ".join((*libraries, "pgaudit"))
        result.change(_PRELOAD, value, after, "ALTER SYSTEM SET %s = %s" % (_PRELOAD, names))


def _settings(wanted: Wanted, present: Mapping[str, Mapping[str, str]], major: int) -> Dict[str, str]:
    destinations = [word.strip() for word in present["log_destination"]["next"].split(",") if word.strip()]
    if not {"csvlog", "jsonlog"}.intersection(destinations):
        destinations = ["jsonlog" if major >= 15 else "csvlog"] + [word for word in destinations if word != "stderr"]
    connections = present["log_connections"]["next"]
    if not {"receipt", "authentication", "authorization"}.issubset(word.strip() for word in connections.split(",")):
        connections = "on" if connections != "all" else connections
    settings = {
        "logging_collector": "on",
        "log_destination": ",".join(destinations),
        "log_connections": connections,
        "log_disconnections": "on",
        "log_timezone": "UTC",
        "lc_messages": "C",
    }
    if wanted.source == "local":
        settings["log_file_mode"] = "0640"
    if wanted.statements == "pgaudit":
        # Up to 11 SET ROLE has no class of its own.
        classes = "all, -misc, misc_set" if major >= 12 else "all"
        settings.update({"pgaudit.log": classes, "pgaudit.log_catalog": "off", "log_statement": "none"})
    elif wanted.statements == "log_statement":
        settings["log_statement"] = "all"
    settings.update(wanted.settings)
    return settings


def _set(result: Plan, present: Mapping[str, Mapping[str, str]], name: str, value: str) -> None:
    setting = present.get(name)
    if setting is None:
        if not name.startswith("pgaudit."):
            raise ClientError("PostgreSQL knows no setting %s." % name)
        return  # pgaudit is not loaded yet
    if not same_setting(setting["next"], value):
        # log_destination and its like are lists, and take their list as one text.
        statement = "ALTER SYSTEM SET %s = %s" % (name, postgresql_literal(value))
        result.change(name, setting["next"], value, statement)
    if setting["context"] == "postmaster" and not same_setting(setting["now"], value):
        result.restart.append(name)


def _role(result: Plan, role: Any, wanted: Wanted, rights: Tuple[Tuple[str, str, str], ...], with_pgaudit: bool) -> None:
    name = postgresql_identifier(wanted.account)
    what = "role %s" % wanted.account
    if role is None:
        if wanted.account_password is None:
            raise ClientError("The role %s is not there: give account_password to make it." % wanted.account)
        statement = "CREATE ROLE %s LOGIN PASSWORD " % name
        secret = postgresql_literal(scram_verifier(wanted.account_password))
        result.change(what, "absent", "present", statement + secret, statement + "'%s'" % HIDDEN)
        role = {"login": True, "superuser": False, "config": [], "rights": {}}
    elif wanted.account_password is not None and wanted.update_password == "always":
        if not is_postgresql_password(wanted.account_password, wanted.account, role["password"]):
            statement = "ALTER ROLE %s PASSWORD " % name
            secret = postgresql_literal(scram_verifier(wanted.account_password))
            result.change("password of " + what, HIDDEN, HIDDEN + " (another one)", statement + secret, statement + "'%s'" % HIDDEN)
    if not role["login"]:
        result.change("%s: login" % what, False, True, "ALTER ROLE %s LOGIN" % name)
    if role["superuser"]:
        result.warnings.append("The %s is a superuser: make one of its own for the agent." % what)
    for right, _check, grant in rights:
        if not role["rights"].get(right):
            result.change("%s: %s" % (what, right), "not granted", "granted", grant.format(role=name))
    # What the agent itself runs would fill the log.
    settings = {"log_statement": "none", "log_min_duration_statement": "-1"}
    if with_pgaudit:
        settings["pgaudit.log"] = "none"
    present = dict(entry.split("=", 1) for entry in role["config"])
    for setting, value in settings.items():
        if present.get(setting) != value:
            statement = "ALTER ROLE %s SET %s = %s" % (name, setting, postgresql_literal(value))
            result.change("%s: %s" % (what, setting), present.get(setting), value, statement)


def log_in_rules(psql: Psql) -> List[str]:
    """The errors in pg_hba.conf as it is on the disk."""
    return psql.run(["SELECT line_number || ': ' || error FROM pg_hba_file_rules WHERE error IS NOT NULL"]).splitlines()
