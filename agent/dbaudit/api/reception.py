"""Receives requests: one thread holds every connection that waits for its client, so that none of them,
silent, slow or half finished, costs a worker. A worker gets a connection when its request can be answered.
"""

from __future__ import annotations

import errno
import logging
import resource
import selectors
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from dbaudit.api.connection import Connection, Stage
from dbaudit.api.framing import MAX_HEAD_BYTES, Refusal
from dbaudit.api.waiting import WaitingRoom
from dbaudit.api.wsgi import answer_to
from dbaudit.core.errors import ErrorCode

_log = logging.getLogger(__name__)
_MB = 1024 * 1024
_ACCEPT_AT_ONCE = 100
_RESERVED_DESCRIPTORS = 200
"""Descriptors of the process that connections leave to everything else: the state, logs, wake-ups."""
_MOST_CONNECTIONS = 10_000
_ACCEPT_PAUSE_SECONDS = 0.2
_SAY_AGAIN_SECONDS = 60.0
_DRAIN_BYTES = 32 * _MB
_NOT_TLS = Refusal(400, ErrorCode.MALFORMED_REQUEST, "This port speaks HTTPS only.")


class Limit(msgspec.Struct, frozen=True):
    """How long a connection may be in a stage, and how many bytes all that are in it may hold together."""

    seconds: float | None
    bytes: int


LIMITS: Final = {
    Stage.HELLO: Limit(10, _MB),
    Stage.IDLE: Limit(30, _MB),
    Stage.HEAD: Limit(30, 64 * _MB),
    Stage.DRAIN: Limit(5, _MB),
    Stage.ANSWER: Limit(30, 128 * _MB),
    Stage.BODY: Limit(30, 128 * _MB),
    Stage.PARKED: Limit(None, 16 * _MB),
}
"""In the order in which connections are closed where there is no room for more."""


class Reception:
    """Receives on ``listener``, with TLS if there is a ``context``. ``work`` takes a connection whose request
    can be answered; ``give`` takes it back.

    ``read_timeout_seconds`` bounds the arrival of a head, and that of a body.
    """

    def __init__(
        self,
        listener: socket.socket,
        context: ssl.SSLContext | None,
        room: WaitingRoom,
        work: Callable[[Connection], None],
        read_timeout_seconds: float,
    ) -> None:
        self._listener = listener
        self._context = context
        self._room = room
        self._work = work
        self._seconds = {stage: limit.seconds for stage, limit in LIMITS.items()}
        self._seconds |= {Stage.HEAD: read_timeout_seconds, Stage.BODY: read_timeout_seconds}
        # In each stage the oldest is first, and so is the one whose time ends first.
        self._in: dict[Stage, dict[Connection, None]] = {stage: {} for stage in LIMITS}
        self._held = dict.fromkeys(LIMITS, 0)
        self._working: set[Connection] = set()
        self._returned: deque[Connection] = deque()
        self._resumed: deque[Connection] = deque()
        self._waker, self._wakes = socket.socketpair()
        self._is_woken = False
        self._selector = selectors.DefaultSelector()
        self._accepts = True
        self._accepts_again_at: float | None = None
        self._out_of_descriptors_at = -_SAY_AGAIN_SECONDS
        self._stops_at: float | None = None

    def give(self, connection: Connection) -> None:
        """Take ``connection`` from another thread, to go on with what its ``next`` says."""
        self._returned.append(connection)
        self._wake()

    def stop(self, seconds: float) -> None:
        """Have ``run`` return: at once what is unfinished ends, for up to ``seconds`` what is being answered
        may finish.
        """
        self._stops_at = time.monotonic() + seconds
        self._wake()

    @property
    def is_stopping(self) -> bool:
        """Whether no further request is taken."""
        return self._stops_at is not None

    def _wake(self) -> None:
        if not self._is_woken:
            self._is_woken = True
            self._waker.send(b"x")

    def run(self) -> None:
        """Receive until ``stop``."""
        self._listener.setblocking(False)
        self._selector.register(self._wakes, selectors.EVENT_READ)
        self._selector.register(self._listener, selectors.EVENT_READ)
        try:
            while not self._is_over():
                for key, _events in self._selector.select(self._pause()):
                    if key.fileobj is self._listener:
                        self._accept()
                    elif key.fileobj is self._wakes:
                        self._wakes.recv(64)
                        self._is_woken = False
                    elif key.data.stage in self._in:
                        self._advance(key.data)
                while self._returned:
                    connection = self._returned.popleft()
                    self._working.discard(connection)
                    self._go_on(connection)
                while self._resumed:
                    connection = self._resumed.popleft()
                    if connection.stage is Stage.PARKED:  # else its client has left meanwhile
                        self._leave(connection)
                        self._give_to_worker(connection)
                self._end_late()
        finally:
            self.close()

    def _is_over(self) -> bool:
        if self._stops_at is None:
            return False
        if self._accepts:
            self._accepts = False
            if self._accepts_again_at is None:
                self._selector.unregister(self._listener)
            self._listener.close()
            for stage in (Stage.HELLO, Stage.IDLE, Stage.HEAD, Stage.BODY, Stage.DRAIN):
                for connection in list(self._in[stage]):
                    self._close(connection)
        busy = self._working or self._returned or self._in[Stage.ANSWER] or self._in[Stage.PARKED]
        return not busy or time.monotonic() >= self._stops_at

    def _pause(self) -> float | None:
        """The seconds until the next connection times out; None if none has a time-out."""
        ends = [
            next(iter(connections)).since + seconds
            for stage, connections in self._in.items()
            if connections and (seconds := self._seconds[stage]) is not None
        ]
        ends += [at for at in (self._accepts_again_at, self._stops_at) if at is not None]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def _end_late(self) -> None:
        now = time.monotonic()
        for stage, connections in self._in.items():
            seconds = self._seconds[stage]
            while seconds is not None and connections:
                oldest = next(iter(connections))
                if oldest.since + seconds > now:
                    break
                self._close(oldest)
        if self._accepts_again_at is not None and self._accepts_again_at <= now and self._accepts:
            self._accepts_again_at = None
            self._selector.register(self._listener, selectors.EVENT_READ)

    def _accept(self) -> None:
        for _turn in range(_ACCEPT_AT_ONCE):
            try:
                client, address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    self._pause_accepting(error)
                    return
                continue  # that client is gone already
            try:
                client.setblocking(False)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._context is not None:
                    client = self._context.wrap_socket(
                        client, server_side=True, do_handshake_on_connect=False
                    )
            except OSError:  # it was reset meanwhile
                client.close()
                continue
            self._go_on(Connection(client, address[:2], is_secure=self._context is not None))
            if self._number() > _room_for_connections():
                self._make_room()

    def _number(self) -> int:
        return sum(map(len, self._in.values())) + len(self._working)

    def _make_room(self) -> None:
        """Close the one that has been unfinished the longest: its client has had the most time."""
        unfinished = [self._in[stage] for stage in (Stage.HELLO, Stage.IDLE, Stage.HEAD, Stage.DRAIN)]
        oldest = [next(iter(connections)) for connections in unfinished if connections]
        if not oldest:
            oldest = [next(iter(connections)) for connections in self._in.values() if connections][:1]
        if oldest:
            self._close(min(oldest, key=lambda connection: connection.since))

    def _pause_accepting(self, error: OSError) -> None:
        """Without descriptors nothing can be accepted: some connections make room, without a flood of lines
        in the log.
        """
        now = time.monotonic()
        if now - self._out_of_descriptors_at >= _SAY_AGAIN_SECONDS:
            self._out_of_descriptors_at = now
            _log.error("no connection can be accepted for now: %s (raise LimitNOFILE)", error.strerror)
        for _turn in range(max(1, self._number() // 10)):
            self._make_room()
        self._selector.unregister(self._listener)
        self._accepts_again_at = now + _ACCEPT_PAUSE_SECONDS

    def _go_on(self, connection: Connection) -> None:
        """Let ``connection``, which is nowhere yet, begin its stage."""
        stage = connection.next
        if stage is Stage.HEAD and connection.has_head():
            stage = Stage.WORK
        if stage is Stage.END or (self.is_stopping and stage not in (Stage.ANSWER, Stage.PARKED, Stage.WORK)):
            connection.close()
        elif stage is Stage.WORK:
            self._give_to_worker(connection)
        else:
            self._enter(connection, stage)

    def _give_to_worker(self, connection: Connection) -> None:
        connection.stage = Stage.WORK
        self._working.add(connection)
        self._work(connection)

    def _enter(self, connection: Connection, stage: Stage) -> None:
        connection.stage = stage
        connection.since = time.monotonic()
        connection.held = 0
        self._in[stage][connection] = None
        events = selectors.EVENT_WRITE if stage is Stage.ANSWER else selectors.EVENT_READ
        self._selector.register(connection.socket, events, connection)
        held = len(connection.unsent) if stage is Stage.ANSWER else len(connection.received)
        if stage is Stage.BODY:
            held = len(connection.body.content)
        self._hold(connection, held)
        if stage is Stage.PARKED and connection.stage is stage:
            parked = connection.parked
            assert parked is not None
            self._room.park(parked, lambda: self._resume(connection))

    def _leave(self, connection: Connection) -> None:
        del self._in[connection.stage][connection]
        self._held[connection.stage] -= connection.held
        self._selector.unregister(connection.socket)

    def _hold(self, connection: Connection, number: int) -> None:
        """Count ``number`` bytes more. The oldest are closed where all together hold too many."""
        stage = connection.stage
        connection.held += number
        self._held[stage] += number
        while self._held[stage] > LIMITS[stage].bytes:
            self._close(next(iter(self._in[stage])))

    def _close(self, connection: Connection) -> None:
        self._leave(connection)
        if connection.stage is Stage.PARKED and connection.parked is not None:
            self._room.leave(connection.parked)
        connection.stage = Stage.END
        connection.close()

    def close(self) -> None:
        """Close what is open."""
        for connections in self._in.values():
            for connection in list(connections):
                self._close(connection)
        for connection in self._returned:
            connection.close()
        self._listener.close()
        self._selector.close()

    def _advance(self, connection: Connection) -> None:
        """Something has come of ``connection``, or it takes more of its answer."""
        match connection.stage:
            case Stage.HELLO:
                self._shake_hands(connection)
                return
            case Stage.ANSWER:
                connection.send()
                if connection.next is not Stage.ANSWER:
                    self._leave(connection)
                    self._go_on(connection)
                return
        data = connection.receive()
        if data == b"":
            self._close(connection)
        elif data is not None:
            self._take(connection, data)

    def _shake_hands(self, connection: Connection) -> None:
        try:
            finished = connection.shake_hands()
        except ssl.SSLError as error:
            if error.reason == "HTTP_REQUEST":
                connection.answer_plainly(answer_to(_NOT_TLS))
            self._close(connection)
        except OSError:
            self._close(connection)
        else:
            if finished:
                self._leave(connection)
                connection.next = Stage.IDLE
                self._go_on(connection)

    def _take(self, connection: Connection, data: bytes) -> None:
        stage = connection.stage
        if stage is Stage.DRAIN:
            connection.drained += len(data)
            if connection.drained > _DRAIN_BYTES:
                self._close(connection)
            return
        connection.received += data
        if stage is Stage.IDLE:
            self._leave(connection)
            connection.next = Stage.HEAD
            self._go_on(connection)
            return
        if stage is Stage.BODY:
            connection.body.take(connection.received)
            is_ready = connection.body.has(connection.most)
        else:
            is_ready = stage is Stage.HEAD and connection.has_head()
        if is_ready:
            self._leave(connection)
            self._give_to_worker(connection)
        elif stage is Stage.PARKED and len(connection.received) > MAX_HEAD_BYTES:
            self._close(connection)  # what comes after a request that waits is not collected without end
        else:
            self._hold(connection, len(data))

    def _resume(self, connection: Connection) -> None:
        self._resumed.append(connection)
        self._wake()


def _room_for_connections() -> int:
    """How many connections may be open at once, by the limit of the process as it is now."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return min(_MOST_CONNECTIONS, max(limit - _RESERVED_DESCRIPTORS, limit // 2))
