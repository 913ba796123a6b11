"""Keeps answers for as long as nothing in the state has changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable

import msgspec

from dbaudit.state.changes import Changes

_MAX_ANSWERS = 2000
_MAX_BYTES = 32 * 1024 * 1024


class Kept(msgspec.Struct, frozen=True):
    """The body of an answer, and its entity tag."""

    body: bytes
    etag: str | None = None


class AnswerCache:
    """Answers by request. No answer is older than the last change of the state, by any process."""

    def __init__(self, changes: Changes, max_bytes: int = _MAX_BYTES) -> None:
        self._changes = changes
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._bytes = 0
        # One value, so that a stamp is never seen with the answers of another one.
        self._kept: tuple[Hashable, dict[Hashable, Kept]] = (None, {})

    def get(self, asked: Hashable, make: Callable[[], Kept]) -> Kept:
        """The answer to ``asked``: kept, or made now. What ``make`` raises is raised and not kept."""
        stamp = self._changes.stamp()
        kept_stamp, answers = self._kept
        if stamp == kept_stamp:
            answer = answers.get(asked)
            if answer is not None:
                return answer
        answer = make()
        with self._lock:
            kept_stamp, answers = self._kept
            full = len(answers) >= _MAX_ANSWERS or self._bytes + len(answer.body) > self._max_bytes
            if stamp != kept_stamp or full:
                answers = {}
                self._kept, self._bytes = (stamp, answers), 0
            answers[asked] = answer
            self._bytes += len(answer.body)
        return answer
