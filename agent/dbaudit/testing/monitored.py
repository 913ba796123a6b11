"""What the suite needs to know of a monitored server: how to reach it, and how to make things happen."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

import msgspec
import pytest

from dbaudit.engine import AuditEvent, Engine, Secret, SslMode, Target
from dbaudit.testing.mutation import mutated

Mutate = Callable[[bytes], bytes]


class Visitor(ABC):
    """A user other than the agent who is logged in to the monitored server.

    ``user`` is the name as events have it; None if the source does not record it.
    """

    user: str | None

    @abstractmethod
    def run(self, text: str) -> str:
        """Run a harmless statement that holds ``text`` as a literal, and is audited.

        Returns the statement as the field ``query`` of its event has to give it.
        """

    @abstractmethod
    def leave(self) -> None:
        """Log out; may be called twice."""


class Monitored(ABC):
    """A monitored server (or a replacement for one) in the tests of a plugin's author.

    ``engine`` and ``target`` are needed. Everything else is optional: what a subclass does not override, or
    where it calls ``pytest.skip`` itself, skips the tests that need it. One instance may serve many tests:
    the suite puts back the rights that it revokes, by their remedies, and takes nothing else away for good
    but records.
    """

    engine: Engine

    live: ClassVar[bool] = True
    """Whether records have the time at which something happened."""
    connects: ClassVar[bool] = True
    """Whether opening a session connects over TCP to ``host`` and ``port`` of the target."""
    rights: tuple[str, ...] = ()
    """What ``revoke`` takes: names of rights, those of the report's ``permissions`` where it has them."""
    texts: tuple[str, ...] = (
        "ünïcödé — 日本 🐘",
        'O\'Brien says "hi"',
        "two\nlines, and\r\nthree",
        "a\ttab, a \\ backslash, a \\n none, 100 % and {braces}",
        "a, comma; a `tick`, $1, ?, :name, -- no comment, /* none */, # none",
        "\x01\x1b[31m\x7f",
        "x" * 3000,
    )
    """What statements hold in the test of texts: all that the server takes and records faithfully."""
    deadline_seconds: float = 60.0
    """How long the suite waits at most for something to arrive in the source."""
    mutations: int = 2000
    """How many mutated records the decoder is given, unless the environment's DBAUDIT_MUTATIONS says so."""

    @abstractmethod
    def target(self) -> Target:
        """Where the collector logs in, with just the documented rights and no TLS unless the server wants it.

        A session to it that is given no cursor begins with what happens from then on.
        """

    # -- what happens on the server

    def visit(self) -> Visitor:
        """Log in as an ordinary user."""
        self._not_given("visit")

    def statement_of(self, event: AuditEvent) -> str | None:
        """The statement of an event, as ``Visitor.run`` returned it. That is its field ``query``, unless the
        source holds no statements and another field identifies them.
        """
        return event.query

    def fail_to_log_in(self) -> str:
        """Try to log in with a wrong password; returns the name of the user as it was given."""
        self._not_given("fail_to_log_in")

    def rotate(self) -> None:
        """Make the source continue in a new place: a new file, a new table. Nothing is lost by it."""
        self._not_given("rotate")

    def lose(self) -> None:
        """Take records away from the source that are there and were not read, so that none can be read again.

        What happens after it is recorded as ever.
        """
        self._not_given("lose")

    def write_hostile(self, raw: bytes) -> None:
        """Write ``raw`` into the source where its next record would stand; records may follow it."""
        self._not_given("write_hostile")

    # -- rights

    def revoke(self, right: str) -> None:
        """Take one of ``rights`` from the collector."""
        self._not_given("revoke")

    def carry_out(self, remedy: str) -> None:
        """Do what the remedy of a diagnosis says, as an administrator: run its statement as it stands."""
        self._not_given("carry_out")

    # -- other targets

    def tls_target(self, mode: SslMode) -> Target:
        """A target that works in one mode of TLS; with the CA inline for those that verify.

        For a host on a loopback address the suite also looks at what goes over the wire.
        """
        self._not_given("tls_target")

    def no_tls_target(self) -> Target:
        """A target with the mode `require` on a server that offers no TLS."""
        self._not_given("no_tls_target")

    def client_certificate_target(self) -> Target:
        """A target that logs in with a certificate and its key."""
        self._not_given("client_certificate_target")

    def refused_target(self) -> Target:
        """A target whose password is wrong."""
        return msgspec.structs.replace(self.target(), password=Secret("wr0ng'\\ \"passw0rd"))

    def elsewhere(self, host: str, port: int) -> Target:
        """The target at another place, where no such server is."""
        return msgspec.structs.replace(self.target(), host=host, port=port)

    # -- native records

    def records(self) -> list[Any]:
        """Native records as ``Session.read`` gives them, to be mutated; without it the suite reads some."""
        return []

    def mutated(self, record: Any, mutate: Mutate, chance: random.Random) -> Any:
        """The native record with a part mutated of what comes from the server.

        Without it: a part of bytes, text, a list, a tuple or a mapping; of a structure or a dataclass a field
        that holds one of these.
        """
        return mutated(record, mutate, chance)

    def _not_given(self, method: str) -> NoReturn:
        pytest.skip(f"{type(self).__name__} gives no {method}()")
