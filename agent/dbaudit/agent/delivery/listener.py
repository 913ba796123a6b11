"""A connection to the listener, and what can be known of what it has read.

The protocol has no acknowledgement, but the kernel tells something: how many bytes the other side has not
taken yet (SIOCOUTQ; on a unix socket: not read yet), and how the connection ended. A side that closes with
unread bytes sends a reset, so an orderly end means that everything taken was read (RFC 9293, 3.6.1; RFC 2525,
2.17).
"""

from __future__ import annotations

import contextlib
import fcntl
import select
import socket
import struct
import time

from dbaudit.core.db_conns import AuditProtocol, DbConnsSettings
from dbaudit.core.errors import ErrorCode, TransientError

_SIOCOUTQ = 0x5411
_CONNECT_SECONDS = 5.0
_SILENCE_MILLISECONDS = 30_000
_KEEPALIVE_SECONDS = 15
_TCP_INFO_BYTES = 232
_ROUNDING_BYTES = 4096


class Listener:
    """An open connection. ``written`` counts the bytes given to the kernel since it was opened."""

    def __init__(self, settings: DbConnsSettings) -> None:
        self._local = settings.audit_protocol is AuditProtocol.LOCAL
        self._socket = _connect(settings)
        self._socket.setblocking(False)
        self.written = 0
        self._widest = self._offered()

    def send(self, data: memoryview, timeout_seconds: float) -> int:
        """Give ``data`` to the kernel; returns how many bytes it took, 0 when it took none in time.

        Raises OSError when the connection is broken.
        """
        ready = self._wait(select.POLLOUT | select.POLLIN, timeout_seconds)
        if not ready & select.POLLOUT:
            return 0
        with contextlib.suppress(BlockingIOError):
            sent = self._socket.send(data, socket.MSG_NOSIGNAL)
            self.written += sent
            self._widest = max(self._widest, self._offered())
            return sent
        return 0

    def taken(self) -> int:
        """How many written bytes the other side's kernel has taken; on a unix socket the listener itself."""
        waiting = struct.pack("i", 0)
        (unsent,) = struct.unpack("i", fcntl.ioctl(self._socket.fileno(), _SIOCOUTQ, waiting))
        return self.written - min(self.written, int(unsent)) if not self._local or unsent == 0 else 0

    def drained(self) -> bool:
        """Whether the listener seems to have read everything: its host has taken all, and offers as much room
        as it ever did. For a listener that does not close when we do.
        """
        return self.taken() == self.written and self._offered() >= self._widest - _ROUNDING_BYTES

    def _offered(self) -> int:
        """The room that the other side offers now, in bytes (tcpi_snd_wnd of tcp(7), Linux 5.4 and later)."""
        if self._local:
            return 0
        info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        if len(info) < _TCP_INFO_BYTES:
            return 0
        (room,) = struct.unpack_from("I", info, _TCP_INFO_BYTES - 4)
        return int(room)

    @property
    def taken_means_read(self) -> bool:
        """Whether ``taken`` counts what the listener has read, and not only what its host has."""
        return self._local

    def ended(self, timeout_seconds: float = 0.0) -> bool:
        """Whether the listener has closed the connection in an orderly way; whatever it says is thrown away.

        Raises OSError when the connection is broken.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            if not self._wait(select.POLLIN, max(0.0, deadline - time.monotonic())):
                return False
            with contextlib.suppress(BlockingIOError):
                if not self._socket.recv(65536):
                    return True

    def finish(self, timeout_seconds: float) -> bool:
        """Close our direction and wait for the listener to close its own; True when it did so in time.

        True means that it has read everything. Raises OSError when the connection is broken.
        """
        self._socket.shutdown(socket.SHUT_WR)
        return self.ended(timeout_seconds)

    def close(self) -> None:
        """Give the connection up."""
        self._socket.close()

    def _wait(self, wanted: int, timeout_seconds: float) -> int:
        waiting = select.poll()
        waiting.register(self._socket, wanted)
        found = waiting.poll(timeout_seconds * 1000)
        if found and found[0][1] & select.POLLERR:
            error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            raise OSError(error, "the connection is broken")
        return found[0][1] if found else 0


def _connect(settings: DbConnsSettings) -> socket.socket:
    try:
        if settings.audit_protocol is AuditProtocol.LOCAL:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(_CONNECT_SECONDS)
            try:
                connection.connect(settings.audit_address)
            except OSError:
                connection.close()
                raise
            return connection
        address = (settings.audit_address, settings.audit_port or 0)
        connection = socket.create_connection(address, timeout=_CONNECT_SECONDS)
    except OSError as error:
        raise unreachable(settings, error) from None
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENCE_MILLISECONDS)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_SECONDS)
    return connection


def unreachable(settings: DbConnsSettings, error: OSError) -> TransientError:
    """The listener cannot be reached, or not any more: with its address, the reason, and what to look at."""
    address = settings.audit_address
    if settings.audit_protocol is AuditProtocol.TCP:
        address = f"[{address}]" if ":" in address else address
        address = f"{address}:{settings.audit_port}"
    reason = "it does not answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
    return TransientError(
        ErrorCode.LISTENER_UNREACHABLE,
        f"The listener {address} cannot be reached: {reason}.",
        remedy="Start the listener, or change the settings with PUT /v1/cluster/auditing/db_conns.",
    )
