"""No core dumps: the memory of every command of dbaudit may hold keys and passwords."""

from __future__ import annotations

import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4


def prevent_core_dumps() -> None:
    """Let the kernel write no core of this process, nor let another process of the same account read its
    memory.

    The limit of zero alone does not keep a core from a program that the kernel pipes it to (core(5)), so on
    Linux the process is not dumpable either (prctl(2), PR_SET_DUMPABLE). Programs that it starts have the
    limit, and are dumpable again.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
