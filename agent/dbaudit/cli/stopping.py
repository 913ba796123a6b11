"""What ends a service: SIGTERM, SIGINT, SIGHUP (not under nohup), or the end of its parent process."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from types import FrameType

_ORPHAN_SECONDS = 20.0
_LOOK_SECONDS = 0.2


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM, SIGINT or SIGHUP sets."""
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        # The main thread may hold the lock of the event at this very moment: another one has to set it.
        _thread.start_new_thread(stop.set, ())

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, handle)
    return stop


def wait_until_stopped(stop: threading.Event) -> None:
    """Wait in the main thread until ``stop`` is set.

    The system may give a signal to any thread, but only the main one runs its handler: it must not sleep for
    ever.
    """
    while not stop.wait(_LOOK_SECONDS):
        pass


def stop_with_parent(stop: threading.Event) -> None:
    """Set ``stop`` when standard input ends, which is a pipe from the parent: however that died."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 64):
            pass
        stop.set()
        threading.Event().wait(_ORPHAN_SECONDS)
        os._exit(1)  # no parent is left that could kill a process that hangs

    threading.Thread(target=watch, name="parent", daemon=True).start()
