"""A sender of the real thing over a real state, and what its listeners got."""

import itertools
import json
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from dbaudit.agent.delivery import Sender
from dbaudit.core.database import Database
from dbaudit.core.event import AuditEvent, EventType, Outcome
from dbaudit.state import State
from dbaudit.state.deliveries import Delivery
from dbaudit.state.nodes import Lease
from dbaudit.state.wakeup import Topic

from tests.host_limits import ANY_FOLDER
from tests.patience import PATIENCE_SECONDS
from tests.servers.processes import wait_for
from tests.state.samples import append, create

TYPES = (EventType.CONNECTION, EventType.LOGIN_SUCCESS, EventType.DISCONNECT)
BEGINNING = int(time.time()) - 200_000  # no retention ends what is that young
_numbers = itertools.count(1)


class Sending:
    """One node with its sender. ``write`` stores events as a collector would; their order is in their ports
    and users: ``numbers_in`` reads them back.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.node = state.nodes.register("sending", "0.1.0", ("db_conns_auditing",))
        self.leases: Sequence[Lease] = ()
        self.written: dict[str, int] = {}
        self._sender: Sender | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def to(self, address: str, port: int | None = None, **settings: Any) -> None:
        """PUT the settings."""
        protocol = "local" if port is None else "TCP"
        place = {} if port is None else {"audit_port": port}
        self.state.db_conns.put({"audit_protocol": protocol, "audit_address": address} | place | settings)

    def declare(self, **fields: Any) -> Database:
        """A new database that is switched on and held by this node."""
        database = create(self.state, f"database{next(_numbers)}", db_conns_auditing=True, **fields)
        self.leases = self.state.nodes.beat(self.node)
        self.written[database.id] = 0
        return database

    def start(self) -> None:
        self._sender = Sender(self.state, self.node.id, lambda: self.leases, ANY_FOLDER)
        self._sender.start()

    def stop(self) -> None:
        """Stop in an orderly way."""
        if self._sender is not None:
            self._sender.stop()
            self._sender.join(PATIENCE_SECONDS)
            assert not self._sender.is_alive(), "the sender does not stop"
        self._sender = None

    def write(self, database: Database, events: int, *, chunk: int = 5000) -> None:
        """Store more events: three of each session, sessions one within the other."""
        lease = next(lease for lease in self.leases if lease.database_id == database.id)
        first = self.written[database.id]
        for start in range(first, first + events, chunk):
            append(
                self.state, lease, *(numbered(n) for n in range(start, min(start + chunk, first + events)))
            )
        self.written[database.id] += events
        self.state.wakeup.notify(Topic.EVENTS)

    def delivery(self, database: Database) -> Delivery:
        return next(found for found in self.state.deliveries.all() if found.database_id == database.id)

    def wait_until_sent(self, database: Database) -> None:
        """Until the listener's host has everything."""
        wait_for(lambda: self.delivery(database).sent_total == self.written[database.id], "sending")


def numbered(number: int) -> AuditEvent:
    """The event with this number: it is in the user's name of a log-in, and in time and port of all."""
    return AuditEvent(
        key=f"key{number}",
        type=TYPES[number % 3],
        time_us=(BEGINNING + number) * 1_000_000,
        outcome=Outcome.SUCCESS,
        user="app",
        session_id=f"session{number // 9 * 3 + number // 3 % 3}",
        source_ip="10.0.0.1",
        source_port=number % 60_000 + 1,
    )


def numbers_in(data: bytes) -> dict[str, list[int]]:
    """The numbers of the events in what came over one connection, by database; the last line may be torn."""
    numbers: dict[str, list[int]] = {}
    for line in data.split(b"\n")[:-1]:
        notification = json.loads(line)
        fields = notification.get("new_conn") or notification.get("close_conn") or notification
        numbers.setdefault(fields["bdb_uid"], []).append(notification["ts"] - BEGINNING)
    return numbers


class Received:
    """What came over one connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.data = bytearray()
        self.ended = False

    def lines(self) -> list[bytes]:
        return bytes(self.data).split(b"\n")[:-1]


class Listener:
    """A listener in threads: it accepts and reads, when it may.

    ``reading`` cleared, it reads no more; ``closing`` false, it does not close when the sender does.
    """

    def __init__(
        self, address: tuple[str, int] | str = ("127.0.0.1", 0), *, reading: bool = True, closing: bool = True
    ) -> None:
        local = isinstance(address, str)
        family = socket.AF_UNIX if local else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.socket = socket.socket(family)
        if not local:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(address)
        self.socket.listen()
        self.address = address if local else self.socket.getsockname()[0]
        self.port = None if local else self.socket.getsockname()[1]
        self.reading = threading.Event()
        if reading:
            self.reading.set()
        self.closing = closing
        self.connections: list[Received] = []
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection = self.socket.accept()[0]
            except OSError:
                return
            received = Received(connection)
            self.connections.append(received)
            threading.Thread(target=self._read, args=(received,), daemon=True).start()

    def _read(self, received: Received) -> None:
        with suppress(OSError):
            while True:
                self.reading.wait()
                data = received.socket.recv(65536)
                if not data:
                    break
                received.data += data
        received.ended = True
        if self.closing:
            received.socket.close()

    def lines(self) -> list[bytes]:
        """Every whole line of every connection."""
        return [line for received in tuple(self.connections) for line in received.lines()]

    def numbers(self, database: Database) -> list[int]:
        """The numbers of the events that came, in the order in which they came."""
        return [
            number
            for received in tuple(self.connections)
            for number in numbers_in(bytes(received.data)).get(database.id, [])
        ]

    def wait_for_lines(self, number: int) -> list[bytes]:
        wait_for(lambda: self._count() >= number, f"{number} lines")
        return self.lines()

    def _count(self) -> int:
        return sum(received.data.count(b"\n") for received in tuple(self.connections))

    def close(self) -> None:
        """Stop listening, and close every connection: in an orderly way where all was read."""
        self._closed = True
        self.reading.set()
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        for received in tuple(self.connections):
            with suppress(OSError):
                received.socket.shutdown(socket.SHUT_RDWR)


def in_folder(folder: Path) -> Iterable[tuple[str, bytes]]:
    """How each connection of a listener process ended, and what was read of it, in their order."""
    for path in sorted(folder.iterdir()):
        yield path.suffix[1:], path.read_bytes()
