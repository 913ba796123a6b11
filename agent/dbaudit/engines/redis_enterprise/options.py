"""The engine's own audit options: `audit_options.engine` of a Redis Enterprise cluster."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

import msgspec

from dbaudit.core.db_conns import LONGEST_SOCKET_PATH, AuditProtocol
from dbaudit.engine.options import read_options, wrong_option

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_MOST_NETWORKS = 512
_MOST_CONNECTIONS = 100_000
_LEAST_RECORD_BYTES = 1024
_MOST_RECORD_BYTES = 16 * 1024 * 1024


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of one cluster; OPTIONS_SCHEMA describes them."""

    protocol: AuditProtocol = AuditProtocol.TCP
    socket_path: str | None = None
    allowed_addresses: tuple[str, ...] = ()
    max_connections: int = 1000
    max_record_bytes: int = 1024 * 1024

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """Raises ConfigurationError naming the option that is wrong."""
        options = read_options(given, cls)
        if options.protocol is AuditProtocol.LOCAL:
            _check_socket_path(options.socket_path)
        elif options.socket_path is not None:
            raise wrong_option(
                "/socket_path", "is for protocol local; with TCP, host and port say where to listen"
            )
        if not 1 <= options.max_connections <= _MOST_CONNECTIONS:
            raise wrong_option("/max_connections", f"must be from 1 to {_MOST_CONNECTIONS}")
        if not _LEAST_RECORD_BYTES <= options.max_record_bytes <= _MOST_RECORD_BYTES:
            raise wrong_option(
                "/max_record_bytes", f"must be from {_LEAST_RECORD_BYTES} to {_MOST_RECORD_BYTES}"
            )
        options.networks()
        return options

    def networks(self) -> tuple[Network, ...]:
        """``allowed_addresses`` as networks. Raises ConfigurationError naming the one that is wrong."""
        networks = []
        for place, text in enumerate(self.allowed_addresses):
            try:
                networks.append(ipaddress.ip_network(text))
            except ValueError as error:
                raise wrong_option(f"/allowed_addresses/{place}", f"is no address or CIDR: {error}") from None
        return tuple(networks)


OPTIONS_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    # The declared host is where the agent listens, but for the protocol of unix sockets.
    "if": {"properties": {"protocol": {"const": "local"}}, "required": ["protocol"]},
    "else": {"x-host": "address"},
    "additionalProperties": False,
    "properties": {
        "protocol": {
            "enum": [protocol.value for protocol in AuditProtocol],
            "default": AuditProtocol.TCP.value,
            "description": (
                "How the notifications come, in the words of the cluster's `audit_protocol`: `TCP`, on the "
                "declared host and port, or `local`, on the unix socket `socket_path`."
            ),
        },
        "socket_path": {
            "type": "string",
            "x-host": "path",
            "pattern": "^/",
            "maxLength": LONGEST_SOCKET_PATH,
            "description": (
                "For protocol local: the absolute path of the stream socket that the agent makes, with mode "
                "0660. The cluster's account needs the group of the agent's, and access to the folder."
            ),
        },
        "allowed_addresses": {
            "type": "array",
            "items": {"type": "string"},
            "maxItems": _MOST_NETWORKS,
            "default": [],
            "description": (
                "Addresses and CIDRs that may send, such as `10.0.0.0/24`: those of the cluster's nodes, as "
                "this host sees them. Where none is given, only this host itself may."
            ),
        },
        "max_connections": {
            "type": "integer",
            "minimum": 1,
            "maximum": _MOST_CONNECTIONS,
            "default": 1000,
            "description": (
                "Connections at once; a node makes one for each worker of its proxy. When there are more, "
                "those that have never sent a record are closed first."
            ),
        },
        "max_record_bytes": {
            "type": "integer",
            "minimum": _LEAST_RECORD_BYTES,
            "maximum": _MOST_RECORD_BYTES,
            "default": 1024 * 1024,
            "description": "A notification that is longer is put aside with its first 4096 bytes.",
        },
    },
}


def _check_socket_path(path: str | None) -> None:
    if path is None:
        raise wrong_option("/socket_path", "is missing; protocol local needs it")
    if not path.startswith("/"):
        raise wrong_option("/socket_path", "must be an absolute path, such as /run/dbaudit/db_conns.sock")
    if "\0" in path or len(path.encode("utf-8", "surrogatepass")) > LONGEST_SOCKET_PATH:
        raise wrong_option(
            "/socket_path", f"must have no character NUL and {LONGEST_SOCKET_PATH} bytes at the most"
        )
