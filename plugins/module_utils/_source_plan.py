# Copyright (c) 2026, The dbaudit authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: it can change with every release.

"""What a server's own audit has to be changed in, found without changing it."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional


class Wanted(NamedTuple):
    """What is wanted of a server: the options of the module ``source_audit`` of the same names."""

    source: str
    statements: str
    account: str
    account_host: str
    account_password: Optional[str]
    update_password: str
    settings: Dict[str, str]


class Plan:
    """The statements that bring a server to what is wanted, in order.

    ``shown`` are the statements without secrets, ``before`` and ``after`` what they change. ``restart`` names what
    takes effect only after a restart, and ``later`` what can only be done after it. ``option_file`` is what has to stand in the
    server's own option file, because no statement keeps it over a restart.
    """

    def __init__(self) -> None:
        self.statements: List[str] = []
        self.shown: List[str] = []
        self.before: Dict[str, Any] = {}
        self.after: Dict[str, Any] = {}
        self.restart: List[str] = []
        self.later: List[str] = []
        self.warnings: List[str] = []
        self.option_file: Dict[str, str] = {}

    def change(self, what: str, before: Any, after: Any, statement: str, shown: Optional[str] = None) -> None:
        self.before[what] = before
        self.after[what] = after
        self.run(statement, shown)

    def run(self, statement: str, shown: Optional[str] = None) -> None:
        self.statements.append(statement)
        self.shown.append((statement if shown is None else shown) + ";")


def text_of(value: Any) -> str:
    """A setting as a server writes it: YAML's ``true`` is ``on``."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def same_setting(one: Optional[str], other: str) -> bool:
    return one is not None and _normal(one) == _normal(other)


def _normal(value: str) -> str:
    word = value.strip().lower()
    if word in ("on", "true", "yes", "1"):
        return "on"
    return "off" if word in ("off", "false", "no", "0") else word
