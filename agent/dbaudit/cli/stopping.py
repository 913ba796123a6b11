"""What ends a service: SIGTERM, SIGINT, or the end of the process that started it."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from types import FrameType

_ORPHAN_SECONDS = 20.0


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM or SIGINT sets."""
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        # The main thread may hold the lock of the event at this very moment: another one has to set it.
        _thread.start_new_thread(stop.set, ())

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    return stop


def stop_with_parent(stop: threading.Event) -> None:
    """Set ``stop`` when standard input ends, which is a pipe from the parent: however that died."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 64):
            pass
        stop.set()
        threading.Event().wait(_ORPHAN_SECONDS)
        os._exit(1)  # nobody is left who could kill a process that hangs

    threading.Thread(target=watch, name="parent", daemon=True).start()
