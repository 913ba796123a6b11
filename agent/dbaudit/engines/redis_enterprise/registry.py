"""The listeners of this process by their address, and the readers that wait for the next session.

A test of a database that is being collected must neither fail because the port is in use nor take it from the
collector; and what a closed session had received must reach the next session.
"""

from __future__ import annotations

import logging
import threading

import msgspec

from dbaudit.engines.redis_enterprise.listener import Listener
from dbaudit.engines.redis_enterprise.options import Options
from dbaudit.engines.redis_enterprise.places import Place
from dbaudit.engines.redis_enterprise.reading import Reader

_log = logging.getLogger(__name__)
_MOST_RESTING = 64

_lock = threading.Lock()
_live: dict[Place, Live] = {}
_resting: dict[str, Reader] = {}


class Live(msgspec.Struct, frozen=True):
    """A listener, and the id of the database that it belongs to."""

    database_id: str
    listener: Listener


def live(place: Place) -> Live | None:
    """The listener of this process at that address; None if nothing listens there."""
    with _lock:
        return _live.get(place)


def claim(place: Place, database_id: str, options: Options) -> Listener | None:
    """A listener bound to the address; None if another listener of this process has it.

    Raises ConfigurationError, or TransientError if another process has it.
    """
    with _lock:
        if place in _live:
            return None
        listener = Listener(place, options)
        _live[place] = Live(database_id, listener)
        return listener


def release(listener: Listener) -> None:
    """Free the address, after the listener was closed."""
    with _lock:
        held = _live.get(listener.place)
        if held is not None and held.listener is listener:
            del _live[listener.place]


def reader(database_id: str) -> Reader:
    """The reader of a database that an earlier session left, or a new one."""
    with _lock:
        return _resting.pop(database_id, None) or Reader()


def rest(database_id: str, left: Reader) -> None:
    """Keep a reader for the next session of its database."""
    with _lock:
        _resting.pop(database_id, None)
        _resting[database_id] = left
        dropped = _resting.pop(next(iter(_resting))) if len(_resting) > _MOST_RESTING else None
    if dropped is not None and dropped.waiting_bytes:
        _log.warning("%d bytes of notifications are dropped: no session has read them", dropped.waiting_bytes)
