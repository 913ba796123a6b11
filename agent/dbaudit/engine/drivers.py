"""The driver that an engine needs."""

from __future__ import annotations

from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.engine.base import Engine


def require_driver(engine: Engine, remedy: str | None = None) -> None:
    """Raise ConfigurationError (DRIVER_MISSING) where the driver of ``engine`` cannot be used.

    ``remedy`` is how to install it; without it, the extra of dbaudit that is named like the engine.
    """
    problem = engine.driver_status().problem
    if problem is not None:
        raise ConfigurationError(
            ErrorCode.DRIVER_MISSING,
            f"The driver of {engine.display_name} cannot be used: {problem}",
            remedy=remedy or f"pip install 'dbaudit[{engine.type}]'",
        )
