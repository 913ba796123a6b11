"""The listening socket of the API: made once, so that it outlives a restart of the process that serves it."""

from __future__ import annotations

import socket

from dbaudit.core.errors import ConfigurationError, ErrorCode

_BACKLOG = 128
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # compared, not bound


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises ConfigurationError with address and reason."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        family, address = found[0], found[4]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ConfigurationError(
            ErrorCode.CONFIGURATION_INVALID,
            f"The API cannot listen on {host}:{port}: {error.strerror or error}.",
            remedy="Give another --host or --port (0 takes a free one), or stop what listens there.",
        ) from None
    return listener


def url_of(listener: socket.socket, *, tls: bool, local: bool) -> str:
    """The URL of ``listener``; ``local`` gives one that this host can reach, whatever it is bound to."""
    host, port = listener.getsockname()[:2]
    if local:
        host = _EVERYWHERE.get(host, host)
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
