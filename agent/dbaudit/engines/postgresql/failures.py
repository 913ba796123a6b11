"""What a failure of the server, of libpq or of the network means, in one clear line with its remedy."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import psycopg
from psycopg import sql

from dbaudit.core.database import SslMode, Target
from dbaudit.core.errors import ConfigurationError, DbauditError, ErrorCode, TransientError
from dbaudit.engine.network import place_of
from dbaudit.engine.words import one_line


def endpoint(target: Target) -> str:
    """The server as people write it."""
    if target.host.startswith("/"):
        return f"{target.host}/.s.PGSQL.{target.port}"
    return place_of(target.host, target.port)


def quoted(name: str) -> str:
    """A name as an identifier of SQL, for a remedy."""
    return sql.Identifier(name).as_string()


class _Meaning(NamedTuple):
    pattern: re.Pattern[str]
    code: ErrorCode
    message: Callable[[Target], str]
    remedy: Callable[[Target], str | None]
    transient: bool = False


def _meaning(
    pattern: str,
    code: ErrorCode,
    message: Callable[[Target], str],
    remedy: Callable[[Target], str | None] = lambda target: None,
    *,
    transient: bool = False,
) -> _Meaning:
    return _Meaning(re.compile(pattern), code, message, remedy, transient)


def _encryption_demanded(target: Target) -> str:
    return f"{endpoint(target)} does not let {target.username!r} log in unencrypted from the agent's address."


def _hba_line(target: Target) -> str:
    kind = "host" if target.ssl_mode is SslMode.DISABLE else "hostssl"
    return (
        f"Add to pg_hba.conf: {kind} {quoted(target.database)} {quoted(target.username)} AGENT_ADDRESS/32 "
        "scram-sha-256 -- then SELECT pg_reload_conf();"
    )


# libpq does not give the SQLSTATE of a refused log-in, so its texts decide; a server that localises its
# messages (lc_messages) falls through to the last resort of login_failure. The first that matches wins.
_LOGIN_FAILURES = (
    _meaning(
        r"no pg_hba\.conf entry .*(?:no encryption|SSL off)",
        ErrorCode.AUTHENTICATION_FAILED,
        _encryption_demanded,
        lambda t: f"Set ssl_mode to verify-full with ssl_ca, or to require. Or: {_hba_line(t)}",
    ),
    _meaning(
        r"no pg_hba\.conf entry|pg_hba\.conf rejects",
        ErrorCode.AUTHENTICATION_FAILED,
        lambda t: (
            f"{endpoint(t)} does not let the agent's address log in as {t.username!r} to {t.database!r}."
        ),
        _hba_line,
    ),
    _meaning(
        r"received invalid response to SSL|expected authentication request|invalid error message"
        r"|error response during SSL|unencrypted data after SSL|unsupported frontend protocol"
        r"|wrong version number|unknown authentication type|authentication method \d{3,} not supported",
        ErrorCode.WRONG_PROTOCOL,
        lambda t: f"What listens on {endpoint(t)} does not speak the protocol of PostgreSQL.",
        lambda t: "Check host and port.",
    ),
    _meaning(
        r"client certificate|certificate authentication failed|certificate required",
        ErrorCode.AUTHENTICATION_FAILED,
        lambda t: f"{endpoint(t)} did not take the client certificate for {t.username!r}.",
        lambda t: (
            f"Give ssl_cert and ssl_key: a certificate with the common name {t.username!r}, "
            "signed by an authority of the server's ssl_ca_file."
        ),
    ),
    _meaning(
        r"authentication method requirement",
        ErrorCode.AUTHENTICATION_FAILED,
        lambda t: (
            f"{endpoint(t)} asks for the password of {t.username!r} in clear or as an MD5 hash, which is not "
            f"answered with ssl_mode {t.ssl_mode.value}: any server in between could ask for it."
        ),
        lambda t: (
            "Use ssl_mode verify-full with ssl_ca; or scram-sha-256: SET password_encryption = "
            f"'scram-sha-256'; \\password {quoted(t.username)} -- and scram-sha-256 in pg_hba.conf. "
            "To answer it nevertheless: audit_options.engine.require_auth."
        ),
    ),
    _meaning(
        r"authentication failed|no password supplied|role \".*\" does not exist|empty password",
        ErrorCode.AUTHENTICATION_FAILED,
        lambda t: f"{endpoint(t)} refused the user name or the password of {t.username!r}.",
        lambda t: f"Check username and password; or set it again: \\password {quoted(t.username)}",
    ),
    _meaning(
        r"not permitted to log in",
        ErrorCode.AUTHENTICATION_FAILED,
        lambda t: f"The role {t.username!r} of {endpoint(t)} may not log in.",
        lambda t: f"ALTER ROLE {quoted(t.username)} LOGIN;",
    ),
    _meaning(
        r"authentication method .* not supported|requires? (?:GSS|SASL|channel binding)",
        ErrorCode.AUTHENTICATION_FAILED,
        lambda t: (
            f"{endpoint(t)} asks {t.username!r} for a kind of authentication that is not supported here."
        ),
        _hba_line,
    ),
    _meaning(
        r"permission denied for database",
        ErrorCode.PERMISSION_MISSING,
        lambda t: f"{t.username!r} may not connect to the database {t.database!r} of {endpoint(t)}.",
        lambda t: f"GRANT CONNECT ON DATABASE {quoted(t.database)} TO {quoted(t.username)};",
    ),
    _meaning(
        r"database \".*\" does not exist",
        ErrorCode.DATABASE_NOT_FOUND,
        lambda t: f"{endpoint(t)} has no database {t.database!r}.",
        lambda t: f"Correct the field database, or: CREATE DATABASE {quoted(t.database)};",
    ),
    _meaning(
        r"not currently accepting connections",
        ErrorCode.DATABASE_NOT_FOUND,
        lambda t: f"The database {t.database!r} of {endpoint(t)} takes no connections.",
        lambda t: f"ALTER DATABASE {quoted(t.database)} ALLOW_CONNECTIONS true;",
    ),
    _meaning(
        r"too many (?:clients|connections)|connection slots",
        ErrorCode.TOO_MANY_CONNECTIONS,
        lambda t: f"{endpoint(t)} has no connection left for {t.username!r}.",
        lambda t: "Raise max_connections, or the connection limit of the role or the database.",
        transient=True,
    ),
    _meaning(
        r"the database system is (?:starting up|shutting down|in recovery mode|not)",
        ErrorCode.SERVER_STARTING,
        lambda t: f"{endpoint(t)} is starting up, shutting down or recovering.",
        transient=True,
    ),
    _meaning(
        r"does not support SSL",
        ErrorCode.TLS_FAILED,
        lambda t: f"{endpoint(t)} offers no TLS, and ssl_mode is {t.ssl_mode.value}.",
        lambda t: (
            "ALTER SYSTEM SET ssl = on; SELECT pg_reload_conf(); -- with ssl_cert_file and ssl_key_file"
        ),
    ),
    _meaning(
        r"certificate verify failed|unable to get (?:local )?issuer",
        ErrorCode.CERTIFICATE_INVALID,
        lambda t: (
            f"The certificate of {endpoint(t)} is not signed by "
            f"{'the authority in ssl_ca' if t.ssl_ca else 'a public authority'}, or it is expired."
        ),
        lambda t: "Put the certificate of the authority that signed the server's certificate into ssl_ca.",
    ),
    _meaning(
        r"does not match host name",
        ErrorCode.CERTIFICATE_INVALID,
        lambda t: f"The certificate of {endpoint(t)} is for another host name than {t.host!r}.",
        lambda t: "Set host to a name that is in the server's certificate, or ssl_mode to verify-ca.",
    ),
    _meaning(
        r"SSL error|could not (?:load|read) .*certificate|private key",
        ErrorCode.TLS_FAILED,
        lambda t: f"TLS with {endpoint(t)} failed.",
        lambda t: (
            "Compare ssl_min_protocol_version and the ciphers of the server; TLS 1.2 at least is needed."
        ),
    ),
    _meaning(
        r"definition of service|service file",
        ErrorCode.CONFIGURATION_INVALID,
        lambda t: "The environment of the agent names a service of libpq that does not exist.",
        lambda t: "Unset PGSERVICE in the environment of the agent.",
    ),
    _meaning(
        r"[Cc]onnection refused|No such file or directory",
        ErrorCode.CONNECTION_REFUSED,
        lambda t: f"Nothing listens on {endpoint(t)}, or a firewall refuses the connection.",
        lambda t: "Check host and port, that the server runs, and its listen_addresses.",
        transient=True,
    ),
    _meaning(
        r"No route to host|[Uu]nreachable|timed? ?out",
        ErrorCode.CONNECTION_TIMEOUT,
        lambda t: f"{endpoint(t)} cannot be reached over the network.",
        lambda t: "Check host, routes and firewalls.",
        transient=True,
    ),
    _meaning(
        r"closed the connection unexpectedly|SSL SYSCALL|reset by peer|[Bb]roken pipe"
        r"|could not (?:receive|send) data",
        ErrorCode.CONNECTION_LOST,
        lambda t: f"{endpoint(t)} closed the connection during the log-in.",
        lambda t: "Check that host and port are those of a PostgreSQL server, and read the server's log.",
        transient=True,
    ),
)


_LIBPQ_PREFIX = re.compile(r"^connection to server .*? failed: ")


def login_failure(target: Target, words: str, *, password_used: bool) -> DbauditError:
    """The error for a log-in that failed, from the words of libpq or of the server.

    ``password_used`` says that the server had asked for the password and got it.
    """
    words = " ".join(words.split())
    for meaning in _LOGIN_FAILURES:
        if meaning.pattern.search(words):
            kind = TransientError if meaning.transient else ConfigurationError
            return kind(meaning.code, meaning.message(target), remedy=meaning.remedy(target))
    # Most likely a message in another language. Before it asks for a password a server refuses what passes
    # (it starts up, it is full); after that it refuses the password, the role or the database.
    words = one_line(_LIBPQ_PREFIX.sub("", words), target)
    message = f"{endpoint(target)} refused the log-in: {words}"
    if password_used:
        return ConfigurationError(
            ErrorCode.AUTHENTICATION_FAILED, message, remedy="Check username, password and database."
        )
    return TransientError(ErrorCode.CONNECTION_REFUSED, message)


# Classes of SQLSTATE (PostgreSQL manual, appendix A) after which a later try may work.
_LOST = ("08", "57P")  # connection exception; shutdown or crash of the server
_PASSING = ("40", "53", "55", "58", "XX")  # rollback; resources; locks; system error; internal error


def statement_failure(target: Target, error: psycopg.Error) -> DbauditError:
    """The error for a statement that failed after the log-in, by its SQLSTATE."""
    state = error.sqlstate
    if state is None or state.startswith(_LOST):
        return TransientError(ErrorCode.CONNECTION_LOST, f"The connection to {endpoint(target)} was lost.")
    if state == "57014":
        return TransientError(
            ErrorCode.STATEMENT_TIMEOUT,
            f"{endpoint(target)} did not finish a statement within "
            f"{target.statement_timeout_seconds:g} seconds.",
        )
    words = one_line(error.diag.message_primary or str(error), target)
    if state == "42501":
        return ConfigurationError(
            ErrorCode.PERMISSION_MISSING, f"{target.username!r} lacks a right on {endpoint(target)}: {words}"
        )
    message = f"{endpoint(target)} answered with the error {state}: {words}"
    if state.startswith(_PASSING):
        return TransientError(ErrorCode.CONNECTION_LOST, message)
    return ConfigurationError(ErrorCode.SERVER_NOT_SUPPORTED, message)
