"""Networks and expiries of keys: one way of writing, and no address let in that is outside."""

from __future__ import annotations

import ipaddress

import pytest
from dbaudit.core.clock import now_us
from dbaudit.core.key_bounds import expiry_us, is_narrower, is_within, normal_network, tags_problem


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.7", "10.0.0.7/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:DB8:0:0::/32", "2001:db8::/32"),
        ("::1", "::1/128"),
        ("::/0", "::/0"),
        ("fe80::/10", "fe80::/10"),
    ],
)
def test_a_network_has_one_way_of_writing(written: str, normal: str) -> None:
    assert normal_network(written) == normal
    assert normal_network(normal) == normal


@pytest.mark.parametrize(
    ("written", "remedy"),
    [
        ("10.0.0.1/8", "10.0.0.0/8, or 10.0.0.1/32"),
        ("2001:db8::1/32", "2001:db8::/32, or 2001:db8::1/128"),
        ("::ffff:10.0.0.0/104", "write it as 10.0.0.0/8"),
        ("::ffff:10.0.0.1", "write it as 10.0.0.1/32"),
        *(
            (text, "such as 10.1.0.0/16")
            for text in (
                *("", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10/8", "010.0.0.0/8", "10.0.0.0/8 "),
                *("10.0.0.0/255.0.0.0", "10.0.0.0/0.255.255.255", "167772160", "a.example", "::/129"),
                *("fe80::%eth0/64", "1\u0660.0.0.0/8", "10.0.0.0/\u0668"),
            )
        ),
    ],
)
def test_what_is_no_network_is_refused_with_what_would_be_right(written: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy.replace(".", r"\.").replace("(", r"\(")):
        normal_network(written)


@pytest.mark.parametrize(
    ("address", "networks", "inside"),
    [
        ("10.1.2.3", ("10.0.0.0/8",), True),
        ("11.1.2.3", ("10.0.0.0/8",), False),
        ("11.1.2.3", ("10.0.0.0/8", "11.1.2.3/32"), True),
        ("::ffff:10.1.2.3", ("10.0.0.0/8",), True),
        ("::ffff:11.1.2.3", ("10.0.0.0/8",), False),
        ("::ffff:10.1.2.3", ("::/0",), False),
        ("10.1.2.3", ("::/0",), False),
        ("2001:db8::5", ("0.0.0.0/0",), False),
        ("2001:db8::5", ("2001:db8::/32",), True),
        ("fe80::1%eth0", ("fe80::/10",), True),
        ("", ("0.0.0.0/0", "::/0"), False),
        ("/run/api.sock", ("0.0.0.0/0", "::/0"), False),
    ],
)
def test_an_address_is_inside_only_where_it_really_is(
    address: str, networks: tuple[str, ...], inside: bool
) -> None:
    assert is_within(address, networks) is inside


@pytest.mark.parametrize(
    ("networks", "than", "narrower"),
    [
        ((), (), True),
        (("10.0.0.0/8",), (), True),
        ((), ("10.0.0.0/8",), False),
        (("10.1.0.0/16",), ("10.0.0.0/8",), True),
        (("10.0.0.0/8",), ("10.1.0.0/16",), False),
        (("10.1.0.0/16", "11.0.0.0/8"), ("10.0.0.0/8",), False),
        (("10.1.0.0/16", "2001:db8::/32"), ("10.0.0.0/8", "2001::/16"), True),
        (("::/0",), ("0.0.0.0/0",), False),
        (("0.0.0.0/0",), ("::/0",), False),
    ],
)
def test_networks_are_narrower_only_when_every_address_is_in_the_others(
    networks: tuple[str, ...], than: tuple[str, ...], narrower: bool
) -> None:
    assert is_narrower(networks, than) is narrower


def test_networks_are_the_same_as_the_library_says_for_many_addresses() -> None:
    for number in range(0, 2**32, 2**27 - 12345):
        address = ipaddress.IPv4Address(number)
        for prefix in (0, 1, 8, 17, 31, 32):
            network = ipaddress.ip_network((number, prefix), strict=False)
            inside = ipaddress.IPv4Address("100.64.3.2") in network
            assert is_within("100.64.3.2", (normal_network(str(network)),)) is inside
            assert is_within(str(address), (str(network),))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "2126-01-31",
        "21260131",
        "2126-W05-1",
        "2001-01-01T00:00:00Z",
        "9999-12-31T23:59:59-14:00",
    ],
)
def test_an_expiry_is_a_time_to_come(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        expiry_us(text)


def test_an_expiry_without_a_zone_is_utc() -> None:
    assert expiry_us("2126-01-31T12:00:00") == expiry_us("2126-01-31T13:00:00+01:00") > now_us()


def test_tags_go_with_the_scopes_of_databases_and_events_alone() -> None:
    assert tags_problem(["read:databases", "write:databases", "test:databases", "read:events"], ["a"]) is None
    assert tags_problem(["admin"], []) is None
    for scope in ("admin", "view_cluster_info", "update_cluster"):
        assert scope in str(tags_problem(["read:events", scope], ["a"]))
