"""What an engine is: a driver for one kind of database server.

Reading and decoding are two things. A session *reads*: it knows connections, files, offsets and the cursor,
and cuts at record borders. The engine *decodes*: a pure function from native records to events, without any
input or output, so that it can be tested with bytes alone, run in another process, and run again on records
that were set aside.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import TracebackType
from typing import Any, ClassVar, Self

import msgspec

from dbaudit.core.database import Target
from dbaudit.core.event import AuditEvent, Rejected
from dbaudit.core.report import Diagnosis, Health, TestReport
from dbaudit.core.statements import Dialect

API_VERSION = 1
"""The version of this plugin API. An engine declares the one it was written for; another one is refused by
name.
"""

Cursor = Mapping[str, Any]
"""Where reading resumes: JSON values owned by the engine, with the key ``v`` for the version of their form. A
time stamp alone is never a cursor: stamps repeat, and records arrive late.
"""


class Capability(StrEnum):
    """What an engine can report. The agent, the documentation and the conformance suite rely on it."""

    CONNECTIONS = "connections"
    LOGIN_FAILURES = "login_failures"
    DISCONNECTS = "disconnects"
    QUERIES = "queries"
    ROW_COUNTS = "row_counts"
    DISK_SPACE = "disk_space"
    LOCAL_FILES = "local_files"
    CLIENT_CERTIFICATES = "client_certificates"
    UNIX_SOCKETS = "unix_sockets"
    """`host` may be the path of a unix socket on the agent's host."""


class DriverStatus(msgspec.Struct, frozen=True):
    """Whether the Python driver that the engine needs is installed: its ``name``, its ``version``, or the
    ``problem``.
    """

    name: str
    version: str | None = None
    problem: str | None = None


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """What one read returned.

    ``records`` are native records (or blocks of many) in the engine's own form, whole and in order;
    ``cursor`` is where the next read resumes; ``gaps`` are losses that the reader saw, made by
    ``dbaudit.engine.gap``; ``more`` says that more is waiting already.
    """

    records: Sequence[Any]
    cursor: Cursor
    gaps: tuple[AuditEvent, ...] = ()
    more: bool = False


class Decoded(msgspec.Struct, frozen=True):
    """The events of some native records, in their order, and the records that were not understood.

    ``left_out`` counts the records that were understood but became no event, by their class in the source's
    own word. Not counted are the agent's own work, and records that were joined to another record's event.
    """

    events: list[AuditEvent]
    rejected: list[Rejected] = []
    left_out: dict[str, int] = {}


class Session(ABC):
    """An open connection to one monitored database. Used by one thread at a time; also a context manager."""

    @abstractmethod
    def test(self) -> TestReport:
        """Find out what works and what is missing, with the exact remedy of each; changes nothing."""

    @abstractmethod
    def health(self) -> Health:
        """Measure the health of the database now."""

    @abstractmethod
    def read(self, cursor: Cursor | None, limit_bytes: int) -> Chunk:
        """Read the native records that follow ``cursor``, about ``limit_bytes`` of them at most.

        ``cursor`` None means that nothing was ever read of this database. Returns at once, with an empty
        chunk if there are no new records. Raises ConfigurationError, or TransientError if a later try may
        work.
        """

    def acknowledge(self, cursor: Cursor) -> None:  # noqa: B027  # most sources have nothing to do here
        """Everything before ``cursor`` is stored durably. A source that keeps records until they are
        acknowledged may drop them now.
        """

    def is_repeatable(self, cursor: Cursor) -> bool:
        """Whether another session of the same account would read the same records at ``cursor``. If so, one
        session may read for several declarations. False if the source drops what is acknowledged, or sends
        its records instead of being read.
        """
        of = type(self)
        return of.acknowledge is Session.acknowledge and of.finish is Session.finish

    def finish(self) -> bool:
        """Stop receiving from the source. Returns whether the session holds records that are nowhere else.

        Called once before ``close``. If it returns True, ``read`` is called until a chunk has ``more`` unset.
        Sessions whose source keeps its records need not override this.
        """
        return False

    def check_source(self) -> Diagnosis | None:
        """Check, at little cost, whether the source that is read is still there. Returns None if it is. A
        diagnosis that `failed` stops reading until the problem is solved. Called after each ``health``.
        """
        return None

    def databases(self) -> Sequence[str] | None:
        """The names of the server's databases, without the server's own; None if they cannot be known.

        Called by a connection test, which names those that are not declared.
        """
        return None

    def is_declared(self, name: str, declared: str) -> bool:
        """Whether ``name``, as an event's ``database`` gives it, is the database ``declared``.

        Engines whose server ignores the case of names override this.
        """
        return name == declared

    @abstractmethod
    def close(self) -> None:
        """Close the connection. Never raises, and may be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Engine(ABC):
    """One kind of database server. Stateless: everything about one database is in its ``Target`` and its
    session.
    """

    api_version: ClassVar[int] = API_VERSION
    type: ClassVar[str]
    """The word in the field `type` of a database: lower case letters, digits and underscores."""
    display_name: ClassVar[str]
    default_port: ClassVar[int]
    supported_versions: ClassVar[tuple[str, ...]]
    """Versions of the server that the engine is made for, as their users write them."""
    capabilities: ClassVar[frozenset[Capability]]
    dialect: ClassVar[Dialect]
    """How the server quotes literals and identifiers, for masking."""
    options_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "properties": {},
        "additionalProperties": False,
    }
    """JSON Schema of the engine's own audit options (`audit_options.engine`)."""

    source_is_database: ClassVar[bool] = False
    """Whether the source holds only the declared database, so that all its events belong to that database.
    Otherwise an event belongs to the database that it names.
    """

    @abstractmethod
    def driver_status(self) -> DriverStatus:
        """Whether the driver is installed. Must not raise, and must be the only place that imports it at
        first.
        """

    @abstractmethod
    def open(self, target: Target) -> Session:
        """Connect and log in within ``target.connect_timeout_seconds``.

        Raises ConfigurationError (wrong password, no such database, bad certificate, driver missing, ...) or
        TransientError (refused, timed out, starting up, ...), each with its ErrorCode.
        """

    @abstractmethod
    def decode(self, records: Sequence[Any]) -> Decoded:
        """Turn native records, as ``Session.read`` returned them, into events. A pure function: no input, no
        output, no clock.
        """

    def is_of_server(self, event: AuditEvent) -> bool:
        """Whether an event belongs to the server although it names a database: a log-in to a database that
        does not exist, work in a database of the server's own.
        """
        return False
