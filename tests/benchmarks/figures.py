"""How figures are printed: one a line on standard output, everything else on standard error."""

import os
import sys
import time

_STARTED = time.monotonic()


def figure(name: str, value: float, unit: str, digits: int = 0) -> None:
    """Prints ``name value unit``."""
    print(f"{name} {value:.{digits}f} {unit}", flush=True)


def say(message: str) -> None:
    """Tells of the progress, with the seconds since the start and the load of the machine."""
    load = os.getloadavg()[0]
    print(f"[{time.monotonic() - _STARTED:6.1f} s, load {load:.1f}] {message}", file=sys.stderr, flush=True)


def skipped(name: str, reason: str) -> None:
    """Tells that a figure could not be measured here."""
    print(f"{name} skipped ({reason})", file=sys.stderr, flush=True)
