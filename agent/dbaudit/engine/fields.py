"""Fields of a target that cannot be sent to a server."""

from __future__ import annotations

from dbaudit.core.database import Target
from dbaudit.core.errors import ConfigurationError, ErrorCode, FieldError


def refuse_nul(target: Target, server: str) -> None:
    """Raise ConfigurationError, pointing at the field, for a NUL, which cannot be sent to ``server``."""
    fields = {"host": target.host, "database": target.database, "username": target.username}
    for field, value in {**fields, "password": target.password.reveal()}.items():
        if "\0" in value:
            raise ConfigurationError(
                ErrorCode.VALIDATION_FAILED,
                f"{field} holds the character NUL, which {server} cannot be sent.",
                details=[FieldError(f"/{field}", "must not hold the character NUL")],
            )
