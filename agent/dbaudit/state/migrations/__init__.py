"""Brings the state to the present schema, with Alembic."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import ResolutionError

from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.state.backend import Backend


def migrate(backend: Backend, revision: str = "head") -> None:
    """Bring the state to ``revision``, in one transaction; processes that start together do it one by one.

    A state that a newer dbaudit has written is refused and left as it is: ConfigurationError
    (`state_newer_than_program`).
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
            except ResolutionError:
                raise ConfigurationError(
                    ErrorCode.STATE_NEWER_THAN_PROGRAM,
                    f"The state has the schema {present}, which this version of dbaudit does not know: "
                    "a newer one wrote it.",
                    remedy="Upgrade dbaudit, or use the state from the backup made before the upgrade.",
                ) from None
        if present == script.get_current_head() and revision == "head":
            return
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
