"""Requests that wait, for new events or for the test of an agent: one thread watches over all of them."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from typing import TypeAlias

from dbaudit.api.visit import Parked, Visit
from dbaudit.core.errors import DbauditError, ErrorCode, TransientError
from dbaudit.core.tracebacks import safe_traceback
from dbaudit.state.wakeup import Topic, Wakeup

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 0.25
_LOOK_AGAIN_SECONDS = 2.0
"""A notice may be lost: what waits is looked at without one too."""
_READMIT_SECONDS = 2.0
_FULL_RETRY_SECONDS = 5.0

Look: TypeAlias = Callable[[int], tuple[bool, int]]


class WaitingRoom:
    """Where requests wait without a thread. ``places`` bounds how many wait for each topic."""

    def __init__(self, wakeup: Wakeup, places: Mapping[Topic, int]) -> None:
        self._wakeup = wakeup
        self._places = places
        self._changed = threading.Condition()
        self._parked: dict[Parked, None] = {}
        self._numbers = dict.fromkeys(places, 0)
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self._readmitted_at = time.monotonic()

    def seen(self, topic: Topic) -> int:
        """How many notices came; take it before looking."""
        return self._wakeup.count(topic)

    def waiting(self, topic: Topic) -> int:
        """How many requests wait for ``topic`` now."""
        return self._numbers[topic]

    def enter(self, visit: Visit, topic: Topic) -> None:
        """Raises TransientError (`shutting_down`, `too_many_waiting`) where ``visit`` cannot wait here."""
        if self._closed.is_set():
            raise TransientError(ErrorCode.SHUTTING_DOWN, "The service is stopping; try again.")
        if visit.deadline is None and self._numbers[topic] >= self._places[topic]:
            raise TransientError(
                ErrorCode.TOO_MANY_WAITING,
                f"{self._places[topic]} requests are waiting already; try again.",
                retry_after_seconds=_FULL_RETRY_SECONDS,
            )

    def wait(
        self,
        visit: Visit,
        topic: Topic,
        seen: int,
        timeout_seconds: float,
        *,
        group: Hashable,
        position: int,
        look: Look,
    ) -> None:
        """Have the request wait; returns when it has waited for ``timeout_seconds`` in all.

        Raises Parked, which the view lets pass; TransientError (`shutting_down`, `too_many_waiting`). The
        arguments are those of Parked.
        """
        self.enter(visit, topic)
        now = time.monotonic()
        if visit.deadline is None:
            visit.deadline = now + timeout_seconds
        if now < visit.deadline:
            raise Parked(topic, seen, visit.deadline, group=group, position=position, look=look)

    def park(self, parked: Parked, resume: Callable[[], None]) -> None:
        """Call ``resume`` once, from a thread of this room, when ``parked`` is to be run again."""
        parked.resume = resume
        with self._changed:
            if not self._closed.is_set():
                self._parked[parked] = None
                self._numbers[parked.topic] += 1
                if self._thread is None:
                    self._thread = threading.Thread(target=self._watch, name="waiting room", daemon=True)
                    self._thread.start()
                self._changed.notify()
                return
        resume()

    def leave(self, parked: Parked) -> bool:
        """Forget ``parked``, whose client is gone; False if it was to be run again already."""
        with self._changed:
            if parked not in self._parked:
                return False
            del self._parked[parked]
            self._numbers[parked.topic] -= 1
            return True

    def close(self) -> None:
        """End all waiting: the service stops."""
        with self._changed:
            self._closed.set()
            self._changed.notify()
        for parked in list(self._parked):
            self._resume(parked)

    def _resume(self, parked: Parked) -> None:
        if self.leave(parked):
            parked.resume()

    def _watch(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._parked or self._closed.is_set())
                if self._closed.is_set():
                    return
                waiting = list(self._parked)
            counts = {topic: self._wakeup.count(topic) for topic in self._places}
            began = time.monotonic()
            try:
                self._look_after(waiting, counts, began)
            except Exception as error:  # noqa: BLE001  # outermost handler: the others wait on
                _log.error("waiting requests are run again: %s", safe_traceback(error, ()))
                for parked in waiting:
                    self._resume(parked)
            # Where notices come all the time, looking takes at most half of this thread.
            self._closed.wait(time.monotonic() - began)
            self._wakeup.wait_any(counts, _LOOK_SECONDS)

    def _look_after(self, waiting: list[Parked], counts: Mapping[Topic, int], now: float) -> None:
        """Have those of ``waiting`` run again whose time is over or for whom there may be something."""
        if now - self._readmitted_at >= _READMIT_SECONDS:
            self._readmitted_at = now
            self._readmit(waiting)
        groups: defaultdict[tuple[Topic, Hashable], list[Parked]] = defaultdict(list)
        for parked in waiting:
            if parked.deadline <= now:
                self._resume(parked)
            elif parked.seen != counts[parked.topic] or now - parked.looked_at >= _LOOK_AGAIN_SECONDS:
                groups[parked.topic, parked.group].append(parked)
        for (topic, _group), members in groups.items():
            self._look(members, counts[topic])

    def _look(self, members: list[Parked], seen: int) -> None:
        try:
            found, position = members[0].look(min(parked.position for parked in members))
        except DbauditError:
            found, position = True, 0  # their own run says what is wrong
        now = time.monotonic()
        for parked in members:
            if found:
                self._resume(parked)
            else:
                parked.seen, parked.position, parked.looked_at = seen, max(parked.position, position), now

    def _readmit(self, waiting: list[Parked]) -> None:
        """Run again those whose key is not valid any more: they get the answer that says so."""
        of_senders: defaultdict[Hashable, list[Parked]] = defaultdict(list)
        for parked in waiting:
            of_senders[parked.sender].append(parked)
        for members in of_senders.values():
            try:
                members[0].readmit()
            except DbauditError:
                for parked in members:
                    self._resume(parked)
