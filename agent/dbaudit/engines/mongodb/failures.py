"""What a failure of the server, of the driver or of the network means, in one clear line with its remedy."""

from __future__ import annotations

import re
import ssl

from pymongo.errors import ConfigurationError as DriverConfigurationError
from pymongo.errors import (
    ConnectionFailure,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    WaitQueueTimeoutError,
)

from dbaudit.core.database import Target
from dbaudit.core.errors import ConfigurationError, DbauditError, ErrorCode, TransientError
from dbaudit.engine.words import one_line

_AUTHENTICATION_FAILED = frozenset({11, 17, 18, 8000})
"""UserNotFound, ProtocolError of a conversation, AuthenticationFailed, AtlasError."""
_UNAUTHORIZED = 13
_MECHANISM_UNAVAILABLE = 334
_TIMED_OUT = frozenset({50, 262})
_GOING_AWAY = frozenset({91, 11600, 11601, 11602})
_NOT_READY = frozenset({189, 13435, 13436, 10107, 10058})
_UNKNOWN_COMMAND = 59

_TLS = re.compile(r"SSL handshake failed|\[SSL: ")
_NOT_TRUSTED = re.compile(r"CERTIFICATE_VERIFY_FAILED|certificate verify failed", re.IGNORECASE)
_OTHER_NAME = re.compile(r"hostname mismatch|doesn't match|not valid for|IP address mismatch", re.IGNORECASE)
_CLIENT_CERTIFICATE = re.compile(
    r"certificate required|peer did not return a certificate|unknown ca|bad certificate", re.IGNORECASE
)
_TOO_OLD = re.compile(r"reports (?:wire version|maximum wire version) (\d+)")
_TOO_MANY = re.compile(r"connection refused because too many|too many open connections", re.IGNORECASE)


def connection_failure(target: Target, place: str, error: BaseException) -> DbauditError:
    """The error for a connection that could not be opened, from the failure that the driver's monitor met."""
    said = f"{error} {error.__cause__ or ''}"
    words = _shown(target, said)
    if isinstance(error, OperationFailure):
        return statement_failure(target, place, error)
    if isinstance(error, ssl.SSLError) or _TLS.search(said):
        return _tls_failure(target, place, said)
    if _TOO_OLD.search(said):
        return ConfigurationError(
            ErrorCode.SERVER_NOT_SUPPORTED,
            f"{place} is too old for the driver: {words}",
            remedy="Upgrade the server: MongoDB 4.4 at least is needed.",
        )
    if isinstance(error, NetworkTimeout) or "timed out" in said:
        return TransientError(
            ErrorCode.CONNECTION_TIMEOUT,
            f"{place} took the connection and then did not answer within "
            f"{target.connect_timeout_seconds:g} seconds.",
            remedy="Check that the port is that of MongoDB and that the server is not overloaded.",
        )
    if isinstance(error, DriverConfigurationError):
        return ConfigurationError(
            ErrorCode.SERVER_NOT_SUPPORTED, f"The driver cannot talk to {place}: {words}"
        )
    return TransientError(
        ErrorCode.CONNECTION_LOST,
        f"{place} closed the connection during the log-in.",
        remedy="Check that host and port are those of a MongoDB server, whether it demands TLS "
        "(net.tls.mode: requireTLS), and read the server's log.",
    )


def malformed_answer(place: str) -> ConfigurationError:
    """The error for an answer to the log-in that the driver could not read."""
    return ConfigurationError(
        ErrorCode.WRONG_PROTOCOL,
        f"What listens on {place} does not answer the log-in as MongoDB does.",
        remedy="Check host and port.",
    )


def statement_failure(target: Target, place: str, error: PyMongoError) -> DbauditError:
    """The error for a command that failed after the connection was there."""
    words = _shown(target, str(error))
    if isinstance(error, OperationFailure):
        return _refusal(target, place, error)
    if isinstance(error, NetworkTimeout | WaitQueueTimeoutError) or error.timeout:
        return TransientError(
            ErrorCode.STATEMENT_TIMEOUT,
            f"{place} did not answer a command within {target.statement_timeout_seconds:g} seconds.",
        )
    if isinstance(error, ConnectionFailure):
        if _TLS.search(str(error)):
            return _tls_failure(target, place, str(error))
        return TransientError(ErrorCode.CONNECTION_LOST, f"The connection to {place} was lost.")
    return TransientError(ErrorCode.CONNECTION_LOST, f"The driver failed at {place}: {words}")


def _refusal(target: Target, place: str, error: OperationFailure) -> DbauditError:
    code = error.code
    said = str((error.details or {}).get("errmsg") or error)
    words = _shown(target, said)
    if code in _AUTHENTICATION_FAILED:
        return authentication_failure(target, place)
    if code == _MECHANISM_UNAVAILABLE:
        return ConfigurationError(
            ErrorCode.AUTHENTICATION_FAILED,
            f"{place} does not offer the kind of authentication that {target.username!r} needs: {words}",
            remedy="Add SCRAM-SHA-256, or MONGODB-X509 for a client certificate, to the server's "
            "authenticationMechanisms.",
        )
    if code == _UNAUTHORIZED:
        return ConfigurationError(
            ErrorCode.PERMISSION_MISSING, f"{target.username!r} lacks a right on {place}: {words}"
        )
    if code in _TIMED_OUT:
        return TransientError(
            ErrorCode.STATEMENT_TIMEOUT,
            f"{place} did not finish a command within {target.statement_timeout_seconds:g} seconds.",
        )
    if code in _GOING_AWAY:
        return TransientError(ErrorCode.CONNECTION_LOST, f"{place} is shutting down.")
    if code in _NOT_READY:
        return TransientError(
            ErrorCode.SERVER_STARTING, f"{place} is starting, recovering or changing its role."
        )
    if _TOO_MANY.search(said):
        return TransientError(
            ErrorCode.TOO_MANY_CONNECTIONS,
            f"{place} has no connection left.",
            remedy="Raise net.maxIncomingConnections.",
        )
    message = f"{place} answered with the error {code}: {words}"
    if code == _UNKNOWN_COMMAND:
        return ConfigurationError(ErrorCode.SERVER_NOT_SUPPORTED, message)
    return TransientError(ErrorCode.CONNECTION_LOST, message)


def authentication_failure(target: Target, place: str) -> ConfigurationError:
    """The error for a refused user name, password or certificate."""
    source = target.options.get("auth_source") or target.database
    if not target.password and target.ssl_cert:
        return ConfigurationError(
            ErrorCode.AUTHENTICATION_FAILED,
            f"{place} did not take the client certificate as a log-in.",
            remedy='Make a user of the certificate\'s subject: db.getSiblingDB("$external").createUser('
            '{ user: "SUBJECT", roles: [{ role: "clusterMonitor", db: "admin" }] })',
        )
    return ConfigurationError(
        ErrorCode.AUTHENTICATION_FAILED,
        f"{place} refused the user name or the password of {target.username!r}, a user of the database "
        f"{source!r}.",
        remedy="Check username and password, and set the engine's option auth_source to the database that "
        "the user is defined in (mostly admin).",
    )


def _tls_failure(target: Target, place: str, said: str) -> DbauditError:
    if _OTHER_NAME.search(said):
        return ConfigurationError(
            ErrorCode.CERTIFICATE_INVALID,
            f"The certificate of {place} is for another host name than {target.host!r}.",
            remedy="Set host to a name that is in the server's certificate, or ssl_mode to verify-ca.",
        )
    if _NOT_TRUSTED.search(said):
        authority = "the authority in ssl_ca" if target.ssl_ca else "a public authority"
        return ConfigurationError(
            ErrorCode.CERTIFICATE_INVALID,
            f"The certificate of {place} is not signed by {authority}, or it is expired.",
            remedy="Put the certificate of the authority that signed the server's certificate into ssl_ca.",
        )
    if _CLIENT_CERTIFICATE.search(said):
        return ConfigurationError(
            ErrorCode.TLS_FAILED,
            f"{place} did not take the client certificate, or was given none.",
            remedy="Give ssl_cert and ssl_key: a certificate signed by an authority of the server's "
            "net.tls.CAFile.",
        )
    return ConfigurationError(
        ErrorCode.TLS_FAILED,
        f"TLS with {place} failed, and ssl_mode is {target.ssl_mode.value}.",
        remedy="Set net.tls.mode of the server to preferTLS or requireTLS with a certificateKeyFile; TLS 1.2 "
        "at least is needed.",
    )


def _shown(target: Target, words: str) -> str:
    return one_line(words.partition(", full error:")[0], target)
