"""The native records of this engine: rows of the server's reading functions, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from dbaudit.engines.sqlserver.kinds import Kind
from dbaudit.engines.sqlserver.position import OwnSession


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """Rows with the columns of ``queries.AUDIT_COLUMNS`` or ``queries.EVENT_COLUMNS``, by their kind.

    ``skipped`` rows of the first one's buffer came before it. ``actions`` are the server's names of action
    ids. What the agent did itself is left out: its login is ``own_login``, and its sessions have
    ``own_application`` as their name or, on servers whose audit does not name applications, are among
    ``own_sessions``.
    """

    kind: Kind
    rows: Sequence[Sequence[Any]]
    skipped: int = 0
    actions: dict[str, str] = {}
    own_login: str = ""
    own_application: str | None = None
    own_sessions: Sequence[OwnSession] = ()
