"""What a declaration may use of the agent's own host: its files, its ODBC drivers, its addresses.

The agent's configuration says it. An API key cannot change it: otherwise it could have any library loaded
into the agent, and find out which files there are.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from dbaudit.core.errors import ConfigurationError, ErrorCode, FieldError

KEYWORD = "x-host"
"""The keyword by which the schema of an engine's options marks an option as one of the agent's host."""


class HostUse(StrEnum):
    """What the value of a marked option is."""

    PATH = "path"
    """The absolute path of a file or folder that is read, or of a unix socket that is made."""
    DRIVER = "driver"
    """The name of an ODBC driver."""
    ADDRESS = "address"
    """An address that the agent listens on. At an object: the declared `host` is that address."""


SETTINGS = {
    HostUse.PATH: "local_paths",
    HostUse.DRIVER: "odbc_drivers",
    HostUse.ADDRESS: "listen_addresses",
}
"""The setting of the agent's configuration that allows more."""


class HostLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent's configuration allows; the defaults are those of an agent without a configuration.

    ``local_paths`` are folders, ``odbc_drivers`` drivers beyond the registered ones, each as
    `NAME=/path/of/the/library`, and ``listen_addresses`` addresses, CIDRs and host names.
    """

    local_paths: tuple[str, ...] = (
        "/var/log",
        "/var/lib/mongo",
        "/var/lib/mongodb",
        "/var/lib/mysql",
        "/var/lib/pgsql",
        "/var/lib/postgresql",
        "/run/audit",
        "/run/dbaudit",
        "/run/mysqld",
        "/run/postgresql",
    )
    odbc_drivers: tuple[str, ...] = ()
    listen_addresses: tuple[str, ...] = ("127.0.0.0/8", "::1", "localhost")

    def drivers(self) -> dict[str, str]:
        """The path of each driver of ``odbc_drivers`` by its name."""
        return {name: path for name, _equals, path in (entry.partition("=") for entry in self.odbc_drivers)}

    def allows_listening(self, host: str) -> bool:
        """Whether ``host``, an address or a name, is one of ``listen_addresses``. A name has to be named."""
        address = _address(host)
        if address is None:
            return host.lower() in (entry.lower() for entry in self.listen_addresses)
        networks = (_network(entry) for entry in self.listen_addresses)
        return any(network is not None and address in network for network in networks)

    def refused(self, use: HostUse, what: str, pointer: str = "") -> ConfigurationError:
        """The error that ``what`` is not allowed. It is the same for what exists and for what does not."""
        # A server may name anything: it stays one line.
        what = "".join(c if c.isprintable() else "?" for c in what[:_SHOWN_CHARACTERS])
        where = f"{pointer.strip('/').replace('/', '.')}: " if pointer else ""
        return ConfigurationError(
            ErrorCode.HOST_ACCESS_REFUSED,
            f"{where}{what} is not {_WANTED[use]} that the configuration of the agent allows.",
            details=[FieldError(pointer, f"is not {_WANTED[use]} that the agent allows")] if pointer else (),
            remedy=f"{_INSTEAD[use]} ({_listed(getattr(self, SETTINGS[use]))}), or allow it by the setting "
            f"{SETTINGS[use]} in the configuration of the agent (DBAUDIT_{SETTINGS[use].upper()}).",
        )


_SHOWN_CHARACTERS = 1024
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")
_WANTED = {
    HostUse.PATH: "below a folder",
    HostUse.DRIVER: "a driver",
    HostUse.ADDRESS: "an address",
}
_INSTEAD = {
    HostUse.PATH: "Name a file that is, by its real path, below a folder of local_paths",
    HostUse.DRIVER: "Name a driver that is registered in odbcinst.ini or a name of odbc_drivers",
    HostUse.ADDRESS: "Name an address of listen_addresses",
}


def form_problem(use: HostUse, value: str) -> str | None:
    """What is wrong with the value of a marked option whatever the agent allows; None where nothing is."""
    if use is HostUse.PATH and (
        not value.startswith("/") or ".." in value.split("/") or _CONTROL_CHARACTER.search(value)
    ):
        return "must be an absolute path without .. and control characters in it"
    if use is HostUse.DRIVER and (not value.isprintable() or "/" in value or ".so" in value.lower()):
        return (
            "must be the name of a registered driver and no path; the configuration of the agent gives "
            "names to others (odbc_drivers)"
        )
    return None


def is_listen_address(text: str) -> bool:
    """Whether ``text`` can stand in ``listen_addresses``."""
    return _network(text) is not None or not ("/" in text or ":" in text or text[:1].isdigit())


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # Who listens on ::ffff:10.0.0.5 listens on 10.0.0.5.
    return getattr(address, "ipv4_mapped", None) or address


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


def _listed(allowed: Sequence[str]) -> str:
    return ", ".join(allowed) or "which is empty"
