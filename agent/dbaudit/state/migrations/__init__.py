"""Brings the state to the present schema, with Alembic."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError

from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.state.backend import Backend
from dbaudit.state.schema import metadata


def migrate(backend: Backend, revision: str = "head") -> None:
    """Bring the state to ``revision``, in one transaction; processes that start together do it one by one.

    A state that a newer dbaudit has written is refused and left as it is: ConfigurationError
    (`state_newer_than_program`). So is a database that holds something else (`configuration_invalid`).
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    script = ScriptDirectory.from_config(config)
    with backend.writing() as connection:
        backend.serialize(connection, "migrations")
        present = MigrationContext.configure(connection).get_current_revision()
        if present is not None:
            try:
                script.get_revisions(present)
            except CommandError:
                raise ConfigurationError(
                    ErrorCode.STATE_NEWER_THAN_PROGRAM,
                    f"The state has the schema {present}, which this version of dbaudit does not know: "
                    "a newer one wrote it.",
                    remedy="Upgrade dbaudit, or use the state from the backup made before the upgrade.",
                ) from None
        if present == script.get_current_head() and revision == "head":
            return
        if present is None:
            _refuse_foreign(backend, connection)
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def _refuse_foreign(backend: Backend, connection: sqlalchemy.Connection) -> None:
    tables = set(sqlalchemy.inspect(connection).get_table_names())
    # A PostgreSQL database may be shared with other programs; a file is the state's own.
    in_the_way = sorted(tables if backend.is_sqlite else tables & set(metadata.tables))
    if in_the_way:
        raise ConfigurationError(
            ErrorCode.CONFIGURATION_INVALID,
            f"The database for the state holds tables that are not dbaudit's: {', '.join(in_the_way[:5])}.",
            remedy="Give the state a database of its own.",
        )
