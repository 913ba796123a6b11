"""What a failure of the server or of the driver means, in one clear line with its remedy.

The numbers are those of the manual of MySQL, "Server Error Message Reference" and "Client Error Message
Reference", and of the knowledge base of MariaDB, "MariaDB Error Codes".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pymysql

from dbaudit.core.database import SslMode, Target
from dbaudit.core.errors import ConfigurationError, DbauditError, ErrorCode, TransientError
from dbaudit.engine.words import one_line
from dbaudit.engines.mysql_protocol.network import endpoint

_PROTOCOL_FAULTS = re.compile(r"Packet sequence number wrong|unexpected packet|unpack|Command Out of Sync")


def number_of(error: BaseException) -> int:
    """The number of an error of the driver; 0 where it has none."""
    return error.args[0] if error.args and isinstance(error.args[0], int) else 0


def identifier(name: str) -> str:
    """A name as an identifier of SQL."""
    return "`" + name.replace("`", "``") + "`"


def account(name: str, host: str) -> str:
    """An account as the statements for accounts want it, such as ``'dbaudit'@'10.0.0.%'``."""
    return "@".join("'" + part.replace("\\", "\\\\").replace("'", "\\'") + "'" for part in (name, host))


_Words = Callable[[Target], str]


class _Meaning(NamedTuple):
    numbers: Sequence[int]
    code: ErrorCode
    message: _Words
    remedy: Callable[[Target], str | None] = lambda target: None
    transient: bool = False


def _any_host(target: Target) -> str:
    return account(target.username, "%")


_LOGIN_FAILURES = (
    _Meaning(
        (1045, 1698, 1524),
        ErrorCode.AUTHENTICATION_FAILED,
        lambda t: f"{endpoint(t)} refused the user name or the password of {t.username!r}.",
        lambda t: (
            f"Check username and password, and that the account may log in from the agent's address"
            f"{'' if t.ssl_cert else ' and without a client certificate'}; or set a new password: "
            f"ALTER USER {_any_host(t)} IDENTIFIED BY 'A_NEW_PASSWORD';"
        ),
    ),
    _Meaning(
        (1044,),
        ErrorCode.PERMISSION_MISSING,
        lambda t: f"{t.username!r} has no right on the database {t.database!r} of {endpoint(t)}.",
        lambda t: (
            "Set the field database to one that the account may use, such as information_schema; or: "
            f"GRANT SELECT ON {identifier(t.database)}.* TO {_any_host(t)};"
        ),
    ),
    _Meaning(
        (1049,),
        ErrorCode.DATABASE_NOT_FOUND,
        lambda t: f"{endpoint(t)} has no database {t.database!r}.",
        lambda t: f"Correct the field database, or: CREATE DATABASE {identifier(t.database)};",
    ),
    _Meaning(
        (1130,),
        ErrorCode.AUTHENTICATION_FAILED,
        lambda t: f"{endpoint(t)} lets nobody log in from the agent's address.",
        lambda t: f"CREATE USER {account(t.username, 'AGENT_ADDRESS')} IDENTIFIED BY 'A_PASSWORD';",
    ),
    _Meaning(
        (1129,),
        ErrorCode.AUTHENTICATION_FAILED,
        lambda t: f"{endpoint(t)} blocks the agent's host after too many failed connections.",
        lambda t: "FLUSH HOSTS; -- from MySQL 8.4 on: TRUNCATE TABLE performance_schema.host_cache;",
        transient=True,
    ),
    _Meaning(
        (3118, 4151),
        ErrorCode.AUTHENTICATION_FAILED,
        lambda t: f"The account of {t.username!r} on {endpoint(t)} is locked.",
        lambda t: f"ALTER USER {_any_host(t)} ACCOUNT UNLOCK;",
    ),
    _Meaning(
        (1820, 1862),
        ErrorCode.AUTHENTICATION_FAILED,
        lambda t: f"The password of {t.username!r} on {endpoint(t)} has expired.",
        lambda t: (
            f"ALTER USER {_any_host(t)} IDENTIFIED BY 'A_NEW_PASSWORD'; "
            f"ALTER USER {_any_host(t)} PASSWORD EXPIRE NEVER;"
        ),
    ),
    _Meaning(
        (3159,),
        ErrorCode.TLS_FAILED,
        lambda t: f"{endpoint(t)} lets nobody log in unencrypted, and ssl_mode is {t.ssl_mode.value}.",
        lambda t: "Set ssl_mode to verify-full with ssl_ca, or to require.",
    ),
    _Meaning(
        (1251, 2059, 2061),
        ErrorCode.AUTHENTICATION_FAILED,
        lambda t: (
            f"{endpoint(t)} asks {t.username!r} for a kind of authentication that is not supported here"
            ", or that would send the password in clear to a server that ssl_mode "
            f"{t.ssl_mode.value} does not check."
        ),
        lambda t: (
            f"ALTER USER {_any_host(t)} IDENTIFIED WITH caching_sha2_password BY 'A_NEW_PASSWORD'; "
            "-- on MariaDB: IDENTIFIED VIA mysql_native_password"
        ),
    ),
    _Meaning(
        (1040, 1203, 1226),
        ErrorCode.TOO_MANY_CONNECTIONS,
        lambda t: f"{endpoint(t)} has no connection left for {t.username!r}.",
        lambda t: "Raise max_connections, max_user_connections, or the limits of the account.",
        transient=True,
    ),
    _Meaning(
        (1053, 1077, 1079, 3032),
        ErrorCode.SERVER_STARTING,
        lambda t: f"{endpoint(t)} is shutting down or in offline mode.",
        transient=True,
    ),
    _Meaning(
        (2026,),
        ErrorCode.TLS_FAILED,
        lambda t: f"{endpoint(t)} offers no TLS, and ssl_mode is {t.ssl_mode.value}.",
        lambda t: "Give the server a certificate: ssl_cert and ssl_key in its configuration.",
    ),
)

_TLS_FAILURES: tuple[tuple[re.Pattern[str], ErrorCode, _Words, _Words], ...] = (
    (
        re.compile(r"[Hh]ostname mismatch|IP address mismatch|doesn't match"),
        ErrorCode.CERTIFICATE_INVALID,
        lambda t: f"The certificate of {endpoint(t)} is for another host name than {t.host!r}.",
        lambda t: "Set host to a name that is in the server's certificate, or ssl_mode to verify-ca.",
    ),
    (
        re.compile(r"CERTIFICATE_VERIFY_FAILED|certificate verify failed"),
        ErrorCode.CERTIFICATE_INVALID,
        lambda t: (
            f"The certificate of {endpoint(t)} is not signed by "
            f"{'the authority in ssl_ca' if t.ssl_ca else 'a public authority'}, or it is expired."
        ),
        lambda t: "Put the certificate of the authority that signed the server's certificate into ssl_ca.",
    ),
    (
        re.compile(r"alert (?:unknown ca|bad certificate|certificate (?:required|unknown|expired))", re.I),
        ErrorCode.AUTHENTICATION_FAILED,
        lambda t: f"{endpoint(t)} did not take the client certificate of {t.username!r}.",
        lambda t: "Give ssl_cert and ssl_key: a certificate signed by an authority of the server's ssl_ca.",
    ),
    (
        re.compile(r"SSL|TLS"),
        ErrorCode.TLS_FAILED,
        lambda t: f"TLS with {endpoint(t)} failed.",
        lambda t: "Compare tls_version and the ciphers of the server; TLS 1.2 at least is needed.",
    ),
)


def login_failure(target: Target, error: BaseException, *, timed_out: bool) -> DbauditError:
    """The error for a log-in that failed after the server had begun to speak."""
    if timed_out:
        return TransientError(
            ErrorCode.CONNECTION_TIMEOUT,
            f"{endpoint(target)} took the connection and then did not answer within "
            f"{target.connect_timeout_seconds:g} seconds.",
            remedy="Check that the server is not overloaded.",
        )
    rogue = _asks_for_file(target, error)
    if rogue is not None:
        return rogue
    number = number_of(error)
    for meaning in _LOGIN_FAILURES:
        if number in meaning.numbers:
            kind = TransientError if meaning.transient else ConfigurationError
            return kind(meaning.code, meaning.message(target), remedy=meaning.remedy(target))
    said, words = _said(error), _words(target, error)
    if target.ssl_mode is not SslMode.DISABLE:
        for pattern, code, message, remedy in _TLS_FAILURES:
            if pattern.search(said):
                return ConfigurationError(code, message(target), remedy=remedy(target))
    if number in _LOST or number == 2003:
        return TransientError(
            ErrorCode.CONNECTION_LOST,
            f"{endpoint(target)} closed the connection during the log-in.",
            remedy="Check that host and port are those of the server, and read the server's log.",
        )
    if not isinstance(error, pymysql.MySQLError) or _PROTOCOL_FAULTS.search(said):
        return ConfigurationError(
            ErrorCode.WRONG_PROTOCOL,
            f"What listens on {endpoint(target)} does not speak the protocol of MySQL as it should.",
            remedy="Check host and port.",
        )
    return ConfigurationError(
        ErrorCode.AUTHENTICATION_FAILED,
        f"{endpoint(target)} refused the log-in: {words}",
        remedy="Check username, password and database.",
    )


_LOST = (0, 1053, 1077, 1079, 1158, 1159, 1160, 1161, 1927, 2006, 2013, 2014, 2055, 3032, 4031)
"""Error numbers after which the connection cannot be used: the server is gone, or has closed it."""

_NOT_PERMITTED = (1044, 1045, 1142, 1143, 1227, 1370, 1410, 3530)
_MISSING = (1049, 1146)
_TIMED_OUT = (1205, 1969, 3024)
_PASSING = (1015, 1020, 1021, 1030, 1037, 1041, 1114, 1180, 1206, 1213, 1317, 1637)
"""Locks, memory, disk and the like: a later try may work."""


def statement_failure(target: Target, error: BaseException, *, timed_out: bool = False) -> DbauditError:
    """The error for a statement that failed after the log-in, by its number."""
    number = number_of(error)
    if timed_out or number in _TIMED_OUT:
        return TransientError(
            ErrorCode.STATEMENT_TIMEOUT,
            f"{endpoint(target)} did not finish a statement within "
            f"{target.statement_timeout_seconds:g} seconds.",
        )
    rogue = _asks_for_file(target, error)
    if rogue is not None:
        return rogue
    if number in _LOST:
        return TransientError(ErrorCode.CONNECTION_LOST, f"The connection to {endpoint(target)} was lost.")
    words = _words(target, error)
    if number in _NOT_PERMITTED:
        return ConfigurationError(
            ErrorCode.PERMISSION_MISSING, f"{target.username!r} lacks a right on {endpoint(target)}: {words}"
        )
    if number in _MISSING:
        return ConfigurationError(ErrorCode.AUDIT_SOURCE_MISSING, f"{endpoint(target)} says: {words}")
    message = f"{endpoint(target)} answered with the error {number}: {words}"
    if number in _PASSING:
        return TransientError(ErrorCode.CONNECTION_LOST, message)
    return ConfigurationError(ErrorCode.SERVER_NOT_SUPPORTED, message)


def _asks_for_file(target: Target, error: BaseException) -> DbauditError | None:
    """The error for a server that answers a statement with LOCAL INFILE; no real one does that unasked."""
    if not isinstance(error, RuntimeError) or "LOAD_LOCAL" not in str(error):
        return None
    return ConfigurationError(
        ErrorCode.WRONG_PROTOCOL,
        f"{endpoint(target)} asked for a file of the agent's host in place of an answer (LOCAL INFILE), and "
        "got none.",
        remedy="Find out which server this is before you trust it: no statement of the agent asks for that.",
    )


def _said(error: BaseException) -> str:
    return str(error.args[1]) if len(error.args) > 1 else str(error)


def _words(target: Target, error: BaseException) -> str:
    return one_line(_said(error), target)
