"""A connection to the listener, and what can be known of what it has read.

The protocol has no acknowledgement, but the kernel knows how many bytes the other side has not taken yet
(SIOCOUTQ; on a unix socket: not read yet), and how the connection ended. A side that closes with unread bytes
sends a reset, so an orderly end means that everything taken was read (RFC 9293, 3.6.1; RFC 2525, 2.17; on a
unix socket it is ECONNRESET). A side that calls shutdown(2) before it has read everything cannot be detected,
unless it closes soon after and the reset follows.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import socket
import stat
import struct
import time
from pathlib import Path

from dbaudit.core.db_conns import AuditProtocol, DbConnsSettings
from dbaudit.core.errors import ConfigurationError, ErrorCode, TransientError
from dbaudit.core.host_limits import HostLimits
from dbaudit.engine.host_access import real_path

_SIOCOUTQ = 0x5411
_CONNECT_SECONDS = 5.0
_SILENCE_MILLISECONDS = 30_000
_KEEPALIVE_SECONDS = 10
_KEEPALIVE_PROBES = 3
# struct tcp_info of linux/tcp.h
_TCP_INFO_BYTES = 232
_RETRANSMITS, _PROBES, _LAST_ACK_MILLISECONDS, _SEND_WINDOW = 2, 3, 56, 228
_ROUNDING_BYTES = 4096
_RESET_MAY_FOLLOW_SECONDS = 0.1


class Listener:
    """An open connection. ``written`` counts the bytes given to the kernel since it was opened.

    Making one takes as long as the name server does. Raises TransientError (`listener_unreachable`).
    """

    def __init__(self, settings: DbConnsSettings, limits: HostLimits) -> None:
        self._local = settings.audit_protocol is AuditProtocol.LOCAL
        self._socket = _connect(settings, limits)
        self._socket.setblocking(False)
        self.written = 0
        self._finished = False
        self._taken_at_end: int | None = None
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
        """How many written bytes the other side's kernel has taken; on a unix socket the listener itself.

        Raises OSError when the connection is broken.
        """
        if self._taken_at_end is not None:
            return self._taken_at_end
        waiting = struct.pack("i", 0)
        (unsent,) = struct.unpack("i", fcntl.ioctl(self._socket.fileno(), _SIOCOUTQ, waiting))
        if not self._local:
            return self.written - min(self.written, int(unsent))
        # There it counts the kernel's memory, not bytes, and is 0 as well when the listener died with them.
        self._wait(0, 0.0)
        return 0 if unsent else self.written

    @property
    def taken_means_read(self) -> bool:
        """Whether ``taken`` counts what the listener has read, and not only what its host has."""
        return self._local

    def drained(self) -> bool:
        """Whether the listener seems to have read everything: its host has taken all, and offers as much room
        as it ever did. For a listener that does not close when we do.
        """
        offered = self._offered()
        self._widest = max(self._widest, offered)
        return self.taken() == self.written and offered >= self._widest - _ROUNDING_BYTES

    def require_life(self) -> None:
        """Raises TimeoutError when the listener's host has been silent for long though we asked.

        A listener that only does not read is alive: its host answers. (TCP_USER_TIMEOUT would end that, too.)
        """
        if self._local:
            return
        info = self._tcp_info()
        (since_ack,) = struct.unpack_from("I", info, _LAST_ACK_MILLISECONDS)
        if since_ack > _SILENCE_MILLISECONDS and (info[_RETRANSMITS] or info[_PROBES] > 1):
            raise TimeoutError

    def ended(self, timeout_seconds: float = 0.0) -> bool:
        """Whether the listener has closed the connection in an orderly way; whatever it says is thrown away.

        Raises OSError when the connection is broken.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            left_seconds = deadline - time.monotonic()
            if not self._wait(select.POLLIN, max(0.0, left_seconds)):
                return False
            with contextlib.suppress(BlockingIOError):
                if not self._socket.recv(65536):
                    self._end()
                    return True
            if left_seconds < 0:
                return False

    def _end(self) -> None:
        if self._taken_at_end is None:
            self._taken_at_end = self.taken()
            if not self._finished:
                self._wait(0, _RESET_MAY_FOLLOW_SECONDS)

    def finish(self) -> None:
        """Close our direction; when the listener then ends the connection, it has read everything.

        Raises OSError when the connection is broken.
        """
        self._socket.shutdown(socket.SHUT_WR)
        self._finished = True

    def close(self) -> None:
        """Close the connection; the kernel still sends what it has."""
        self._socket.close()

    def reset(self) -> None:
        """Close the connection and discard everything that the listener's host has not taken yet."""
        if not self._local:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def _offered(self) -> int:
        """The room that the other side offers now, in bytes."""
        return 0 if self._local else int(struct.unpack_from("I", self._tcp_info(), _SEND_WINDOW)[0])

    def _tcp_info(self) -> bytes:
        info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        return info.ljust(_TCP_INFO_BYTES, b"\0")  # before Linux 5.4 it is shorter

    def _wait(self, wanted: int, timeout_seconds: float) -> int:
        waiting = select.poll()
        waiting.register(self._socket, wanted)
        found = waiting.poll(timeout_seconds * 1000)
        if found and found[0][1] & select.POLLERR:
            error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            raise OSError(error, os.strerror(error) if error else "the connection is broken")
        return found[0][1] if found else 0


def _connect(settings: DbConnsSettings, limits: HostLimits) -> socket.socket:
    try:
        if settings.audit_protocol is AuditProtocol.LOCAL:
            path = real_path(settings.audit_address, limits)
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(_CONNECT_SECONDS)
            try:
                connection.connect(path)
            except OSError:
                connection.close()
                raise
            return connection
        address = (settings.audit_address, settings.audit_port or 0)
        connection = socket.create_connection(address, timeout=_CONNECT_SECONDS)
        if connection.getsockname() == connection.getpeername():
            # No program listens, and the kernel chose the same port as ours: TCP connects us to ourselves.
            connection.close()
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    except (OSError, UnicodeError) as error:
        raise unreachable(settings, error) from None
    except ConfigurationError as error:
        raise TransientError(ErrorCode.LISTENER_UNREACHABLE, error.message, remedy=error.remedy) from None
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_PROBES)
    return connection


def unreachable(settings: DbConnsSettings, error: Exception) -> TransientError:
    """No connection can be made."""
    return failure(settings, f"cannot be reached: {_reason(settings, error)}")


def broken(settings: DbConnsSettings, error: OSError) -> TransientError:
    """The connection did not end in an orderly way, so it is not known how much of it was read."""
    if isinstance(error, TimeoutError):
        return unreachable(settings, error)
    return failure(settings, "breaks connections before it has read everything")


def failure(settings: DbConnsSettings, what: str) -> TransientError:
    """What is wrong with the listener, after its address, and what to look at."""
    address = settings.audit_address
    if settings.audit_protocol is AuditProtocol.TCP:
        address = f"[{address}]" if ":" in address else address
        address = f"{address}:{settings.audit_port}"
    return TransientError(
        ErrorCode.LISTENER_UNREACHABLE,
        f"The listener {address} {what}.",
        remedy="Start the listener, or change the settings with PUT /v1/cluster/auditing/db_conns.",
    )


def _reason(settings: DbConnsSettings, error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, BlockingIOError):
        return "it does not accept any connection more"
    if settings.audit_protocol is AuditProtocol.LOCAL and isinstance(error, ConnectionRefusedError):
        with contextlib.suppress(OSError):
            if not stat.S_ISSOCK(Path(settings.audit_address).stat().st_mode):
                return "the path is not a socket"
        return "nobody listens at this socket"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
