"""A cluster as the engine sees one: somebody who connects and sends. And the session that it sends to."""

import itertools
import socket
import time
from collections.abc import Callable
from typing import Any

import msgspec
from dbaudit.core.database import SslMode, Target
from dbaudit.core.event import AuditEvent, Rejected
from dbaudit.core.secret import Secret
from dbaudit.engine import Chunk, Cursor, Session
from dbaudit.engines.redis_enterprise import RedisEnterpriseEngine

from tests.patience import PATIENCE_SECONDS

LIMIT_BYTES = 1 << 20
ENGINE = RedisEnterpriseEngine()
_numbers = itertools.count(1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def target(**changes: Any) -> Target:
    """Where to listen: a free port of this host, for a database of its own. ``changes`` are fields of
    Target.
    """
    return msgspec.structs.replace(
        Target(
            database_id=f"db_cluster{next(_numbers)}",
            host="127.0.0.1",
            port=free_port(),
            database="*",
            username="-",
            password=Secret(""),
            ssl_mode=SslMode.DISABLE,
        ),
        **changes,
    )


def connected(place: Target, source: str = "127.0.0.1") -> socket.socket:
    """A connection of a node, from the address ``source``."""
    if "socket_path" in place.options:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        link.settimeout(PATIENCE_SECONDS)
        link.connect(place.options["socket_path"])
        return link
    return socket.create_connection(
        (place.host, place.port), timeout=PATIENCE_SECONDS, source_address=(source, 0)
    )


class Collecting:
    """Does what a collector does with a session: reads, decodes, stores, and says that it is stored."""

    def __init__(self, place: Target, cursor: Cursor | None = None) -> None:
        self.place = place
        self.cursor = cursor
        self.events: list[AuditEvent] = []
        self.rejected: list[Rejected] = []
        self.gaps: list[AuditEvent] = []
        self.session: Session = ENGINE.open(place)
        self.step()

    def __enter__(self) -> "Collecting":
        return self

    def __exit__(self, *error: object) -> None:
        self.session.close()

    def read(self) -> Chunk:
        """One chunk, which is not stored yet."""
        return self.session.read(self.cursor, LIMIT_BYTES)

    def store(self, chunk: Chunk) -> None:
        decoded = ENGINE.decode(chunk.records)
        self.events += decoded.events
        self.rejected += decoded.rejected
        self.gaps += chunk.gaps
        self.cursor = chunk.cursor
        self.session.acknowledge(chunk.cursor)

    def step(self) -> bool:
        """Read and store one chunk; whether more is waiting."""
        chunk = self.read()
        self.store(chunk)
        return chunk.more

    def until(self, condition: Callable[[], bool], what: str = "what was sent") -> None:
        """Collect until the condition holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not arrive"
            self.step()
            time.sleep(0.002)

    def until_read(self) -> Chunk:
        """Read until there is a chunk with records; it is not stored yet."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (chunk := self.read()).records:
            assert time.monotonic() < deadline, "what was sent did not arrive"
            time.sleep(0.002)
        return chunk

    def until_events(self, number: int) -> list[AuditEvent]:
        self.until(lambda: len(self.events) >= number, f"{number} events, of which {len(self.events)} did,")
        return self.events

    def finish(self) -> None:
        """End as an agent does."""
        more = self.session.finish()
        while more:
            more = self.step()
        self.session.close()
