"""What the server says of log-ins in its general log and its error log, whatever names the client chose.

The rows are sentences with names in them, without any escape: a client can choose names of users and
databases that look like the rest of a row. So each name is cut out between text that the server itself wrote:
its own words, and what stands in another column.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

_TRANSPORT = re.compile(r" using (TCP/IP|SSL/TLS|Socket|Named [Pp]ipe|Shared [Mm]emory)\Z")
_LIKE_OPENING = re.compile(r".+@.* on ", re.DOTALL)
DENIED = "Access denied for user '"
_WITH_PASSWORD = re.compile(r"'@'([^']*)' \(using password: (?:YES|NO)\)\Z")
_LOCKED = re.compile(r"'@'([^']*)'\. Account is locked\.?\Z")
_TO_DATABASE = re.compile(r"'@'([^']*)' to database '(.*)'\Z", re.DOTALL)
_EXPIRED = "Your password has expired"
_USE = re.compile(r"\s*use\s+(?:`((?:[^`]|``)*)`|([^\s;`]+))[\s;]*\Z", re.IGNORECASE)


class Opening(NamedTuple):
    """The beginning of a session: the database that it asks for, or None, and its transport."""

    database: str | None
    transport: str | None
    known: bool = True
    """False if the row does not begin as the server begins it: its user and host cannot be separated."""


class Refusal(NamedTuple):
    """A refused log-in, or a refused choice of a database.

    ``user`` is who asked, as far as the message names it; ``host`` is the account's, or the client's.
    """

    error_code: str | None
    user: str | None = None
    host: str | None = None
    database: str | None = None


def opening(
    text: str, user: str, hosts: Iterable[str | None], *, transport_written: bool = True
) -> Opening | None:
    """What the row says of the beginning of a session of ``user`` from one of ``hosts``, which other columns
    name. Returns None if its text is a refusal. Servers before 5.7 write no transport.

    >>> opening("a@::1 on b on c using d using Socket", "a", ["::1"])
    Opening(database='b on c using d', transport='Socket', known=True)
    """
    for host in hosts:
        begin = f"{user}@{host or ''} "
        if not text.startswith(begin):
            continue
        rest = text[len(begin) :]
        if rest.startswith("as "):
            rest = "on " + rest.partition(" on ")[2]
        if rest.startswith("on "):
            return _asked(rest[3:], transport_written=transport_written)
    if text.startswith(DENIED) or not _LIKE_OPENING.match(text):
        return None
    return Opening(None, _asked(text, transport_written=transport_written).transport, known=False)


def _asked(text: str, *, transport_written: bool) -> Opening:
    found = _TRANSPORT.search(text) if transport_written else None
    if found is None:
        return Opening(text or None, None)
    return Opening(text[: found.start()] or None, found[1])


def refused_log_in(text: str) -> Refusal:
    """What a sentence in the place of a session's beginning says: the server refused it.

    >>> refused_log_in("Access denied for user 'x'@'1.1.1.1'@'::1' (using password: NO)")
    Refusal(error_code='1045', user="x'@'1.1.1.1", host='::1', database=None)
    """
    if text.startswith(_EXPIRED):
        return Refusal("1862")
    if not text.startswith(DENIED):
        return Refusal(None)  # in the language of the server, which is not English
    names = text[len(DENIED) :]
    for code, pattern in (("1045", _WITH_PASSWORD), ("3118", _LOCKED)):
        found = pattern.search(names)
        if found is not None:
            return Refusal(code, names[: found.start()], found[1])
    if names.endswith("'") and "' to database '" not in names:
        user, _at, host = names[:-1].rpartition("'@'")
        return Refusal("1698", user, host)
    return Refusal(None)


def refused_database(text: str, accounts: Iterable[str | None] = (None,)) -> Refusal | None:
    """What a sentence says of a database that was refused to one of ``accounts``, None for any; None where
    it is no such sentence. Of the names in it the client chose the database alone.

    >>> refused_database("Access denied for user 'a'@'%' to database 'x'@'10.9.9.9'")
    Refusal(error_code='1044', user='a', host='%', database="x'@'10.9.9.9")
    """
    if not text.startswith(DENIED):
        return None
    names = text[len(DENIED) :]
    for account in accounts:
        begin = names.find("'@'") if account is None else len(account)
        if account is not None and not names.startswith(account):
            continue
        found = _TO_DATABASE.match(names, begin) if begin >= 0 else None
        if found is not None:
            return Refusal("1044", names[:begin], found[1], found[2])
    return None


def used_database(statement: str) -> str | None:
    """The database that a USE asks for; None for another statement.

    >>> used_database("use `a``b`;"), used_database("select 1")
    ('a`b', None)
    """
    found = _USE.match(statement)
    if found is None:
        return None
    return found[2] if found[1] is None else found[1].replace("``", "`")


def source_of(host: str | None) -> tuple[str | None, str | None]:
    """The address and the name of a client, by the host as an account has it: None for a pattern."""
    if not host or not re.fullmatch(r"[^%_/]+", host):
        return None, None
    if re.fullmatch(r"[0-9.]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*", host):
        return host, None
    return None, host
