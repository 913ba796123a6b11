"""What a key of the API may be bound to beside its scopes: a time, networks, tags of databases."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from dbaudit.core.clock import now_us, parse_time, to_us

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MOST_NETWORKS = 50
MOST_TAGS = 50
_TAG_CHARACTERS = 64
_TAG = re.compile(r"(?! )[^,\x00-\x1f\x7f]+(?<! )")
_DATE = re.compile(r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}|[0-9]{4}-?W[0-9]{2}-?[0-9]")
_PREFIX = re.compile(r"[0-9]{1,3}")
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
BEYOND_DATABASES = ("view_cluster_info", "update_cluster", "admin")
"""The scopes that reach more than single databases: a key with tags cannot have them."""


def expiry_us(text: str) -> int:
    """The time after which a key is refused, in microseconds since the epoch; without a zone it is UTC.

    Raises ValueError with what is wrong and what would be right.
    """
    try:
        if _DATE.fullmatch(text):
            raise ValueError("a date without a time")
        moment = to_us(parse_time(text))
    except (ValueError, OverflowError):
        raise ValueError("must be a time in ISO 8601, such as 2026-01-31T12:00:00Z") from None
    if moment <= now_us():
        raise ValueError("must be later than now; revoke a key to end it at once")
    return moment


def normal_network(text: str) -> str:
    """The one way of writing a network in CIDR notation; a single address is the network of itself.

    Raises ValueError with what is wrong and what would be right.
    """
    address, slash, prefix = text.partition("/")
    try:
        if "%" in address or (slash and not _PREFIX.fullmatch(prefix)):
            raise ValueError("neither CIDR notation nor an address")
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("must be a network such as 10.1.0.0/16 or 2001:db8::/32") from None
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        inner = ipaddress.ip_network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
        raise ValueError(f"is a network of IPv4 in the form of IPv6; write it as {inner}")
    if slash and ipaddress.ip_address(address) != network.network_address:
        alone = f"{ipaddress.ip_address(address)}/{network.max_prefixlen}"
        raise ValueError(f"has bits behind its prefix; write {network}, or {alone} for the one address")
    return str(network)


def normal_networks(texts: Iterable[str]) -> tuple[str, ...]:
    """Networks in one form, each once, in the order given. Raises ValueError as ``normal_network``."""
    return tuple(dict.fromkeys(map(normal_network, texts)))


@lru_cache(maxsize=1000)
def is_within(address: str, networks: tuple[str, ...]) -> bool:
    """Whether ``address``, that of a TCP peer, is in one of ``networks``.

    An IPv4 address in its IPv6 form, as a socket for both has it, is an IPv4 address. What is no address (the
    peer of a unix socket) is in no network.
    """
    try:
        peer = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:
        peer = peer.ipv4_mapped
    return any(peer in ipaddress.ip_network(network) for network in networks)


def is_narrower(networks: Sequence[str], than: Sequence[str]) -> bool:
    """Whether every address in ``networks`` is in ``than`` too; no networks mean every address."""
    if not than:
        return True
    wide = [ipaddress.ip_network(network) for network in than]
    return bool(networks) and all(
        any(_contains(outer, ipaddress.ip_network(network)) for outer in wide) for network in networks
    )


def _contains(outer: Network, inner: Network) -> bool:
    if isinstance(outer, ipaddress.IPv4Network) and isinstance(inner, ipaddress.IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(outer, ipaddress.IPv6Network) and isinstance(inner, ipaddress.IPv6Network):
        return inner.subnet_of(outer)
    return False


def tag_problem(tag: str) -> str | None:
    """What is wrong with a tag of databases, as the document of the API has it; None where nothing is."""
    if 1 <= len(tag) <= _TAG_CHARACTERS and _TAG.fullmatch(tag):
        return None
    return (
        f"must be 1 to {_TAG_CHARACTERS} characters without comma, control characters, and spaces at its ends"
    )


def tags_problem(scopes: Iterable[str], tags: Sequence[str]) -> str | None:
    """Why a key with these scopes cannot be bound to ``tags``; None where it can."""
    beyond = [scope for scope in BEYOND_DATABASES if scope in scopes]
    if not tags or not beyond:
        return None
    return f"cannot bind a key with the scope {beyond[0]}, which reaches more than databases; leave out one"
