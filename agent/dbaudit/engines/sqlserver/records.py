"""The native records of this engine: rows of the server's reading functions, in their order."""

from __future__ import annotations

import re
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
    ``own_sessions``. ``engine_edition`` is what kind of server it is (SERVERPROPERTY('EngineEdition')), None
    where that is not known.
    """

    kind: Kind
    rows: Sequence[Sequence[Any]]
    skipped: int = 0
    actions: dict[str, str] = {}
    own_login: str = ""
    own_application: str | None = None
    own_sessions: Sequence[OwnSession] = ()
    engine_edition: int | None = None


SQL_DATABASE, MANAGED_INSTANCE = 5, 8
"""The engine editions of Azure whose audits record durations and row counts."""


_NAME = re.compile(r".*?_([0-9A-Fa-f]{8})-[0-9A-Fa-f-]{27}(_\d+_\d+)\.sqlaudit\Z", re.DOTALL)


def file_key(path: str) -> str:
    """A short name for a file, the same wherever its folder is.

    Audit files are called NAME_GUID_NUMBER_TIME.sqlaudit; part of the GUID and the time, in steps of 100
    nanoseconds, are enough.

    >>> file_key(r"D:\\Audit\\shop_A3A5F1B7-0000-4000-8000-000000000000_0_133000000000000000.sqlaudit")
    'A3A5F1B7_0_133000000000000000'
    """
    name = path.replace("\\", "/").rpartition("/")[2]
    found = _NAME.match(name)
    return found[1] + found[2] if found else name
