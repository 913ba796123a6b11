"""A time limit for statements on which the driver itself would wait forever.

ODBC's time-out ends the wait for the first row. If a server stops in the middle of an answer, Microsoft's
driver (18.6) waits forever for the other rows, and no call can wake it. Only the end of its connection does:
so the agent finds the driver's socket when it is opened, and shuts it down if a statement lasts too long.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

_DESCRIPTORS = Path("/proc/self/fd")
_LOOK_SECONDS = 0.25


class Lifeline:
    """The socket of one connection. If the socket was not found, the connection is never cut."""

    def __init__(self, connection: socket.socket | None) -> None:
        self._socket = connection
        self._deadline: float | None = None
        self.was_cut = False
        if connection is not None:
            _watcher.watch(self)

    @contextlib.contextmanager
    def bounded(self, seconds: float) -> Iterator[None]:
        """Cut the connection if the with block lasts longer."""
        self._deadline = time.monotonic() + seconds
        try:
            yield
        finally:
            self._deadline = None

    def look(self, now: float) -> None:
        """Cut the connection if it is time."""
        deadline = self._deadline
        if deadline is not None and now > deadline and self._socket is not None:
            self.was_cut = True
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the socket; may be called twice."""
        _watcher.forget(self)
        if self._socket is not None:
            self._socket.close()


class _Watcher:
    """Watches all connections of the process, in one thread that starts with the first of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: weakref.WeakSet[Lifeline] = weakref.WeakSet()
        self._thread: threading.Thread | None = None

    def watch(self, line: Lifeline) -> None:
        with self._lock:
            self._lines.add(line)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="sqlserver-lifelines", daemon=True)
                self._thread.start()

    def forget(self, line: Lifeline) -> None:
        with self._lock:
            self._lines.discard(line)

    def _run(self) -> None:
        while True:
            time.sleep(_LOOK_SECONDS)
            with self._lock:
                lines = list(self._lines)
                if not lines:
                    self._thread = None
                    return
            now = time.monotonic()
            for line in lines:
                line.look(now)
            del lines, line


_watcher = _Watcher()


class NewSocket:
    """Finds the socket that is made to a port inside a with block."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._before = _sockets()

    def found(self) -> Lifeline:
        """The lifeline of that socket; an idle one where it is not certain which it is."""
        new = [number for number, name in _sockets().items() if self._before.get(number) != name]
        found = [each for number in new if (each := _connected_to(number, self._port)) is not None]
        if len(found) == 1:
            return Lifeline(found[0])
        for each in found:
            each.close()
        return Lifeline(None)


def _sockets() -> dict[int, str]:
    """The descriptors of this process that are sockets, with what the kernel calls them."""
    found = {}
    with contextlib.suppress(OSError):
        for descriptor in _DESCRIPTORS.iterdir():
            with contextlib.suppress(OSError):
                target = str(descriptor.readlink())
                if target.startswith("socket:"):
                    found[int(descriptor.name)] = target
    return found


def _connected_to(number: int, port: int) -> socket.socket | None:
    try:
        copy = socket.socket(fileno=os.dup(number))
    except OSError:
        return None
    with contextlib.suppress(OSError):
        if copy.family in (socket.AF_INET, socket.AF_INET6) and copy.getpeername()[1] == port:
            return copy
    copy.close()
    return None
