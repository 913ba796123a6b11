"""What a failure of the server, of the driver or of the network means, in one clear line with its remedy.

The numbers are those of the manual "Database Error Messages" and of the driver's documentation.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import NamedTuple

from dbaudit.core.database import SslMode, Target
from dbaudit.core.errors import ConfigurationError, DbauditError, ErrorCode, TransientError
from dbaudit.engine import network
from dbaudit.engine.words import one_line


class _Meaning(NamedTuple):
    code: ErrorCode
    message: Callable[[Target], str]
    remedy: Callable[[Target], str | None]
    transient: bool = False


def endpoint(target: Target) -> str:
    """The server as people write it."""
    return network.place_of(target.host, target.port)


def quoted(name: str) -> str:
    """A name for use in a statement: unquoted if that means the same, else in quotes.

    >>> quoted("DBAUDIT"), quoted("C##DBAUDIT"), quoted("app user")
    ('DBAUDIT', 'C##DBAUDIT', '"app user"')
    """
    if re.fullmatch(r"[A-Z][A-Z0-9_$#]*", name):
        return name
    return '"' + name.replace('"', "") + '"'


def user_of(target: Target) -> str:
    """The name of the user as the server has it: in capitals unless it is written in quotes.

    >>> from dbaudit.core.secret import Secret
    >>> from dbaudit.core.database import SslMode
    >>> target = Target(database_id="d", host="h", port=1, database="s", username="app", password=Secret("x"),
    ...     ssl_mode=SslMode.DISABLE)
    >>> user_of(target)
    'APP'
    """
    name = target.username.strip()
    if len(name) > 2 and name[0] == name[-1] == '"':
        return name[1:-1]
    return name.upper()


def _of(code: ErrorCode, message: str, remedy: str | None = None, *, transient: bool = False) -> _Meaning:
    def filled(text: str, target: Target) -> str:
        return text.format(
            at=endpoint(target),
            user=quoted(user_of(target)),
            service=target.database,
            mode=target.ssl_mode.value,
        )

    return _Meaning(
        code,
        lambda target: filled(message, target),
        lambda target: filled(remedy, target) if remedy else None,
        transient,
    )


_SERVICE = _of(
    ErrorCode.DATABASE_NOT_FOUND,
    "The listener of {at} knows no service {service!r}.",
    "Set the field database to a name that `lsnrctl services` shows on the server, or open the database.",
)
_STARTING = _of(
    ErrorCode.SERVER_STARTING,
    "The database behind {at} is starting up, shutting down, restricted or not open.",
    "ALTER DATABASE OPEN; -- or ALTER PLUGGABLE DATABASE {service} OPEN;",
    transient=True,
)
_FULL = _of(
    ErrorCode.TOO_MANY_CONNECTIONS,
    "{at} has no connection left.",
    "Raise the parameters processes and sessions, or the SESSIONS_PER_USER of the profile of {user}.",
    transient=True,
)
_LOGIN = _of(
    ErrorCode.AUTHENTICATION_FAILED,
    "{at} refused the user name or the password of {user}.",
    "Check username and password; or set a new password: ALTER USER {user} IDENTIFIED BY ...;",
)
_LOST = _of(ErrorCode.CONNECTION_LOST, "The connection to {at} was lost.", transient=True)
_VERIFIER = _of(
    ErrorCode.AUTHENTICATION_FAILED,
    "{user} has a password verifier of 10g only, which the driver does not use.",
    "ALTER USER {user} IDENTIFIED BY ...; -- with a newer SQLNET.ALLOWED_LOGON_VERSION_SERVER",
)
_ENCRYPTION = _of(
    ErrorCode.CONFIGURATION_INVALID,
    "{at} requires Native Network Encryption, which the driver does not speak without an Oracle Client.",
    "Set ssl_mode to verify-full and the port to one at which the listener takes TCPS, or set "
    "SQLNET.ENCRYPTION_SERVER to accepted on the server.",
)
_TLS_MISMATCH = _of(
    ErrorCode.TLS_FAILED,
    "TLS with {at} failed.",
    "Check that the listener takes TCPS at this port, and that it offers TLS 1.2 at least.",
)

_ORACLE = {
    1005: _LOGIN,
    1017: _LOGIN,
    1045: _of(
        ErrorCode.PERMISSION_MISSING,
        "{user} may not log in to {at}.",
        "GRANT CREATE SESSION TO {user};",
    ),
    1033: _STARTING,
    1034: _STARTING,
    1035: _STARTING,
    1089: _STARTING,
    1090: _STARTING,
    1109: _STARTING,
    18: _FULL,
    20: _FULL,
    2391: _FULL,
    12516: _FULL,
    12518: _FULL,
    12519: _FULL,
    12520: _FULL,
    12505: _SERVICE,
    12514: _SERVICE,
    12521: _SERVICE,
    12526: _STARTING,
    12527: _STARTING,
    12528: _STARTING,
    27101: _STARTING,
    28000: _of(
        ErrorCode.AUTHENTICATION_FAILED,
        "The account {user} of {at} is locked.",
        "ALTER USER {user} ACCOUNT UNLOCK;",
    ),
    28001: _of(
        ErrorCode.AUTHENTICATION_FAILED,
        "The password of {user} of {at} has expired.",
        "ALTER USER {user} IDENTIFIED BY ...; -- and a profile with PASSWORD_LIFE_TIME UNLIMITED",
    ),
    28040: _VERIFIER,
    12660: _ENCRYPTION,
    12650: _ENCRYPTION,
    12537: _LOST,
    12547: _LOST,
    28759: _TLS_MISMATCH,
    29024: _TLS_MISMATCH,
    28860: _TLS_MISMATCH,
}
_DRIVER = {
    3001: _ENCRYPTION,
    3010: _of(
        ErrorCode.SERVER_NOT_SUPPORTED,
        "{at} is older than Oracle Database 12.1, which is needed.",
    ),
    3015: _VERIFIER,
    4001: _LOGIN,
    4011: _LOST,
    6001: _SERVICE,
    6003: _SERVICE,
    6002: _of(
        ErrorCode.CERTIFICATE_INVALID,
        "The certificate of {at} is not the one that is expected.",
        "Set host to a name that is in the server's certificate, or ssl_mode to verify-ca.",
    ),
    6006: _of(
        ErrorCode.CERTIFICATE_INVALID,
        "The certificate of {at} is for another host name.",
        "Set host to a name that is in the server's certificate, or ssl_mode to verify-ca.",
    ),
}
_NUMBER = re.compile(r"\b(ORA|DPY)-0*(\d+)")


def login_failure(target: Target, error: BaseException) -> DbauditError:
    """The error for a server that could not be reached or that refused the log-in."""
    by_network = _network_failure(target, error)
    if by_network is not None:
        return by_network
    words = str(error)
    # The driver says in the end what lies behind its own number.
    for kind, number in reversed(_NUMBER.findall(words)):
        meaning = (_ORACLE if kind == "ORA" else _DRIVER).get(int(number))
        if meaning is not None:
            return _raised(meaning, target)
    if "DPY-5" in words or "DPY-4035" in words:
        return wrong_protocol(target, "no Oracle listener")
    return TransientError(
        ErrorCode.CONNECTION_REFUSED, f"{endpoint(target)} refused the log-in: {shown(target, words)}"
    )


def wrong_protocol(target: Target, speaker: str) -> DbauditError:
    """The error for a port at which something else listens."""
    if speaker == "a server that wants TLS":
        return ConfigurationError(
            ErrorCode.TLS_FAILED,
            f"What listens on {endpoint(target)} wants TLS, and ssl_mode is {target.ssl_mode.value}.",
            remedy="Set ssl_mode to verify-full, with the authority's certificate in ssl_ca.",
        )
    return network.wrong_protocol(endpoint(target), speaker, "an Oracle listener")


def asks_for_password(target: Target) -> DbauditError:
    """The error for a server that gives no session key, so that it could read the password."""
    return ConfigurationError(
        ErrorCode.AUTHENTICATION_FAILED,
        f"{endpoint(target)} asked for the password in a form that it could read, and did not get it.",
        remedy="Find out which server this is before you trust it: no Oracle Database does that.",
    )


def silence(target: Target) -> DbauditError:
    """The error for a server that does not answer while it is connected to."""
    return TransientError(
        ErrorCode.CONNECTION_TIMEOUT,
        f"{endpoint(target)} did not answer within {target.connect_timeout_seconds:g} seconds.",
        remedy="Check host, port, routes and firewalls, and that the server is not overloaded.",
    )


def statement_timeout(target: Target) -> DbauditError:
    """The error for a statement that lasted longer than ``target.statement_timeout_seconds``."""
    return TransientError(
        ErrorCode.STATEMENT_TIMEOUT,
        f"{endpoint(target)} did not finish a statement within {target.statement_timeout_seconds:g} seconds.",
    )


_NO_SUCH_VIEW = (942, 1031, 1720)
_STATEMENT_LOST = (28, 1012, 1033, 1034, 1089, 1092, 2396, 3113, 3114, 3135, 12514, 12528, 12537, 12547)
_TIMED_OUT = (1013, 3136, 3156)
_PASSING = (54, 60, 1555, 1652, 4031, 4036, 8103, 12805, 30006)


def statement_failure(target: Target, error: BaseException) -> DbauditError:
    """The error for a statement that failed after the log-in."""
    words = str(error)
    numbers = [(kind, int(number)) for kind, number in _NUMBER.findall(words)]
    oracle = next((number for kind, number in numbers if kind == "ORA"), None)
    if ("DPY", 4024) in numbers or oracle in _TIMED_OUT:
        return statement_timeout(target)
    if not numbers or oracle in _STATEMENT_LOST or {("DPY", 4011), ("DPY", 1001)} & set(numbers):
        return _raised(_LOST, target)
    if oracle in _NO_SUCH_VIEW:
        return ConfigurationError(
            ErrorCode.PERMISSION_MISSING,
            f"{quoted(user_of(target))} lacks a right on {endpoint(target)}: {shown(target, words)}",
            remedy=f"GRANT AUDIT_VIEWER TO {quoted(user_of(target))};",
        )
    message = f"{endpoint(target)} answered with an error: {shown(target, words)}"
    if oracle in _PASSING or oracle is None:
        return TransientError(ErrorCode.CONNECTION_LOST, message)
    return ConfigurationError(ErrorCode.SERVER_NOT_SUPPORTED, message)


def oracle_number(error: BaseException) -> int | None:
    """The number of the server's error, 942 for ORA-00942; None where it has none."""
    found = _NUMBER.search(str(error))
    return int(found[2]) if found and found[1] == "ORA" else None


def shown(target: Target, words: str) -> str:
    """A message of a server or a driver in one printable line, without the password."""
    return one_line(words.partition("\nHelp:")[0], target)


def _raised(meaning: _Meaning, target: Target) -> DbauditError:
    kind = TransientError if meaning.transient else ConfigurationError
    return kind(meaning.code, meaning.message(target), remedy=meaning.remedy(target))


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__


def _network_failure(target: Target, error: BaseException) -> DbauditError | None:
    for cause in _causes(error):
        if isinstance(cause, UnicodeError | socket.gaierror):
            return network.unknown_host(target.host, cause)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _certificate_failure(target)
        if isinstance(cause, ssl.SSLError):
            if "WRONG_VERSION_NUMBER" in str(cause) or "HTTP" in str(cause):
                return _not_tls(target)
            return _raised(_TLS_MISMATCH, target)
        if isinstance(cause, ConnectionRefusedError):
            return TransientError(
                ErrorCode.CONNECTION_REFUSED,
                f"Nothing listens on {endpoint(target)}, or a firewall refuses the connection.",
                remedy="Check host and port, and that the listener runs: lsnrctl status",
            )
        if isinstance(cause, TimeoutError):
            return silence(target)
        if isinstance(cause, ConnectionError):
            if target.ssl_mode is not SslMode.DISABLE:
                return TransientError(
                    ErrorCode.CONNECTION_LOST,
                    f"{endpoint(target)} closed the connection during the TLS handshake.",
                    remedy="Check that the listener takes TCPS at this port.",
                )
            return _raised(_LOST, target)
        if isinstance(cause, OSError):
            return TransientError(
                ErrorCode.CONNECTION_TIMEOUT,
                f"{endpoint(target)} cannot be reached over the network.",
                remedy="Check host, routes and firewalls.",
            )
    return None


def _not_tls(target: Target) -> DbauditError:
    return ConfigurationError(
        ErrorCode.TLS_FAILED,
        f"{endpoint(target)} offers no TLS, and ssl_mode is {target.ssl_mode.value}.",
        remedy="Set the port to one at which the listener takes TCPS, often 2484, or ssl_mode to disable.",
    )


def _certificate_failure(target: Target) -> DbauditError:
    by = "the authority in ssl_ca" if target.ssl_ca else "a public authority"
    return ConfigurationError(
        ErrorCode.CERTIFICATE_INVALID,
        f"The certificate of {endpoint(target)} is not signed by {by}, or it is expired.",
        remedy="Put the certificate of the authority that signed the server's certificate into ssl_ca.",
    )
