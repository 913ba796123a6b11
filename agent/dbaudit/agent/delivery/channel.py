"""A connection together with the events that were sent and are not confirmed yet."""

from __future__ import annotations

import time
from collections.abc import Sequence

from dbaudit.agent.delivery.listener import Listener
from dbaudit.agent.delivery.window import Part, Window
from dbaudit.state.nodes import Lease

_NEW_LINE = ord("\n")


class Channel:
    """Loads events and sends their lines piece by piece. All methods that use the connection raise OSError if
    it is broken.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._window = Window()
        self._data = b""
        self._pushed = 0
        self._opened = time.monotonic()
        self._open_since: float | None = None
        self._finished: float | None = None
        self.fruitful = False

    @property
    def pending(self) -> bool:
        """Whether something that was loaded has to be pushed yet."""
        return self._pushed < len(self._data)

    @property
    def finished(self) -> bool:
        """Whether our direction is closed."""
        return self._finished is not None

    @property
    def confirms_itself(self) -> bool:
        """Whether it is known, while the connection lasts, what the listener has read."""
        return self._listener.taken_means_read

    @property
    def open_bytes(self) -> int:
        """How many bytes were loaded and are not known to be read."""
        return self._window.open_bytes

    def age_seconds(self) -> float:
        """How long the connection has stood."""
        return time.monotonic() - self._opened

    def open_seconds(self) -> float:
        """How long ago the first of what is not known to be read was loaded."""
        return 0.0 if self._open_since is None else time.monotonic() - self._open_since

    def load(self, parts: Sequence[tuple[Lease, Sequence[int], Sequence[bytes]]]) -> None:
        """Take the lines of these events, by lease and numbers; only when nothing is pending."""
        for lease, numbers, lines in parts:
            self._window.add(lease, numbers, lines)
        self._data = b"".join([line for lease, numbers, lines in parts for line in lines])
        self._pushed = 0
        if self._open_since is None:
            self._open_since = time.monotonic()

    def push(self, timeout_seconds: float) -> None:
        """Give what is pending to the kernel, as far as it takes it."""
        self._pushed += self._listener.send(memoryview(self._data)[self._pushed :], timeout_seconds)

    def handed(self) -> list[Part]:
        """The events that the listener's host has taken since this was asked last."""
        self._listener.require_life()
        return self._window.handed(self._listener.taken())

    def read(self) -> list[Part]:
        """The events that the listener has read since this was asked last: where the connection confirms
        itself, or has ended in an orderly way.
        """
        parts = self._window.read(self._listener.taken())
        self.fruitful = self.fruitful or bool(parts)
        if not self._window.open_bytes:
            self._open_since = None
        return parts

    def not_handed(self) -> set[Lease]:
        """The databases with events that the listener's host has not taken yet."""
        return self._window.not_handed()

    def ended(self, timeout_seconds: float = 0.0) -> bool:
        """Whether the listener has ended the connection in an orderly way."""
        return self._listener.ended(timeout_seconds)

    def finish(self) -> None:
        """Close our direction."""
        self._listener.finish()
        self._finished = time.monotonic()

    def drained_after(self, patience_seconds: float) -> bool:
        """Whether the listener seems to have read everything and does not close in so long a time."""
        waited = 0.0 if self._finished is None else time.monotonic() - self._finished
        return waited > patience_seconds and self._listener.drained()

    def farewell(self, timeout_seconds: float) -> bool:
        """End the connection after the line that has begun; True when the listener did the same in time."""
        deadline = time.monotonic() + timeout_seconds
        if not self.finished:
            line_end = self._data.find(b"\n", max(0, self._pushed - 1)) + 1
            while self.pending and self._pushed and self._data[self._pushed - 1] != _NEW_LINE:
                left_seconds = deadline - time.monotonic()
                if left_seconds <= 0:
                    break
                rest = memoryview(self._data)[self._pushed : line_end]
                self._pushed += self._listener.send(rest, left_seconds)
                if self._listener.ended():
                    return True
            self.finish()
        return self.ended(max(0.0, deadline - time.monotonic()))

    def close(self) -> None:
        """Close the connection."""
        self._listener.close()

    def reset(self) -> None:
        """Close the connection and discard everything that the listener's host has not taken yet."""
        self._listener.reset()
