"""Where the agent listens: a TCP address or a unix socket, bound without taking another program's."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

import msgspec

from dbaudit.core.database import Target
from dbaudit.core.db_conns import AuditProtocol
from dbaudit.core.errors import ConfigurationError, DbauditError, ErrorCode, TransientError
from dbaudit.engine.host_access import real_path
from dbaudit.engines.redis_enterprise.options import Options

_SOCKET_MODE = 0o660
_BACKLOG = 512
_PROBE_SECONDS = 1.0
_KEEPALIVE = {socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 6}


class Place(msgspec.Struct, frozen=True):
    """A place to listen at. ``path`` is None for TCP."""

    host: str
    port: int
    path: str | None = None

    @classmethod
    def of(cls, target: Target, options: Options) -> Place:
        """The address from the options. Raises ConfigurationError if the agent allows no socket there."""
        if options.protocol is AuditProtocol.LOCAL:
            return cls("", 0, real_path(options.socket_path or "", target.limits))
        return cls(target.host, target.port)

    def __str__(self) -> str:
        if self.path is not None:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Door:
    """A socket bound to a place; from ``listen`` on others can connect."""

    def __init__(self, place: Place) -> None:
        """Raises ConfigurationError, or TransientError if another process listens there now."""
        self.place = place
        self.listening = False
        self._inode: tuple[int, int] | None = None
        self.socket = _bound_tcp(place) if place.path is None else _bound_unix(place, place.path)
        if place.path is not None:
            status = Path(place.path).lstat()
            self._inode = (status.st_dev, status.st_ino)

    def listen(self) -> None:
        """Accept connections. Raises TransientError if another process listens there now."""
        try:
            self.socket.listen(_BACKLOG)
        except OSError as error:
            raise _cannot_bind(self.place, error) from None
        self.listening = True

    def close(self) -> None:
        """Never raises; removes the socket's file if it is still this one."""
        with contextlib.suppress(OSError):
            self.socket.close()
        if self.place.path is not None and self._inode is not None:
            with contextlib.suppress(OSError):
                status = Path(self.place.path).lstat()
                if (status.st_dev, status.st_ino) == self._inode:
                    Path(self.place.path).unlink()
            self._inode = None


def keep_alive(connection: socket.socket) -> None:
    """Let the kernel detect within two minutes a sender that is gone without closing its connection."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE.items():
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


def _bound_tcp(place: Place) -> socket.socket:
    try:
        found = socket.getaddrinfo(
            place.host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(
            ErrorCode.HOST_NOT_FOUND,
            f"The host {place.host} has no address: {_words(error)}.",
            remedy="Give an address of the agent's own host, or 0.0.0.0 for all of them.",
        ) from None
    family, kind, protocol, _name, address = found[0]
    door = socket.socket(family, kind, protocol)
    try:
        # For the port of an agent that has just ended; a port on which a program listens stays refused.
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        door.setblocking(False)
        door.bind(address)
    except OSError as error:
        door.close()
        raise _cannot_bind(place, error) from None
    return door


def _bound_unix(place: Place, path: str) -> socket.socket:
    _remove_stale(place, path)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        door.setblocking(False)
        door.bind(path)
        # No client can connect before listen().
        Path(path).chmod(_SOCKET_MODE)
    except OSError as error:
        door.close()
        raise _cannot_bind(place, error) from None
    return door


def _remove_stale(place: Place, path: str) -> None:
    """Remove the socket of an agent that was killed, but no socket in use and no other file."""
    try:
        mode = Path(path).lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise _cannot_bind(place, error) from None
    if not stat.S_ISSOCK(mode):
        raise ConfigurationError(
            ErrorCode.CONFIGURATION_INVALID,
            f"{path} is there and is no socket; it was left as it is.",
            remedy="Choose another socket_path, or remove that file.",
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                Path(path).unlink()
            return
        except FileNotFoundError:
            return
        except OSError as error:
            raise _cannot_bind(place, error) from None
    raise _in_use(place)


def _cannot_bind(place: Place, error: OSError) -> DbauditError:
    match error.errno:
        case errno.EADDRINUSE:
            return _in_use(place)
        case errno.EACCES | errno.EPERM:
            remedy = "Choose a port from 1024 on, or give the agent the capability CAP_NET_BIND_SERVICE."
            if place.path is not None:
                remedy = f"Let the agent's account write to {Path(place.path).parent}."
            return ConfigurationError(
                ErrorCode.PERMISSION_MISSING, f"The agent may not listen on {place}.", remedy=remedy
            )
        case errno.EADDRNOTAVAIL:
            return ConfigurationError(
                ErrorCode.CONFIGURATION_INVALID,
                f"{place.host} is no address of the agent's host, so that it cannot listen there.",
                remedy="Give an address of the agent's own host, or 0.0.0.0 for all of them.",
            )
        case errno.ENOENT | errno.ENOTDIR:
            return ConfigurationError(
                ErrorCode.CONFIGURATION_INVALID,
                f"The folder of {place} is not there.",
                remedy=f"mkdir -p {os.path.dirname(place.path or '')}",  # noqa: PTH120  # as it was written
            )
    return TransientError(
        ErrorCode.CONFIGURATION_INVALID, f"The agent cannot listen on {place}: {_words(error)}."
    )


def _in_use(place: Place) -> TransientError:
    return TransientError(
        ErrorCode.CONFIGURATION_INVALID,
        f"Another process listens on {place}: another program, or another agent that collects this already.",
        remedy="Choose another port or socket_path, or end the other program.",
    )


def _words(error: OSError | UnicodeError) -> str:
    text = error.strerror if isinstance(error, OSError) else None
    return (text or str(error) or type(error).__name__).rstrip(".")
