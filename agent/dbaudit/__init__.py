"""dbaudit: one API for the audit records of every database."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dbaudit.sdk import AsyncClient, Client

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client", "__version__"]


def __getattr__(name: str) -> object:
    # Engine plugins and agents import this package too, and have no use for an HTTP client.
    if name in ("Client", "AsyncClient"):
        from dbaudit import sdk

        return getattr(sdk, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
