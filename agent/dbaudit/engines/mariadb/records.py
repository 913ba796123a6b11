"""Native records of server_audit: blocks of whole lines, with what decoding needs to know of them."""

from __future__ import annotations

from enum import StrEnum

import msgspec

NO_LIMIT = 1 << 62


class LineFormat(StrEnum):
    """Which program wrote the lines."""

    SERVER_AUDIT = "server_audit"
    SYSLOG = "syslog"


class LineContext(msgspec.Struct, frozen=True):
    """What decoding knows of the server and of the agent.

    ``own_user`` and ``own_host`` are the agent's account and host as the server sees them.
    ``query_log_limit`` is where server_audit cuts statements, in bytes. ``server_host``, ``syslog_ident`` and
    ``syslog_info`` identify the lines of this server among others in the same syslog. ``time_stamps`` are the
    formats that server_audit was set to beside its usual one; empty if the server has no such setting, None
    if that is not known. ``has_port`` says whether the server writes the port behind a client's address; None
    if that is not known.
    """

    own_user: str = ""
    own_host: str = ""
    query_log_limit: int = NO_LIMIT
    server_host: str = ""
    syslog_ident: str = ""
    syslog_info: str = ""
    time_stamps: tuple[str, ...] | None = None
    has_port: bool | None = None


class LineBlock(msgspec.Struct, frozen=True):
    """Whole lines of one file.

    ``file`` is the fingerprint of the file and ``offset`` where the lines begin in it. ``hours_us`` is when
    each hour that the time stamps name begins, in microseconds since the epoch: the stamps are local time.
    If ``whole`` is False, ``data`` is one record without its end.
    """

    format: LineFormat
    file: str
    offset: int
    data: bytes
    hours_us: dict[bytes, int]
    context: LineContext
    whole: bool = True
