"""The native records of this engine, as its readers hand them to the decoder."""

from __future__ import annotations

import msgspec

from dbaudit.engines.mongodb.connections import Known


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What has to be known of the server and of the agent to understand records.

    ``member`` is the server's address where several are read, else empty. ``since_us``: what is older was
    before the agent's time. ``own_user`` and ``own_user_database``, ``own_application`` and ``own_ip`` are
    how the server sees the agent. ``audited``: the audit log records log-ins and refusals.
    ``audited_statements``: it records every statement. ``logged``: the server's log records connections.
    ``profiled`` are the databases whose profiler is read. ``replica_set``: the server is a member of one.
    ``single_user``: one user at a time is logged in over a connection (6.0 and later).
    """

    member: str = ""
    since_us: int = 0
    own_user: str = ""
    own_user_database: str = ""
    own_application: str = ""
    own_ip: str | None = None
    audited: bool = False
    audited_statements: bool = False
    logged: bool = False
    profiled: frozenset[str] = frozenset()
    replica_set: bool = False
    single_user: bool = False


class FileBlock(msgspec.Struct, frozen=True, kw_only=True):
    """Lines of a file: of the server's log, or of the audit log (``audit``).

    ``source`` and the offset of a line in the file are the line's permanent key; ``offset`` is where ``data``
    begins. If ``whole`` is False, the data are one line without its end.
    """

    context: Context
    audit: bool
    source: str
    offset: int
    data: bytes
    whole: bool = True
    known: dict[str, Known] = {}


class RingBlock(msgspec.Struct, frozen=True, kw_only=True):
    """Lines that getLog gave, the first of them the ``first``-th of the process; each may be cut."""

    context: Context
    source: str
    first: int
    lines: list[str]
    known: dict[str, Known] = {}


class ProfileBlock(msgspec.Struct, frozen=True, kw_only=True):
    """Documents of system.profile of a database, as BSON, each with its record id."""

    context: Context
    database: str
    documents: list[tuple[int, bytes]]


Block = FileBlock | RingBlock | ProfileBlock
