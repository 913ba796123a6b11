"""Of the agent's host an engine uses only what the agent allows, whatever a declaration or a server names."""

from __future__ import annotations

import functools
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dbaudit.core.errors import DbauditError
from dbaudit.core.host_limits import KEYWORD, HostLimits
from dbaudit.engine import ErrorCode
from dbaudit.engine.host_access import within
from dbaudit.testing.monitored import Monitored

_WORDS = {"path", "file", "files", "folder", "dir", "directory", "socket", "driver", "library"}
_OF_EVERY_PROGRAM = ("/dev/", "/etc/", "/lib/", "/proc/", "/sys/", "/usr/", sys.prefix, sys.base_prefix)
_OPENING = frozenset({"open", "os.listdir", "os.scandir"})
_opened: dict[int, list[str]] = {}
"""What the threads that are watched have opened."""


class HostChecks:
    """Files of the agent's host: marked in the schema, and opened only below the folders that are allowed."""

    def test_options_of_the_agents_host_are_marked(self, monitored: Monitored) -> None:
        unmarked = [
            name
            for name, schema in monitored.engine.options_schema.get("properties", {}).items()
            if _is_of_host(name, schema) and KEYWORD not in schema
        ]
        assert unmarked == [], (
            f"mark the options {', '.join(unmarked)} with {KEYWORD!r} in options_schema: "
            "an API key names files and libraries of the agent's host by them"
        )

    def test_no_file_is_opened_that_the_agent_does_not_allow(self, monitored: Monitored) -> None:
        nowhere = HostLimits(local_paths=())
        with _watched() as opened:
            try:
                target = within(monitored.target(), monitored.engine.options_schema, nowhere)
                with monitored.engine.open(target) as session:
                    session.test()
                    session.health()
                    cursor = session.read(None, 1 << 16).cursor
                    session.read(cursor, 1 << 16)
            except DbauditError as error:
                # It has to be read from a file, and is not.
                if error.code is not ErrorCode.HOST_ACCESS_REFUSED:
                    raise
        found = [path for path in opened if _is_of_the_source(path)]
        assert found == [], (
            "open files by dbaudit.engine.host_access with Target.limits: a declaration can name any server, "
            "and a server any file"
        )


def _is_of_host(name: str, schema: Any) -> bool:
    text = isinstance(schema, dict) and schema.get("type") in ("string", None) and "enum" not in schema
    return text and (bool(_WORDS & set(re.split("_", name))) or str(schema.get("pattern")).startswith("^/"))


def _is_of_the_source(path: str) -> bool:
    own = (*_OF_EVERY_PROGRAM, *(folder for folder in sys.path if folder not in ("", "/")))
    return path.startswith("/") and not path.startswith(own)


@contextmanager
def _watched() -> Iterator[list[str]]:
    """The paths that this thread opens, as Python is asked for them."""
    _watch_process()
    opened = _opened[threading.get_ident()] = []
    try:
        yield opened
    finally:
        del _opened[threading.get_ident()]


@functools.cache
def _watch_process() -> None:
    # Once: a hook cannot be removed, and does nothing while no test watches.
    sys.addaudithook(_hear)


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _OPENING and _opened:
        opened = _opened.get(threading.get_ident())
        if opened is not None and arguments and isinstance(arguments[0], str | bytes | os.PathLike):
            opened.append(os.fsdecode(arguments[0]))
