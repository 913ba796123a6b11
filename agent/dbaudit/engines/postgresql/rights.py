"""The rights that the agent's role has on the server, as the server itself sees them."""

from __future__ import annotations

import msgspec

from dbaudit.engines.postgresql.connection import ServerConnection
from dbaudit.engines.postgresql.failures import quoted
from dbaudit.engines.postgresql.options import LogSource

READ_FUNCTION = "pg_read_binary_file(text, bigint, bigint, boolean)"
STAT_FUNCTION = "pg_stat_file(text, boolean)"
CURRENT_FUNCTION = "pg_current_logfile(text)"
LIST_FUNCTION = "pg_ls_logdir()"
FILE_SETTINGS_GRANTS = (
    "GRANT SELECT ON pg_file_settings TO {role}; "
    "GRANT EXECUTE ON FUNCTION pg_show_all_file_settings() TO {role};"
)
"""For a role with settings of its own, which would else hide what holds for all others."""

_QUERY = """
    SELECT session_user,
           current_database(),
           (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = session_user),
           has_database_privilege(current_database(), 'CONNECT')
               AND has_schema_privilege('pg_catalog', 'USAGE')
               AND has_table_privilege('pg_catalog.pg_class', 'SELECT'),
           pg_has_role('pg_read_all_stats', 'USAGE'),
           pg_has_role('pg_read_all_settings', 'USAGE'),
           pg_has_role('pg_monitor', 'USAGE'),
           has_function_privilege('pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean)', 'EXECUTE'),
           has_function_privilege('pg_catalog.pg_stat_file(text, boolean)', 'EXECUTE'),
           has_function_privilege('pg_catalog.pg_current_logfile(text)', 'EXECUTE'),
           has_function_privilege('pg_catalog.pg_ls_logdir()', 'EXECUTE'),
           has_function_privilege('pg_catalog.pg_show_all_file_settings()', 'EXECUTE')
               AND has_table_privilege('pg_catalog.pg_file_settings', 'SELECT')
"""


class Rights(msgspec.Struct, frozen=True):
    """What the role may do in the declared database."""

    role: str
    database: str
    superuser: bool
    select: bool
    read_all_stats: bool
    read_all_settings: bool
    monitor: bool
    read_binary_file: bool
    stat_file: bool
    current_logfile: bool
    list_log_directory: bool
    file_settings: bool

    @property
    def permissions(self) -> dict[str, bool]:
        """The rights under the names that a test report shows."""
        return {
            "select": self.select,
            "pg_read_all_stats": self.read_all_stats,
            "pg_read_all_settings": self.read_all_settings,
            "pg_monitor": self.monitor,
            "pg_read_binary_file": self.read_binary_file,
            "pg_stat_file": self.stat_file,
            "pg_current_logfile": self.current_logfile,
            "pg_ls_logdir": self.list_log_directory,
        }

    def needed(self, source: LogSource) -> dict[str, tuple[bool, str]]:
        """The rights that collecting needs: whether the role has each, and the GRANT that gives it."""
        role = quoted(self.role)
        grants = {
            "select": (self.select, f"GRANT CONNECT ON DATABASE {quoted(self.database)} TO {role};"),
            "pg_read_all_settings": (self.read_all_settings, f"GRANT pg_monitor TO {role};"),
        }
        if source is LogSource.LOCAL:
            return grants
        execute = "GRANT EXECUTE ON FUNCTION {} TO {};"
        return grants | {
            "pg_ls_logdir": (self.list_log_directory, f"GRANT pg_monitor TO {role};"),
            "pg_current_logfile": (self.current_logfile, execute.format(CURRENT_FUNCTION, role)),
            "pg_stat_file": (self.stat_file, execute.format(STAT_FUNCTION, role)),
            "pg_read_binary_file": (self.read_binary_file, execute.format(READ_FUNCTION, role)),
        }

    def suffice(self, source: LogSource) -> bool:
        """Whether every right that collecting needs is there."""
        return all(there for there, grant in self.needed(source).values())


def read_rights(connection: ServerConnection) -> Rights:
    """Ask the server for the rights of the session's role."""
    return Rights(*connection.row(_QUERY))
