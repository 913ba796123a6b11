"""The listener: every connection of a cluster, served in the thread that calls ``receive``.

Nothing is received between two calls: what the agent has not asked for yet waits in the kernel, and if that
is full, at the sender. So memory is bounded and a slow state slows the sender down, while nothing is dropped
here.

The protocol has no acknowledgement, but a sender can learn from the end of a connection: a socket that is
closed with unread bytes resets the connection (RFC 2525, 2.17; unix sockets do likewise). So the last byte
received stays in the kernel until ``stored`` is called: however this process ends, an orderly end of a
connection means that everything which had arrived is stored. After a reset the sender can send the rest
again.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import ipaddress
import logging
import resource
import secrets
import select
import socket
import struct
import termios
import threading
import time

import msgspec

from dbaudit.core.clock import now_us
from dbaudit.engines.redis_enterprise.framing import Framer, Piece
from dbaudit.engines.redis_enterprise.options import Address, Options
from dbaudit.engines.redis_enterprise.places import Door, Place, keep_alive

_log = logging.getLogger(__name__)
_READ_BYTES = 65_536
_ACCEPTS_AT_ONCE = 2048
_MOST_DEFERRED = 64
_MOST_HELD_BYTES = 64 * 1024 * 1024
"""Of records that are not complete yet, over all connections."""
_MOST_REFUSED_ADDRESSES = 32
_SHARE_OF_DESCRIPTORS = 2
"""Half of the process's file descriptors are left to others."""
_FINISH_SECONDS = 2.0
"""How long a listener that is to end keeps reading from senders that never pause."""
_GONE = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_DOOR = 0  # where connections have their numbers, which start with 1
LOCAL_SENDER = "local"


class Delivery(msgspec.Struct, frozen=True):
    """What one read of a connection returned; ``ended``: it was the last one. ``lost_bytes`` had arrived
    and were not read when the listener was closed.
    """

    connection: int
    sender: str
    pieces: list[Piece]
    ended: bool
    lost_bytes: int = 0


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A listener as a test shows it. ``senders`` has the open connections by address, ``refused`` how often
    an address that is not allowed tried to connect.
    """

    senders: dict[str, int]
    refused: dict[str, int]
    connections: int
    accepted_total: int
    records_total: int
    too_long_total: int
    turned_away_total: int
    last_record_us: int | None


class _Connection:
    def __init__(self, number: int, sender: str, link: socket.socket, max_record_bytes: int) -> None:
        self.number = number
        self.sender = sender
        self.link = link
        self.framer = Framer(max_record_bytes)
        self.unread = 0  # bytes received that are still in the kernel: the last one, or none
        self.begun = False  # anything was received
        self.deferred = 0  # how often an older connection of the sender came first
        self.heard = False  # a record was received


class Listener:
    """Used by one thread, except ``status``."""

    def __init__(self, place: Place, options: Options) -> None:
        """Raises ConfigurationError, or TransientError if another process listens there now."""
        self.place = place
        self.instance = secrets.token_hex(6)
        """With a connection's number, the permanent name of that connection."""
        self.closed = False
        self._options = options
        self._networks = options.networks()
        self._door = Door(place)
        self._epoll = select.epoll()
        self._lock = threading.Lock()
        self._connections: dict[int, _Connection] = {}
        self._by_descriptor: dict[int, _Connection] = {}
        self._unstored: list[_Connection] = []
        self._leaving: list[_Connection] = []  # read to their end, which is not stored yet
        self._silent: dict[int, _Connection] = {}  # have not sent a record yet; the oldest first
        self._early: list[Delivery] = []
        self._held_bytes = 0
        self._closes_at: float | None = None
        self._refused: dict[str, int] = {}
        self._accepted = self._records = self._too_long = self._turned_away = 0
        self._last_record_us: int | None = None

    def listen(self) -> None:
        """Accept connections from now on. Raises TransientError if another process listens there now."""
        if not self._door.listening and not self.finishing:
            self._door.listen()
            self._epoll.register(self._door.socket, select.EPOLLIN)

    @property
    def finishing(self) -> bool:
        """Whether ``finish`` was called."""
        return self._closes_at is not None

    @property
    def overdue(self) -> bool:
        """Whether ``finish`` was called so long ago that the end cannot wait any longer."""
        return self._closes_at is not None and time.monotonic() > self._closes_at

    def receive(self, limit_bytes: int) -> list[Delivery]:
        """Take what has arrived, about ``limit_bytes`` at most; returns at once."""
        with self._lock:
            deliveries, self._early = self._early, []
            events = self._ready()
            if _DOOR in events:
                self._accept(deliveries)
                events = self._ready()
                events.pop(_DOOR, None)
            self._take_all(events, max(_READ_BYTES, limit_bytes // max(1, len(events))), deliveries)
        return deliveries

    def stored(self) -> None:
        """Everything that was received is stored."""
        with self._lock:
            for connection in self._unstored:
                if connection.unread:
                    connection.unread = 0
                    with contextlib.suppress(OSError):
                        connection.link.recv(1)
            self._unstored.clear()
            self._close_leaving()

    def finish(self) -> None:
        """Take no further connection; those that there are can be read to their present end."""
        with self._lock:
            if self._closes_at is None:
                self._closes_at = time.monotonic() + _FINISH_SECONDS
                if self._door.listening:
                    self._accept(self._early)  # those who are connected as far as they know
                    self._epoll.unregister(self._door.socket)
                self._door.close()

    def close(self) -> list[Delivery]:
        """End every connection; returns what they left incomplete. May be called twice."""
        self.finish()
        deliveries: list[Delivery] = []
        with self._lock:
            if not self.closed:
                self.closed = True
                for connection in list(self._connections.values()):
                    lost = max(0, _waiting_bytes(connection.link) - connection.unread)
                    deliveries.append(self._end(connection, lost))
                self._close_leaving()
                self._epoll.close()
        return deliveries

    def status(self) -> Status:
        """The present status; any thread may ask."""
        with self._lock:
            senders: dict[str, int] = {}
            for connection in self._connections.values():
                senders[connection.sender] = senders.get(connection.sender, 0) + 1
            return Status(
                senders=senders,
                refused=dict(self._refused),
                connections=len(self._connections),
                accepted_total=self._accepted,
                records_total=self._records,
                too_long_total=self._too_long,
                turned_away_total=self._turned_away,
                last_record_us=self._last_record_us,
            )

    def _ready(self) -> dict[int, int]:
        """The kernel's events for each connection, by its number."""
        ready = self._epoll.poll(0, len(self._connections) + 1)
        known = self._by_descriptor
        return {known[fd].number if fd in known else _DOOR: events for fd, events in ready}

    def _take_all(self, events: dict[int, int], size: int, deliveries: list[Delivery]) -> None:
        """Read once from every connection in ``events``, the oldest first.

        What a sender left on an older connection comes before the first data on its new one.
        """
        left_behind: set[str] = set()
        for number in sorted(events):
            connection = self._connections.get(number)
            if connection is None:
                continue
            if not connection.begun:
                connection.deferred += 1
                if connection.sender in left_behind and connection.deferred < _MOST_DEFERRED:
                    continue
                connection.begun = True
            read = self._take(connection, events[number], size, deliveries)
            if read == size and events[number] & _GONE:
                left_behind.add(connection.sender)

    def _accept(self, deliveries: list[Delivery]) -> None:
        for _number_of_it in range(_ACCEPTS_AT_ONCE):
            try:
                link, address = self._door.socket.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # gone before it was taken
            except OSError as error:
                # No file descriptor is left: close a connection that has sent nothing yet.
                _log.warning("%s: no further connection can be taken: %s", self.place, error.strerror)
                self._turned_away += 1
                self._drop_silent(deliveries)
                return
            sender = LOCAL_SENDER if self.place.path is not None else _sender(address)
            if not self._is_allowed(sender):
                link.close()
                continue
            if len(self._connections) >= self._most_connections():
                self._turned_away += 1
                if not self._drop_silent(deliveries):
                    link.close()
                    continue
            self._add(link, sender)

    def _add(self, link: socket.socket, sender: str) -> None:
        link.setblocking(False)
        keep_alive(link)
        self._accepted += 1
        connection = _Connection(self._accepted, sender, link, self._options.max_record_bytes)
        self._connections[connection.number] = connection
        self._silent[connection.number] = connection
        self._by_descriptor[link.fileno()] = connection
        self._epoll.register(link, select.EPOLLIN | select.EPOLLRDHUP)

    def _most_connections(self) -> int:
        soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft == resource.RLIM_INFINITY:
            return self._options.max_connections
        return max(1, min(self._options.max_connections, soft // _SHARE_OF_DESCRIPTORS))

    def _is_allowed(self, sender: str) -> bool:
        if sender == LOCAL_SENDER:
            return True
        address = ipaddress.ip_address(sender)
        if self._networks:
            allowed = any(address in network for network in self._networks)
        else:
            allowed = address.is_loopback
        if not allowed:
            if sender not in self._refused and len(self._refused) < _MOST_REFUSED_ADDRESSES:
                _log.warning("%s: %s may not connect; it is not in allowed_addresses", self.place, sender)
                self._refused[sender] = 0
            if sender in self._refused:
                self._refused[sender] += 1
        return allowed

    def _drop_silent(self, deliveries: list[Delivery]) -> bool:
        """End the oldest connection that has never sent a record; whether there was one."""
        for connection in self._silent.values():
            deliveries.append(self._end(connection))
            return True
        return False

    def _take(self, connection: _Connection, events: int, size: int, deliveries: list[Delivery]) -> int:
        """Read once, up to ``size`` bytes; returns how many there were."""
        link, known = connection.link, connection.unread
        try:
            data = link.recv(size + known, socket.MSG_PEEK)
            if len(data) > max(1, known):
                link.recv(len(data) - 1)
        except BlockingIOError:
            return 0
        except OSError:
            data = b""  # reset, or gone without a word
        if not data:
            deliveries.append(self._end(connection))
            return 0
        new = data[known:]
        if new:
            connection.unread = 1
            self._unstored.append(connection)
            self._feed(connection, new, deliveries)
        if events & _GONE and len(new) < size:
            # It is kept open until what it said is stored.
            deliveries.append(self._end(connection))
        return len(new)

    def _feed(self, connection: _Connection, data: bytes, deliveries: list[Delivery]) -> None:
        held = connection.framer.held_bytes
        pieces = connection.framer.feed(data)
        self._held_bytes += connection.framer.held_bytes - held
        if self._held_bytes > _MOST_HELD_BYTES:
            self._discard_largest()
        if pieces:
            self._count(connection, pieces)
            deliveries.append(Delivery(connection.number, connection.sender, pieces, ended=False))

    def _count(self, connection: _Connection, pieces: list[Piece]) -> None:
        if not pieces:
            return
        self._too_long += sum(not piece.whole for piece in pieces)
        self._records += len(pieces)
        self._last_record_us = now_us()
        if not connection.heard and pieces[0].data.startswith(b"{"):
            connection.heard = True
            self._silent.pop(connection.number, None)

    def _discard_largest(self) -> None:
        largest = max(self._connections.values(), key=_held_bytes)
        held = largest.framer.held_bytes
        largest.framer.discard()
        self._held_bytes += largest.framer.held_bytes - held

    def _end(self, connection: _Connection, lost_bytes: int = 0) -> Delivery:
        del self._connections[connection.number]
        self._silent.pop(connection.number, None)
        del self._by_descriptor[connection.link.fileno()]
        self._epoll.unregister(connection.link)
        self._held_bytes -= connection.framer.held_bytes
        pieces = connection.framer.end()
        if connection.unread:
            self._leaving.append(connection)
        else:
            connection.link.close()
        self._count(connection, pieces)
        return Delivery(connection.number, connection.sender, pieces, ended=True, lost_bytes=lost_bytes)

    def _close_leaving(self) -> None:
        for connection in self._leaving:
            connection.link.close()
        self._leaving.clear()


def is_loopback(place: Place) -> bool:
    """Whether only programs on this host can reach the address."""
    try:
        return place.path is not None or ipaddress.ip_address(place.host).is_loopback
    except ValueError:
        return place.host == "localhost"


def _held_bytes(connection: _Connection) -> int:
    return connection.framer.held_bytes


def _sender(address: tuple[str, int]) -> str:
    found: Address = ipaddress.ip_address(address[0].partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return str(found)


def _waiting_bytes(link: socket.socket) -> int:
    """How many bytes have arrived and were not read."""
    waiting = array.array("i", [0])
    try:
        fcntl.ioctl(link, termios.FIONREAD, waiting)
    except (OSError, struct.error):
        return 0
    return waiting[0]
