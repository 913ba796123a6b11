"""The servers of a deployment: the declared one, and the other members of its replica set."""

from __future__ import annotations

import msgspec

from dbaudit.core.database import Target
from dbaudit.core.errors import ErrorCode, TransientError
from dbaudit.engines.mongodb.connection import MemberConnection, connect
from dbaudit.engines.mongodb.network import place_of


class Named(msgspec.Struct, frozen=True):
    """What a server says of its replica set: the set's members that keep data and take log-ins, and its own
    name among them. A server alone is the only member, under the name it was declared with.
    """

    me: str
    members: tuple[str, ...]
    arbiters: tuple[str, ...] = ()


class Member:
    """One server and the connection to it, which is opened when it is needed."""

    def __init__(self, target: Target, place: str | None = None) -> None:
        self.target = target
        self.place = place or place_of(target.host, target.port)
        self.declared = place is None
        self._connection: MemberConnection | None = None

    def connection(self) -> MemberConnection:
        """Raises ConfigurationError, or TransientError where a later try may work."""
        if self._connection is None:
            if self.declared:
                self._connection = connect(self.target)
            else:
                host, port = split_place(self.place)
                self._connection = connect(self.target, host, port)
        return self._connection

    def drop(self) -> None:
        """Close the connection; the next use opens another one. Never raises."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def named_members(member: Member) -> Named:
    """Ask a member. Raises ConfigurationError or TransientError."""
    hello = member.connection().command({"hello": 1})
    if not hello.get("setName"):
        return Named(member.place, (member.place,))
    if not hello.get("hosts"):
        # A member that is being set up or was removed does not know its set.
        raise TransientError(ErrorCode.SERVER_STARTING, f"{member.place} is not in a replica set just now.")
    listed = (*hello["hosts"], *(hello.get("passives") or ()))
    return Named(
        str(hello.get("me", member.place)),
        tuple(str(name) for name in listed),
        tuple(str(name) for name in hello.get("arbiters") or ()),
    )


def split_place(place: str) -> tuple[str, int]:
    """Host and port of ``db1.example:27017`` or ``[::1]:27017``."""
    host, _colon, port = place.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port) if port.isdecimal() else 27017
