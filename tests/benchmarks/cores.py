"""Which core does what: the agent has one for itself, the server and its clients have another."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

_CORES = sorted(os.sched_getaffinity(0))
OF_THE_AGENT = _CORES[0]
OF_THE_SERVER = _CORES[-1]


def pin(core: int) -> None:
    """Keeps this process, its later threads and its later children on one core."""
    os.sched_setaffinity(0, {core})


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """What is started inside stays on one core."""
    before = os.sched_getaffinity(0)
    pin(core)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
