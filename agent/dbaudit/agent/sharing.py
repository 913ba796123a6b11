"""One read of a server's source for all the declarations of it that an agent collects.

Declarations of one server by one account read the same records at the same cursor. The first that comes to a
cursor reads and decodes for all; the others take what it got. Each stores its own part with its own cursor in
its own transaction, so that nothing depends on the others. A declaration that is alone reads by itself.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from dbaudit.core.database import Target
from dbaudit.engine import Chunk, Cursor, Decoded

_PATIENCE_SECONDS = 1.0
"""A member waits this long for what another one reads, once; then it reads by itself."""
_MOST_KEPT = 4
"""So many reads are kept for members that are behind: the first member waits for them, once."""
_SHARE_OF_THE_PAUSE = 0.9


class Shared(msgspec.Struct, frozen=True):
    """What was read and decoded for all members. The events are shared and must not be changed."""

    chunk: Chunk
    decoded: Decoded


class _Entry:
    def __init__(self) -> None:
        self.done = threading.Event()
        self.read: Shared | None = None
        self.empty_since: float | None = None
        self.taken: set[int] = set()


class _Group:
    """The members that read one source, and their latest reads by the cursor that they began at."""

    def __init__(self, lock: threading.Lock) -> None:
        self.members: set[int] = set()
        self.entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self.behind: set[int] = set()
        """Members that did not read within the time that the others waited for them."""
        self.taken = threading.Condition(lock)

    def is_apart(self, member: int) -> bool:
        """Whether a member is behind and reads what no other member needs any more."""
        if self.behind >= self.members:
            self.behind.clear()
        return member in self.behind

    def make_room(self) -> None:
        """Keep few entries. If members have not taken an entry yet, wait for them, once for each member."""
        for place, entry in list(self.entries.items()):
            if entry.empty_since is not None:
                del self.entries[place]
        if len(self.entries) >= _MOST_KEPT:
            self.taken.wait_for(self._has_room, _PATIENCE_SECONDS)
        while len(self.entries) >= _MOST_KEPT:
            _place, oldest = self.entries.popitem(last=False)
            self.behind |= self.members - oldest.taken

    def _has_room(self) -> bool:
        oldest = next(iter(self.entries.values()), None)
        return len(self.entries) < _MOST_KEPT or oldest is None or oldest.taken >= self.members - self.behind

    def take(self, member: int, place: bytes, entry: _Entry) -> None:
        """Note that a member has taken an entry. One that all members have taken is dropped."""
        self.behind.discard(member)
        if entry.empty_since is not None:
            return  # an empty read is reused until it is too old
        entry.taken.add(member)
        if entry.taken >= self.members and self.entries.get(place) is entry:
            del self.entries[place]
        self.taken.notify_all()


class SharedReads:
    """The groups of an agent. An idle source is left alone for ``pause_seconds`` between two reads."""

    def __init__(self, pause_seconds: float) -> None:
        self._fresh_seconds = pause_seconds * _SHARE_OF_THE_PAUSE
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._groups: dict[bytes, _Group] = {}
        self._members = 0

    def join(self, engine_type: str, target: Target) -> Member:
        """Join the group of the members that read ``target``, until ``Member.leave``."""
        name = self._name(engine_type, target)
        with self._lock:
            self._members += 1
            group = self._groups.setdefault(name, _Group(self._lock))
            group.members.add(self._members)
            return Member(self, name, group, self._members)

    def _name(self, engine_type: str, target: Target) -> bytes:
        """What two targets have in common when they read the same: all but the name of the database."""
        parts = (
            engine_type,
            target.host,
            target.port,
            target.username,
            target.password.reveal(),
            target.ssl_mode,
            target.ssl_ca,
            target.ssl_cert,
            None if target.ssl_key is None else target.ssl_key.reveal(),
            target.options,
            target.application_name,
        )
        return hashlib.blake2b(msgspec.json.encode(parts, order="sorted"), key=self._key).digest()

    def leave(self, name: bytes, group: _Group, member: int) -> None:
        """Take part no more."""
        with self._lock:
            group.members.discard(member)
            group.behind.discard(member)
            if not group.members:
                self._groups.pop(name, None)
            for place, entry in list(group.entries.items()):
                if entry.taken >= group.members:
                    del group.entries[place]
            group.taken.notify_all()

    def read(
        self,
        group: _Group,
        member: int,
        cursor: Mapping[str, Any],
        read: Callable[[], Chunk],
        decode: Callable[[Chunk], Decoded],
    ) -> Chunk | Shared:
        """What follows ``cursor``: a chunk that the member read itself, or a shared read."""
        place = msgspec.json.encode(cursor, order="sorted")
        with self._lock:
            apart = place not in group.entries and group.is_apart(member)
            if place not in group.entries and not apart:
                group.make_room()
            entry = group.entries.get(place)
            if entry is not None and (self._is_old(entry) or member in entry.taken):
                # The entry is too old, or the member failed to store what it took: read again, for all.
                entry = None
            mine = entry is None
            if entry is None and not apart:
                entry = group.entries[place] = _Entry()
                group.entries.move_to_end(place)
        if entry is None:
            return read()
        if mine:
            return self._read_for_all(group, member, cursor, place, entry, read, decode)
        entry.done.wait(_PATIENCE_SECONDS)
        with self._lock:
            if entry.read is None:
                # The thread that reads it failed or is slow: no other thread waits for this entry again.
                if group.entries.get(place) is entry:
                    del group.entries[place]
            else:
                group.take(member, place, entry)
                return entry.read
        return read()

    def _is_old(self, entry: _Entry) -> bool:
        return entry.empty_since is not None and time.monotonic() - entry.empty_since > self._fresh_seconds

    def _read_for_all(
        self,
        group: _Group,
        member: int,
        cursor: Mapping[str, Any],
        place: bytes,
        entry: _Entry,
        read: Callable[[], Chunk],
        decode: Callable[[Chunk], Decoded],
    ) -> Shared:
        began = time.monotonic()
        try:
            chunk = read()
            shared = Shared(chunk, decode(chunk))
        except BaseException:
            with self._lock:
                if group.entries.get(place) is entry:
                    del group.entries[place]
            entry.done.set()
            raise
        with self._lock:
            if not chunk.records and not chunk.gaps and chunk.cursor == cursor:
                entry.empty_since = began
            entry.read = shared
            group.take(member, place, entry)
        entry.done.set()
        return shared


class Member:
    """One declaration's part in a group."""

    def __init__(self, reads: SharedReads, name: bytes, group: _Group, number: int) -> None:
        self._reads = reads
        self._name = name
        self._group = group
        self._number = number

    @property
    def alone(self) -> bool:
        """Whether no other member reads the same source."""
        return len(self._group.members) < 2

    def read(
        self, cursor: Cursor, read: Callable[[], Chunk], decode: Callable[[Chunk], Decoded]
    ) -> Chunk | Shared:
        """What follows ``cursor``; by ``read`` and ``decode`` if no other member has read it."""
        return self._reads.read(self._group, self._number, cursor, read, decode)

    def leave(self) -> None:
        """The session ends."""
        self._reads.leave(self._name, self._group, self._number)
