"""Settings for sending connection events: what is sound, what is refused, and by which code."""

from __future__ import annotations

from typing import Any

import pytest
from dbaudit.core.db_conns import CONNECTION_EVENTS, AuditProtocol, DbConnsSettings, merged
from dbaudit.core.errors import ErrorCode, RequestError
from dbaudit.state.schema import OF_CONNECTIONS

TCP = {"audit_protocol": "TCP", "audit_address": "10.0.0.7", "audit_port": 7000}
LOCAL = {"audit_protocol": "local", "audit_address": "/run/audit.sock"}


def refused(stored: DbConnsSettings | None, given: dict[str, Any]) -> RequestError:
    with pytest.raises(RequestError) as caught:
        merged(stored, given)
    return caught.value


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "::1",
        "2001:db8::7",
        "fe80::1%eth0",
        "localhost",
        "audit-sink.example.com",
        "Listener.Example.COM.",
        "under_score",
        "xn--bcher-kva.example",
    ],
)
def test_names_and_addresses_of_both_families_are_taken_as_they_are_written(address: str) -> None:
    assert merged(None, TCP | {"audit_address": address}).audit_address == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        " ",
        "10.0.0.256",
        "10.0.0",
        "10.0.0.7:7000",
        "[::1]",
        "::g",
        "a b",
        "-a.example",
        "a..b",
        "http://listener",
        "/run/audit.sock",
        "listener/",
        "bücher.example",
        "a" * 64 + ".example",
        "a." * 127,
        "listener\n",
    ],
)
def test_what_is_no_host_is_a_bad_address_with_tcp(address: str) -> None:
    assert refused(None, TCP | {"audit_address": address}).code is ErrorCode.DB_CONNS_BAD_ADDRESS


@pytest.mark.parametrize(
    "path", ["/s", "/run/audit.sock", "/run/with blank/sock", "/run/höher", "/" + "x" * 106, "/" + "é" * 53]
)
def test_an_absolute_path_of_up_to_107_bytes_is_taken_with_local(path: str) -> None:
    settings = merged(None, LOCAL | {"audit_address": path})
    assert settings.audit_address == path
    assert settings.audit_port is None


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/run/",
        "run/audit.sock",
        "~/audit.sock",
        "10.0.0.7",
        "/run/a\nb",
        "/" + "x" * 107,
        "/" + "é" * 54,
    ],
)
def test_what_is_no_path_of_a_socket_is_a_bad_address_with_local(path: str) -> None:
    assert refused(None, LOCAL | {"audit_address": path}).code is ErrorCode.DB_CONNS_BAD_ADDRESS


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "audit_protocol"),
        ({"audit_address": "10.0.0.7", "audit_port": 7000}, "audit_protocol"),
        ({"audit_protocol": "TCP", "audit_port": 7000}, "audit_address"),
        ({"audit_protocol": "TCP", "audit_address": "10.0.0.7"}, "audit_port"),
        ({"audit_protocol": "local"}, "audit_address"),
    ],
)
def test_a_missing_field_is_named(given: dict[str, Any], field: str) -> None:
    error = refused(None, given)
    assert error.code is ErrorCode.DB_CONNS_INCOMPLETE
    assert error.message.startswith(f"{field} is missing")


def test_a_socket_has_no_port() -> None:
    error = refused(None, LOCAL | {"audit_port": 7000})
    assert error.code is ErrorCode.DB_CONNS_INVALID
    assert "audit_port" in error.message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("audit_port", 0),
        ("audit_port", -1),
        ("audit_port", 65536),
        ("audit_port", "7000"),
        ("audit_reconnect_interval", 0),
        ("audit_reconnect_interval", -5),
        ("audit_reconnect_interval", 1.5),
        ("audit_reconnect_interval", 1 << 40),
        ("audit_reconnect_max_attempts", -1),
        ("audit_reconnect_max_attempts", None),
        ("audit_protocol", "UDP"),
        ("audit_protocol", "tcp"),
        ("audit_protocol", "LOCAL"),
    ],
)
def test_a_value_out_of_its_range_is_bad_config_and_named(field: str, value: Any) -> None:
    error = refused(None, TCP | {field: value})
    assert error.code is ErrorCode.DB_CONNS_INVALID
    assert field in error.message


def test_what_is_not_given_has_the_defaults_of_the_specification() -> None:
    assert merged(None, TCP) == DbConnsSettings(
        audit_protocol=AuditProtocol.TCP,
        audit_address="10.0.0.7",
        audit_port=7000,
        audit_reconnect_interval=1,
        audit_reconnect_max_attempts=0,
    )


def test_a_change_keeps_what_it_does_not_name() -> None:
    stored = merged(None, TCP | {"audit_reconnect_interval": 9, "audit_reconnect_max_attempts": 3})
    changed = merged(stored, {"audit_port": 7001})
    assert changed == DbConnsSettings(
        audit_protocol=AuditProtocol.TCP,
        audit_address="10.0.0.7",
        audit_port=7001,
        audit_reconnect_interval=9,
        audit_reconnect_max_attempts=3,
    )
    assert merged(stored, {}) == stored
    assert merged(stored, {"audit_protocol": "TCP"}) == stored


def test_another_protocol_drops_address_and_port_and_keeps_the_rest() -> None:
    tcp = merged(None, TCP | {"audit_reconnect_interval": 9})
    local = merged(tcp, LOCAL)
    assert (local.audit_port, local.audit_address, local.audit_reconnect_interval) == (
        None,
        "/run/audit.sock",
        9,
    )
    assert merged(local, TCP) == tcp
    assert refused(tcp, {"audit_protocol": "local"}).code is ErrorCode.DB_CONNS_INCOMPLETE
    assert refused(local, TCP | {"audit_port": None}).code is ErrorCode.DB_CONNS_INCOMPLETE
    assert refused(tcp, LOCAL | {"audit_port": 7000}).code is ErrorCode.DB_CONNS_INVALID


def test_the_index_of_connection_events_has_the_types_that_are_sent() -> None:
    assert f"type IN ({', '.join(repr(word.value) for word in CONNECTION_EVENTS)})" == OF_CONNECTIONS
