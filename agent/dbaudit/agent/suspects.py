"""Which databases are held back after the agent's process has died, and when each is tried again.

A call into an engine may end the whole process: by a fault in a driver's C code, or a plugin that exits. The
database that caused it is known by its thread; otherwise it is one of those that were in a call. If one
database is known to be the cause, it is tried again alone, after pauses that grow. If several are suspects,
they are tried in turn, first one half of them: a database that was not running did not end the process.

SIGKILL and similar signals come from outside: from a person, or from a kernel that is out of memory. They
are not blamed on an engine, unless the same database was in a call at three of them in a row and has not
finished reading and storing once in between. Then it is held back as well, for seconds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable

import msgspec

from dbaudit.agent.marks import Marked, Marks
from dbaudit.core import typed
from dbaudit.core.errors import PluginError

_FIRST_PAUSE_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 3600.0
_TRIAL_SECONDS = 3.0
"""A database that has been collected for so long is not a suspect any more."""
_SOON_SECONDS = 60.0
"""Two deaths within this time are taken to have one cause."""
_REMEMBERED_SECONDS = 3600.0
"""The pauses start short again for a database that has not ended the process for so long."""
_FAULTS = frozenset({"SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSYS", "SIGTRAP"})
"""The signals that a process gets for a fault of its own."""
_BY_SIGNAL = "was ended by "
_KILLS_IN_A_ROW = 3
_LONGEST_PAUSE_AFTER_KILLS_SECONDS = 15.0
_CALM_SECONDS = 5.0
"""A new process collects the others for so long before it tries a database that is known as a cause."""
_LONG_AGO = -1e9
"""JSON knows no infinite number."""
_REMEDY = "Report this to the author of the engine; the log of the agent has more."
_REMEDY_AFTER_KILLS = (
    "If nobody ended the process, look in the kernel's log whether it was out of memory; else report this to "
    "the author of the engine."
)


class Suspect(msgspec.Struct, kw_only=True):
    """A database that may have ended the process. ``deaths`` is how often it certainly did; 0 if unknown.

    Times are of the system's monotonic clock, which all processes share. A suspect that is not ``held_back``
    is collected, on trial until ``trial_until``. ``by_kill``: the process was killed from outside, which may
    have had another reason.
    """

    id: str
    deaths: int
    died_at: float
    retry_at: float
    reason: str
    by_kill: bool = False
    held_back: bool = True
    trial_until: float | None = None


class _Note(msgspec.Struct):
    suspects: list[Suspect] = []
    died_at: float = _LONG_AGO
    blamed: list[str] = []
    kills: dict[str, int] = {}


class Suspects:
    """Finds suspects by the marks of the process before this one. ``died`` is how that ended, such as `was
    ended by SIGSEGV`; None if there was none.

    ``failures`` maps each blamed owner to the reason. Owners are databases, and tasks, which are not tried
    again.
    """

    def __init__(
        self, marks: Marks, died: str | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._marks = marks
        self._clock = clock
        note = _noted(marks)
        self._suspects = {suspect.id: suspect for suspect in note.suspects}
        self._died_at, self._blamed = note.died_at, note.blamed
        self._kills = note.kills
        self._calm_until = clock() + _CALM_SECONDS if died is not None else -math.inf
        self.failures: dict[str, PluginError] = {}
        if died is not None:
            by_kill = died.startswith(_BY_SIGNAL) and died.removeprefix(_BY_SIGNAL) not in _FAULTS
            self._judge(marks.found, marks.culprit, f"The agent's process {died}", by_kill=by_kill)
        marks.clear()

    def may_start(self, database_id: str) -> bool:
        """Whether the database may be collected now."""
        suspect = self._suspects.get(database_id)
        return suspect is None or not suspect.held_back

    def explanation(self, database_id: str) -> tuple[PluginError, float]:
        """Why the database is held back, and the seconds until it is tried, unless others come first.

        Raises KeyError for a database that is not a suspect.
        """
        suspect = self._suspects[database_id]
        return _error(suspect.reason, by_kill=suspect.by_kill), max(
            0.0, self._due_at(suspect) - self._clock()
        )

    def advance(self, held: Collection[str]) -> float:
        """End trials and begin new ones among the databases that this node holds; returns the seconds after
        which to do it again.
        """
        now = self._clock()
        before = list(map(msgspec.structs.astuple, self._suspects.values()))
        for suspect in list(self._suspects.values()):
            if suspect.trial_until is not None and suspect.trial_until <= now:
                suspect.trial_until = None
            acquitted = not suspect.held_back and suspect.trial_until is None
            forgotten = suspect.deaths == 0 or now - suspect.died_at > _REMEMBERED_SECONDS
            if suspect.id not in held or (acquitted and forgotten):
                del self._suspects[suspect.id]
        if not self._on_trial():
            for suspect in self._next(now):
                suspect.held_back = False
                suspect.trial_until = now + _TRIAL_SECONDS
        if before != list(map(msgspec.structs.astuple, self._suspects.values())):
            self._save()
        moments = [s.trial_until for s in self._on_trial()] or [
            self._due_at(s) for s in self._suspects.values() if s.held_back
        ]
        return max(0.0, min((m for m in moments if m is not None), default=math.inf) - now)

    def _next(self, now: float) -> list[Suspect]:
        """The suspects to try now: half of the uncertain ones, or else one that is known as a cause."""
        due = [s for s in self._suspects.values() if s.held_back and self._due_at(s) <= now]
        unknown = [s for s in due if s.deaths == 0]
        if unknown:
            return unknown[: max(1, len(unknown) // 2)]
        return sorted(due, key=lambda s: s.retry_at)[:1]

    def _due_at(self, suspect: Suspect) -> float:
        """When a suspect may be tried. One that is known as a cause waits until the others had their time."""
        return max(suspect.retry_at, self._calm_until) if suspect.deaths else suspect.retry_at

    def _on_trial(self) -> list[Suspect]:
        return [s for s in self._suspects.values() if s.trial_until is not None]

    def _judge(self, marked: Iterable[Marked], culprit: int | None, what: str, *, by_kill: bool) -> None:
        now = self._clock()
        marked = tuple(marked)
        running = {m.owner: m.call for m in sorted(marked, key=lambda m: m.call)}
        on_trial = {s.id for s in self._on_trial()}
        if by_kill:
            blamed = self._blame_for_kill(running, {m.owner for m in marked if m.has_collected})
        else:
            blamed = self._blame(running, _owner(marked, culprit), culprit is not None, on_trial, now)
            self._died_at, self._blamed = now, sorted(blamed)
        for suspect in list(self._suspects.values()):
            if suspect.id in on_trial:
                suspect.held_back, suspect.trial_until = True, None
                if suspect.deaths == 0 and suspect.id not in blamed:
                    del self._suspects[suspect.id]
            elif suspect.deaths == 0 and blamed & on_trial:
                del self._suspects[suspect.id]  # it was not running
        by_thread = culprit is not None and _owner(marked, culprit) is None
        for owner in sorted(blamed):
            call = "" if by_thread else running[owner]
            self._accuse(owner, call, len(blamed) == 1, what, now, by_kill)
        self._save()

    def _blame_for_kill(self, running: dict[str, str], have_collected: set[str]) -> set[str]:
        """The databases that were in a call at each of the last kills and finished nothing in between."""
        if not running:
            return set()
        for owner, call in running.items():
            if call and owner not in have_collected:
                self._kills[owner] = self._kills.get(owner, 0) + 1
            else:
                self._kills.pop(owner, None)
        # A suspect that did not run keeps its count; others that did not run are dropped.
        self._kills = {
            owner: number
            for owner, number in self._kills.items()
            if owner in running or owner in self._suspects
        }
        return {owner for owner in running if self._kills.get(owner, 0) >= _KILLS_IN_A_ROW}

    def _blame(
        self, running: dict[str, str], owner: str | None, known: bool, on_trial: set[str], now: float
    ) -> set[str]:
        """The owners that may have ended the process. ``owner`` is that of the thread that ended it, if any;
        ``known`` says whether that thread is known.
        """
        inside = {owner for owner, call in running.items() if call}
        soon = now - self._died_at < _SOON_SECONDS
        tried = on_trial & running.keys()
        if owner is not None:
            return {owner}
        if tried:
            return tried if known else tried & inside or tried
        if known or not inside or (soon and self._blamed and not running.keys() & self._blamed):
            # It was a thread that an engine started. Once is no reason to hold all databases back.
            return set(running) if soon else set()
        return inside

    def _accuse(self, owner: str, call: str, alone: bool, what: str, now: float, by_kill: bool) -> None:
        if not alone:
            reason = f"{what}; this is one of the databases that may be why. They are tried in turn."
        elif call:
            reason = f"{what} in {call}() of the engine{', several times in a row' if by_kill else ''}."
        else:
            reason = f"{what}, probably by a thread of the engine."
        self.failures[owner] = _error(reason, by_kill=by_kill)
        before = self._suspects.pop(owner, None)
        deaths = (before.deaths if before else 0) + alone
        longest = _LONGEST_PAUSE_AFTER_KILLS_SECONDS if by_kill else _LONGEST_PAUSE_SECONDS
        pause = min(longest, _FIRST_PAUSE_SECONDS * 2.0 ** min(deaths - 1, 20)) if alone else 0.0
        self._suspects[owner] = Suspect(
            id=owner, deaths=deaths, died_at=now, retry_at=now + pause, reason=reason, by_kill=by_kill
        )

    def _save(self) -> None:
        note = _Note(list(self._suspects.values()), self._died_at, self._blamed, self._kills)
        self._marks.note = msgspec.json.encode(note)


def _noted(marks: Marks) -> _Note:
    try:
        return typed.decode(marks.note, _Note)
    except msgspec.DecodeError:  # none yet, or of another version
        return _Note()


def _owner(marked: Iterable[Marked], thread: int | None) -> str | None:
    return next((m.owner for m in marked if m.thread == thread), None)


def _error(reason: str, *, by_kill: bool) -> PluginError:
    return PluginError(reason, remedy=_REMEDY_AFTER_KILLS if by_kill else _REMEDY)
