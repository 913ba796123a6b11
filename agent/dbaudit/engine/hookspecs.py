"""The one hook: pluggy is for registration only; the data path calls the engines directly."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from dbaudit.engine.base import Engine

ENTRY_POINT_GROUP = "dbaudit"

hookspec = pluggy.HookspecMarker("dbaudit")
hookimpl = pluggy.HookimplMarker("dbaudit")


@hookspec
def dbaudit_engines() -> Iterable[Engine]:  # type: ignore[empty-body]  # pluggy takes only the signature
    """Yield the engines of this plugin, each an instance of a subclass of ``dbaudit.engine.Engine``."""
