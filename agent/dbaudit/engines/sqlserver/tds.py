"""What a server says before the log-in: asked when the driver's error does not say what is wrong.

PRELOGIN is the first message of TDS ([MS-TDS] 2.2.6.5). The answer shows whether the port is that of a SQL
Server, whether it encrypts, and, with the handshake inside PRELOGIN packets, what is wrong with its
certificate.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time

from dbaudit.core.database import SslMode, Target
from dbaudit.core.errors import ConfigurationError, DbauditError, ErrorCode
from dbaudit.engine.certificates import client_context
from dbaudit.engine.network import place_of, speaker_of, unknown_host, unreached, wrong_protocol

_PRELOGIN, _RESPONSE = 0x12, 0x04
_HEADER = struct.Struct(">BBHHBB")
_LONGEST_ANSWER = 32_768
_NOT_SUPPORTED = 2


def endpoint(target: Target) -> str:
    """The server as people write it."""
    return place_of(target.host, target.port)


def examine(target: Target, timeout_seconds: float) -> DbauditError | None:
    """The error that keeps every client from logging in; None if clients can log in."""
    deadline = time.monotonic() + timeout_seconds
    try:
        connection = socket.create_connection((target.host, target.port), timeout_seconds)
    except (socket.gaierror, UnicodeError) as error:
        return unknown_host(target.host, error)
    except OSError as error:
        listening = "that TCP/IP is enabled in its network configuration"
        return unreached(endpoint(target), error, target.connect_timeout_seconds, listening)
    with connection:
        try:
            return _talk(target, connection, deadline)
        except (TimeoutError, OSError, EOFError):
            return None


def _talk(target: Target, connection: socket.socket, deadline: float) -> DbauditError | None:
    encrypt = target.ssl_mode is not SslMode.DISABLE
    connection.sendall(_packet(_prelogin(encryption=1 if encrypt else _NOT_SUPPORTED)))
    first = _receive(connection, 1, deadline)
    if first != bytes([_RESPONSE]):
        return _wrong_protocol(target, first + _rest(connection, deadline))
    body = _body(connection, first, deadline)
    offered = _encryption(body)
    if encrypt and offered == _NOT_SUPPORTED:
        return ConfigurationError(
            ErrorCode.TLS_FAILED,
            f"{endpoint(target)} offers no TLS, and ssl_mode is {target.ssl_mode.value}.",
            remedy="Give the server a certificate (SQL Server Configuration Manager, or mssql-conf set "
            "network.tlscert), or set ssl_mode to disable.",
        )
    if not encrypt and offered == 3:
        return ConfigurationError(
            ErrorCode.TLS_FAILED,
            f"{endpoint(target)} forces encryption, and ssl_mode is disable.",
            remedy="Set ssl_mode to verify-full with ssl_ca, or to require.",
        )
    return _shake_hands(target, connection, deadline) if encrypt else None


def _shake_hands(target: Target, connection: socket.socket, deadline: float) -> DbauditError | None:
    context = client_context(target)
    if context is None:
        return None
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=target.host)
    while True:
        try:
            tls.do_handshake()
            return None
        except ssl.SSLWantReadError:
            if pending := outgoing.read():
                connection.sendall(_packet(pending))
            incoming.write(_body(connection, _receive(connection, 1, deadline), deadline))
        except ssl.SSLCertVerificationError as error:
            return _bad_certificate(target, error)
        except ssl.SSLError as error:
            return ConfigurationError(
                ErrorCode.TLS_FAILED,
                f"TLS with {endpoint(target)} failed: {error.reason or 'the handshake broke off'}.",
                remedy="Compare the server's TLS versions and ciphers; TLS 1.2 at least is needed.",
            )


_NAME_MISMATCHES = frozenset({62, 64})
"""X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH of OpenSSL."""


def _bad_certificate(target: Target, error: ssl.SSLCertVerificationError) -> ConfigurationError:
    if error.verify_code in _NAME_MISMATCHES:
        return ConfigurationError(
            ErrorCode.CERTIFICATE_INVALID,
            f"The certificate of {endpoint(target)} is for another host name than {target.host!r}.",
            remedy="Set host to a name that is in the server's certificate, or ssl_mode to verify-ca.",
        )
    authority = "the authority in ssl_ca" if target.ssl_ca else "a public authority"
    return ConfigurationError(
        ErrorCode.CERTIFICATE_INVALID,
        f"The certificate of {endpoint(target)} is not signed by {authority}, or it is not valid now: "
        f"{error.verify_message}.",
        remedy="Put the certificate of the authority that signed the server's certificate into ssl_ca. A "
        "server without a certificate of its own makes one at each start: give it one.",
    )


def _wrong_protocol(target: Target, said: bytes) -> ConfigurationError:
    what = speaker_of(said) or "a server that says nothing"
    if said.startswith((b"N", b"S", b"E")) and not said.startswith(b"SSH-") and len(said) < 400:
        what = "perhaps a PostgreSQL server"
    return wrong_protocol(endpoint(target), what, "SQL Server")


def _prelogin(*, encryption: int) -> bytes:
    values = ((0, bytes(6)), (1, bytes([encryption])), (2, b"\0"), (3, bytes(4)), (4, b"\0"))
    head, data = b"", b""
    start = 5 * len(values) + 1
    for token, value in values:
        head += struct.pack(">BHH", token, start + len(data), len(value))
        data += value
    return head + b"\xff" + data


def _packet(body: bytes) -> bytes:
    return _HEADER.pack(_PRELOGIN, 1, len(body) + _HEADER.size, 0, 1, 0) + body


def _encryption(body: bytes) -> int | None:
    place = 0
    while place + 5 <= len(body) and body[place] != 0xFF:
        token, offset = struct.unpack_from(">BH", body, place)
        if token == 1 and offset < len(body):
            return int(body[offset])
        place += 5
    return None


def _body(connection: socket.socket, first: bytes, deadline: float) -> bytes:
    header = first + _receive(connection, _HEADER.size - 1, deadline)
    length = _HEADER.unpack(header)[2] - _HEADER.size
    if not 0 <= length <= _LONGEST_ANSWER:
        raise EOFError
    return _receive(connection, length, deadline)


def _receive(connection: socket.socket, count: int, deadline: float) -> bytes:
    data = bytearray()
    while len(data) < count:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        part = connection.recv(count - len(data))
        if not part:
            raise EOFError
        data += part
    return bytes(data)


def _rest(connection: socket.socket, deadline: float) -> bytes:
    try:
        connection.settimeout(max(0.001, min(0.2, deadline - time.monotonic())))
        return connection.recv(512)
    except OSError:
        return b""
