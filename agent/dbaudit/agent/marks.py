"""Memory that outlives the agent's process: which calls into engines it was in when it died.

The parent of the agent creates it and passes its descriptor to each agent process. A mark is one write to
memory, without a system call, so that every call can be marked.
"""

from __future__ import annotations

import faulthandler
import mmap
import os
import re
import struct
import threading
from collections.abc import Callable
from typing import NoReturn

import msgspec

_HEADER_BYTES = 4096
# The parent reads these two bytes after the end of a process, and sets them to 0 before the next.
_WORKS_AT = 0
_HAS_COLLECTED_AT = 1
_NODE_AT = 2
_NODE_BYTES = 63
_LEAVER = struct.Struct("<Q")
_LEAVER_AT = _NODE_AT + _NODE_BYTES
_VALID_NOTE_AT = _LEAVER_AT + _LEAVER.size
_SLOT = struct.Struct("<15s?Q40s")
_CALL_BYTES = 15
_SLOTS = 1 << 13
_SLOTS_AT = _HEADER_BYTES
_NOTE_LENGTH = struct.Struct("<I")
_NOTE_BYTES = 8 << 20
_NOTES_AT = _SLOTS_AT + _SLOTS * _SLOT.size
# Pages that no process writes to take no memory.
_BYTES = _NOTES_AT + 2 * _NOTE_BYTES
_TRACE_BYTES = 1 << 16
_CRASHED_THREAD = re.compile(r"^Current thread 0x([0-9a-f]+)", re.MULTILINE)


class Marked(msgspec.Struct, frozen=True):
    """What one thread was doing: ``owner`` is the database or the task whose engine it calls; ``call`` is
    empty between two calls. ``has_collected``: it has read and stored at least once.
    """

    owner: str
    call: str
    thread: int
    has_collected: bool = False


class Mark:
    """The place where one thread marks its calls."""

    def __init__(self, memory: mmap.mmap, place: int) -> None:
        self.place = place
        self._memory = memory
        self._at = _slot_at(place)

    def enter(self, call: str) -> None:
        """The thread goes into ``call``."""
        self._memory[self._at : self._at + _CALL_BYTES] = call.encode()[:_CALL_BYTES].ljust(
            _CALL_BYTES, b"\0"
        )

    def leave(self) -> None:
        """The call has returned."""
        self._memory[self._at] = 0

    def has_collected(self) -> None:
        """The thread has read and stored what it read."""
        self._memory[self._at + _CALL_BYTES] = 1
        self._memory[_HAS_COLLECTED_AT] = 1


class Marks:
    """The marks of one agent process; with ``descriptor`` the next process can read them.

    ``found`` are the marks of the process before this one, ``crash`` is what the interpreter wrote about the
    signal that ended it and the thread that got it, ``culprit`` the thread that ended it, if that is known.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = descriptor
        if descriptor is None:
            self._memory = mmap.mmap(-1, _BYTES)
            self.crash = ""
        else:
            self.crash = _crash(descriptor)
            os.ftruncate(descriptor, _BYTES)
            self._memory = mmap.mmap(descriptor, _BYTES)
        self.culprit = self._culprit()
        self.found = self._all()
        self._lock = threading.Lock()
        # The last place is shared by all threads that come when every other place is taken.
        self._free = list(range(_SLOTS - 2, -1, -1))

    def watch_process(self) -> None:
        """Record from now on which thread ends this process, by a signal or by ``os._exit``."""
        assert self._descriptor is not None
        os.lseek(self._descriptor, _BYTES, os.SEEK_SET)
        faulthandler.enable(self._descriptor)
        os._exit = self._leaving(os.getpid(), os._exit)  # type: ignore[assignment]  # mypy wants NoReturn

    def clear(self) -> None:
        """Remove all marks: those of the process before this one, or those of this one at its normal end."""
        _LEAVER.pack_into(self._memory, _LEAVER_AT, 0)
        self._memory[_SLOTS_AT:_NOTES_AT] = bytes(_NOTES_AT - _SLOTS_AT)

    def take(self, owner: str) -> Mark:
        """A place for this thread, until it is given back."""
        with self._lock:
            place = self._free.pop() if self._free else _SLOTS - 1
        _SLOT.pack_into(self._memory, _slot_at(place), b"", False, threading.get_ident(), owner.encode())
        return Mark(self._memory, place)

    def give_back(self, mark: Mark) -> None:
        """The thread calls no engine any more."""
        _SLOT.pack_into(self._memory, _slot_at(mark.place), b"", False, 0, b"")
        if mark.place != _SLOTS - 1:
            with self._lock:
                self._free.append(mark.place)

    @property
    def node_id(self) -> str | None:
        """The id of the node that earlier processes of this agent used; None if this is the first process."""
        return _text(self._memory[_NODE_AT : _NODE_AT + _NODE_BYTES]) or None

    def works_as(self, node_id: str) -> None:
        """This process works as that node from now on: if it ends, an engine may be why."""
        self._memory[_NODE_AT : _NODE_AT + _NODE_BYTES] = node_id.encode().ljust(_NODE_BYTES, b"\0")
        self._memory[_WORKS_AT] = 1

    @property
    def note(self) -> bytes:
        """What this process, or the one before it, has noted for later processes."""
        at = self._note_at(self._memory[_VALID_NOTE_AT])
        (length,) = _NOTE_LENGTH.unpack_from(self._memory, at)
        return self._memory[at + _NOTE_LENGTH.size : at + _NOTE_LENGTH.size + length]

    @note.setter
    def note(self, note: bytes) -> None:
        note = note if len(note) <= _NOTE_BYTES - _NOTE_LENGTH.size else b""
        other = 1 - self._memory[_VALID_NOTE_AT]
        at = self._note_at(other)
        _NOTE_LENGTH.pack_into(self._memory, at, len(note))
        self._memory[at + _NOTE_LENGTH.size : at + _NOTE_LENGTH.size + len(note)] = note
        self._memory[_VALID_NOTE_AT] = other  # valid only from here on: a process may die while it writes

    def _note_at(self, number: int) -> int:
        return _NOTES_AT + number * _NOTE_BYTES

    def _all(self) -> tuple[Marked, ...]:
        return tuple(
            Marked(_text(owner), _text(call), thread, has_collected)
            for call, has_collected, thread, owner in _SLOT.iter_unpack(self._memory[_SLOTS_AT:_NOTES_AT])
            if thread
        )

    def _culprit(self) -> int | None:
        crashed = _CRASHED_THREAD.search(self.crash)
        if crashed:
            return int(crashed[1], 16)
        (leaver,) = _LEAVER.unpack_from(self._memory, _LEAVER_AT)
        return leaver or None

    def _leaving(self, process_id: int, leave: Callable[[int], NoReturn]) -> Callable[[int], NoReturn]:
        def noted(status: int) -> NoReturn:
            if os.getpid() == process_id:  # not in a child that an engine forked
                _LEAVER.pack_into(self._memory, _LEAVER_AT, threading.get_ident())
            leave(status)

        return noted


def _slot_at(place: int) -> int:
    return _SLOTS_AT + place * _SLOT.size


def _crash(descriptor: int) -> str:
    parts = os.pread(descriptor, _TRACE_BYTES, _BYTES).decode(errors="replace").split("\n\n")
    return "\n".join(part for part in parts if part.startswith(("Fatal", "Current")))


def _text(padded: bytes) -> str:
    return padded.partition(b"\0")[0].decode(errors="replace")
