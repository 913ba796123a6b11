"""One connection to the API: its socket, which never blocks, and where its present request stands."""

from __future__ import annotations

import contextlib
import socket
import ssl
from enum import Enum, auto

from dbaudit.api.arriving import ArrivingBody
from dbaudit.api.framing import MAX_HEAD_BYTES, Head, end_of_head, read_head, too_long
from dbaudit.api.visit import Parked, Visit

_RECEIVE_BYTES = 65_536
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Stage(Enum):
    """What a connection is waiting for, or that it waits for nothing."""

    HELLO = auto()
    """The TLS handshake."""
    IDLE = auto()
    """The first byte of a request."""
    HEAD = auto()
    """The rest of a head."""
    WORK = auto()
    """A worker has it."""
    BODY = auto()
    """The rest of a body that the application wants."""
    PARKED = auto()
    """Something in the state."""
    ANSWER = auto()
    """The client, to take the rest of its answer."""
    DRAIN = auto()
    """What the client is still sending although it was answered: closing with unread bytes would reset the
    connection before its sender has seen the answer."""
    END = auto()
    """Nothing: it is to be closed."""


class Connection:
    """A connection, used by one thread at a time."""

    def __init__(self, client: socket.socket, address: tuple[str, int], *, is_secure: bool) -> None:
        self.socket = client
        self.address = address
        self.is_secure = is_secure
        self.stage = Stage.WORK
        self.next = Stage.HELLO if is_secure else Stage.IDLE
        self.since = 0.0
        self.held = 0
        """The bytes of it that count in its stage."""
        self.received = bytearray()
        self.head: Head | None = None
        self.body = ArrivingBody(0)
        self.visit = Visit()
        self.drained = 0
        self.most = 0
        """How many bytes of the body are wanted."""
        self.parked: Parked | None = None
        self.unsent = memoryview(b"")
        self._ends = False
        self._searched = 0
        self._head_end = -1

    def receive(self) -> bytes | None:
        """What has come; None if nothing has, nothing if the client is gone."""
        try:
            return self.socket.recv(_RECEIVE_BYTES)
        except _WOULD_BLOCK:
            return None
        except (OSError, ValueError):
            return b""

    def shake_hands(self) -> bool:
        """Whether the TLS handshake is finished. Raises OSError when it has failed."""
        assert isinstance(self.socket, ssl.SSLSocket)
        try:
            self.socket.do_handshake()
        except _WOULD_BLOCK:
            return False
        return True

    def has_head(self) -> bool:
        """Whether the head of a request has arrived, or what can never be one."""
        self._head_end = end_of_head(self.received, self._searched)
        self._searched = max(0, len(self.received) - 3)
        return self._head_end >= 0 or len(self.received) > MAX_HEAD_BYTES

    def begin(self, max_body_bytes: int) -> Head:
        """The head that has arrived; its request begins. Raises Refusal."""
        if not 0 <= self._head_end <= MAX_HEAD_BYTES:
            raise too_long(self.received)
        head = read_head(bytes(self.received[: self._head_end]), max_body_bytes)
        del self.received[: self._head_end]
        self.head = head
        self.body = ArrivingBody(head.length)
        self.body.take(self.received)
        self.visit = Visit(self.body, self._receive_body)
        return head

    def _receive_body(self) -> None:
        while not self.body.is_over and (data := self.receive()):
            self.received += data
            self.body.take(self.received)
            if len(data) < _RECEIVE_BYTES:
                return

    def encourage(self) -> None:
        """Say that the body is wanted, if its client waits for that."""
        if self.head is not None and self.head.expects_continue and not self.body.content:
            with contextlib.suppress(OSError, ValueError):  # the client has left
                self.socket.send(_CONTINUE)

    def answer(self, content: bytes, *, ends: bool) -> None:
        """Send an answer, and set what comes next. With ``ends`` the connection ends after it."""
        self.unsent = memoryview(content)
        self._ends = ends
        self.send()

    def send(self) -> None:
        """Send of the answer what the client takes now, and set what comes next."""
        try:
            while self.unsent:
                self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except _WOULD_BLOCK:
            self.next = Stage.ANSWER
            return
        except (OSError, ValueError):
            self.next = Stage.END
            return
        if not self._ends:
            self._forget_request()
            self.next = Stage.HEAD if self.received else Stage.IDLE
        elif self.head is not None and self.body.whole:
            self.next = Stage.END
        else:
            with contextlib.suppress(OSError):  # it has ended by itself
                self.socket.shutdown(socket.SHUT_WR)
            self.next = Stage.DRAIN

    def answer_plainly(self, content: bytes) -> None:
        """Send an answer without TLS, as far as it is taken at once."""
        with contextlib.suppress(OSError):  # the client has left
            socket.socket.send(self.socket, content)

    def _forget_request(self) -> None:
        self.head = None
        self.body = ArrivingBody(0)
        self.visit = Visit()
        self.unsent = memoryview(b"")
        self._searched = 0

    def close(self) -> None:
        """Close the socket."""
        if isinstance(self.socket, ssl.SSLSocket):
            with contextlib.suppress(OSError, ValueError):  # it says good-bye without waiting
                self.socket.unwrap()
        self.socket.close()
