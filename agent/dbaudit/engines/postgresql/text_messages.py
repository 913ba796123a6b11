"""What messages of the text log say of the session, for a log_line_prefix that does not say it.

Only where it is certain: a name with a blank, a quote or an equals sign in it could be anything, and is left
out. The SQLSTATE of a refusal is that of its message in the server's source, in English: messages in other
languages have none.
"""

from __future__ import annotations

import re

import msgspec

from dbaudit.engines.postgresql.messages import Kind, recognise


class Said(msgspec.Struct, frozen=True):
    """What a message says; None for what it does not."""

    user: str | None = None
    database: str | None = None
    host: str | None = None
    port: int | None = None
    refused_with: str | None = None
    """The SQLSTATE, where the message is that of a refused log-in."""


_NOTHING = Said()
_KEY = r"[^\s=]{1,40}="
_NAME = r"([^\s=]+)"
_RECEIVED = re.compile(rf"{_KEY}(\S+)(?: {_KEY}(\d{{1,5}}))?")
_AUTHORIZED = re.compile(rf"{_KEY}{_NAME} {_KEY}{_NAME}(?: .*)?", re.DOTALL)
_REPLICATION = re.compile(rf"{_KEY}{_NAME}(?: .*)?", re.DOTALL)
_DISCONNECTED = re.compile(
    rf".{{0,60}}\d\.\d{{3}} {_KEY}{_NAME} {_KEY}{_NAME} {_KEY}(\S+?)(?: ?{_KEY}(\d{{1,5}}))?"
)

_USER, _DATABASE, _HOST = r'"(?P<user>[^"]*)"', r'"(?P<database>[^"]*)"', r'"(?P<host>[^"\s]*)"'
_WHO = rf"{_HOST}, user {_USER}(?:, database {_DATABASE})?(?:, .*)?"
_REFUSALS = tuple(
    (re.compile(pattern, re.DOTALL), code)
    for pattern, code in (
        (rf"password authentication failed for user {_USER}", "28P01"),
        (rf"[\w()\- ]{{1,40}} authentication failed for user {_USER}(?:: .*)?", "28000"),
        (rf"authentication failed for user {_USER}: .*", "28000"),
        (rf"no pg_hba\.conf entry for (?:replication connection from )?host {_WHO}", "28000"),
        (rf"pg_hba\.conf rejects (?:replication )?connection for host {_WHO}", "28000"),
        (rf"role {_USER} does not exist", "28000"),
        (rf"role {_USER} is not permitted to log in", "28000"),
        (rf"database {_DATABASE} does not exist", "3D000"),
        (rf"permission denied for database {_DATABASE}", "42501"),
        (rf"database {_DATABASE} is not currently accepting connections", "55000"),
        (rf"too many connections for role {_USER}", "53300"),
        (rf"too many connections for database {_DATABASE}", "53300"),
        (r"sorry, too many clients already", "53300"),
        (r"remaining connection slots are reserved for .*", "53300"),
        (r"the database system is .*", "57P03"),
        (r"canceling authentication due to timeout", "57014"),
    )
)
"""The FATALs of refused log-ins, with their SQLSTATEs (auth.c, miscinit.c, postinit.c, postmaster.c)."""


def said_by(message: str, *, fatal: bool) -> Said:
    """What a message of the server says of its session; ``fatal`` is whether it ended it."""
    if fatal:
        return _refusal(message)
    found = recognise(message)
    if found is None:
        return _NOTHING
    kind, start = found
    text = message[start:]
    if kind is Kind.RECEIVED:
        received = _RECEIVED.fullmatch(text)
        return Said(host=received[1], port=_number(received[2])) if received else _NOTHING
    if kind is Kind.AUTHORIZED:
        authorized = _AUTHORIZED.fullmatch(text)
        return Said(user=authorized[1], database=authorized[2]) if authorized else _NOTHING
    if kind is Kind.REPLICATION_AUTHORIZED:
        replicating = _REPLICATION.fullmatch(text)
        return Said(user=replicating[1]) if replicating else _NOTHING
    if kind is Kind.DISCONNECTED:
        gone = _DISCONNECTED.fullmatch(text)
        return Said(gone[1], gone[2], gone[3], _number(gone[4])) if gone else _NOTHING
    return _NOTHING


def _refusal(message: str) -> Said:
    for pattern, code in _REFUSALS:
        found = pattern.fullmatch(message)
        if found is not None:
            named = found.groupdict()
            return Said(named.get("user"), named.get("database"), named.get("host"), refused_with=code)
    return _NOTHING


def _number(digits: str | None) -> int | None:
    return None if digits is None else int(digits)
