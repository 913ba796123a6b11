"""A declaration, or the server that it names, gets of the agent's host only what the agent allows."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dbaudit.core.database import SslMode, Target
from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.core.host_limits import HostLimits, HostUse, form_problem, is_listen_address
from dbaudit.core.secret import Secret
from dbaudit.engine import host_access
from dbaudit.engine.host_access import listed, may_read, open_local, reading, real_path, within
from dbaudit.engine.local_files import LocalLog
from dbaudit.engine.manager import load_engines
from dbaudit.engine.measuring import free_ratio

ENGINES = load_engines().installed
MARKED = [
    (name, option, schema["x-host"])
    for name, found in ENGINES.items()
    for option, schema in found.engine.options_schema["properties"].items()
    if "x-host" in schema
]


def declared(host: str = "127.0.0.1", **options: Any) -> Target:
    return Target(
        database_id="db_1",
        host=host,
        port=1,
        database="d",
        username="u",
        password=Secret("p"),
        ssl_mode=SslMode.REQUIRE,
        options=options,
    )


def refusal(act: Callable[[], object]) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as refused:
        act()
    assert refused.value.code is ErrorCode.HOST_ACCESS_REFUSED
    assert refused.value.remedy
    return refused.value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that is allowed; beside it is another one."""
    (tmp_path / "elsewhere" / "sub").mkdir(parents=True)
    (tmp_path / "elsewhere" / "secret").write_text("secret")
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs"


@pytest.fixture
def limits(folder: Path) -> HostLimits:
    return HostLimits(local_paths=(str(folder),))


def test_every_engine_marks_its_options_of_the_host() -> None:
    assert {(name, option): use for name, option, use in MARKED} == {
        ("postgresql", "log_directory"): "path",
        ("postgresql", "log_file"): "path",
        ("mysql", "audit_file"): "path",
        ("mariadb", "audit_file"): "path",
        ("mariadb", "syslog_file"): "path",
        ("mongodb", "log_path"): "path",
        ("mongodb", "audit_log_path"): "path",
        ("redis_enterprise", "socket_path"): "path",
        ("sqlserver", "odbc_driver"): "driver",
    }


@pytest.mark.parametrize(("engine", "option", "use"), MARKED)
def test_a_marked_option_is_refused_alike_whether_or_not_the_file_exists(
    engine: str, option: str, use: str, limits: HostLimits
) -> None:
    schema = ENGINES[engine].engine.options_schema
    messages = set()
    for path in ("/etc/passwd", "/etc/nobody-has-this"):
        error = refusal(lambda path=path: within(declared(**{option: path}), schema, limits))  # type: ignore[misc]  # bound at once
        assert [detail.pointer for detail in error.details] == [f"/audit_options/engine/{option}"]
        assert ("local_paths" if use == "path" else "odbc_drivers") in (error.remedy or "")
        messages.add((error.message.replace(path, "PATH"), error.remedy))
    assert len(messages) == 1


@pytest.mark.parametrize(("engine", "option", "use"), [mark for mark in MARKED if mark[2] == "path"])
def test_a_path_below_an_allowed_folder_is_allowed_and_only_there(
    engine: str, option: str, use: str, folder: Path, limits: HostLimits
) -> None:
    schema = ENGINES[engine].engine.options_schema
    (folder / "out").symlink_to(folder.parent / "elsewhere")
    assert within(declared(**{option: f"{folder}/audit.log"}), schema, limits).limits == limits
    for path in (
        f"{folder}/out/secret",
        f"{folder}/../elsewhere/secret",
        f"{folder}/new/../../elsewhere/secret",
        f"{folder}-of-another/audit.log",
        f"/etc/../{folder}/audit.log",
        f"{folder}/audit\0.log",
        "audit.log",
    ):
        refusal(lambda path=path: within(declared(**{option: path}), schema, limits))  # type: ignore[misc]  # bound at once


def test_a_mark_inside_of_lists_objects_and_alternatives_counts(limits: HostLimits) -> None:
    path = {"type": "string", "x-host": "path"}
    schema = {
        "type": "object",
        "$defs": {"file": path},
        "properties": {
            "files": {"type": "array", "items": {"$ref": "#/$defs/file"}},
            "more": {"type": "object", "additionalProperties": path},
            "either": {"anyOf": [{"type": "null"}, path]},
        },
    }
    for options, pointer in (
        ({"files": ["/etc/passwd"]}, "/files/0"),
        ({"more": {"a": "/etc/passwd"}}, "/more/a"),
        ({"either": "/etc/passwd"}, "/either"),
    ):
        error = refusal(lambda options=options: within(declared(**options), schema, limits))  # type: ignore[misc]  # bound at once
        assert [detail.pointer for detail in error.details] == [f"/audit_options/engine{pointer}"]
    within(declared(either=None, files=[]), schema, limits)


def test_a_driver_is_registered_or_named_by_the_agent(limits: HostLimits) -> None:
    schema = ENGINES["sqlserver"].engine.options_schema
    named = HostLimits(odbc_drivers=("Vendor 5=/opt/vendor/libodbc.so",))
    for allowed in ("FreeTDS", "ODBC Driver 18 for SQL Server"):
        within(declared(odbc_driver=allowed), schema, limits)
    for name in ("Vendor 5", "/opt/vendor/libodbc.so"):
        target = within(declared(odbc_driver=name), schema, named)
        assert host_access.driver(name, target.limits) == "/opt/vendor/libodbc.so"
    for refused in ("/opt/vendor/libodbc2.so", "libodbc.so", "libodbc.so.2", "../x", "a\nb"):
        refusal(lambda refused=refused: within(declared(odbc_driver=refused), schema, named))  # type: ignore[misc]  # bound at once


@pytest.mark.parametrize(
    ("host", "listed_addresses", "allowed"),
    [
        ("127.0.0.1", HostLimits().listen_addresses, True),
        ("localhost", HostLimits().listen_addresses, True),
        ("::1", HostLimits().listen_addresses, True),
        ("::ffff:127.0.0.1", HostLimits().listen_addresses, True),
        ("0.0.0.0", HostLimits().listen_addresses, False),
        ("::", HostLimits().listen_addresses, False),
        ("::ffff:0.0.0.0", HostLimits().listen_addresses, False),
        ("0x0", HostLimits().listen_addresses, False),
        ("agent.example.com", HostLimits().listen_addresses, False),
        ("10.0.0.5", ("10.0.0.5",), True),
        ("10.0.0.5", ("10.0.0.0/24",), True),
        ("10.0.1.5", ("10.0.0.0/24",), False),
        ("0.0.0.0", ("10.0.0.0/24",), False),
        ("0.0.0.0", ("0.0.0.0",), True),
        ("0.0.0.0", ("0.0.0.0/0",), True),
        ("::", ("0.0.0.0/0",), False),
        ("Agent.example.com", ("agent.example.com",), True),
    ],
)
def test_redis_enterprise_listens_only_where_the_agent_allows(
    host: str, listed_addresses: tuple[str, ...], allowed: bool
) -> None:
    schema = ENGINES["redis_enterprise"].engine.options_schema
    limits = HostLimits(listen_addresses=listed_addresses)
    for options in ({}, {"protocol": "TCP"}):
        if allowed:
            within(declared(host, **options), schema, limits)
        else:
            error = refusal(lambda options=options: within(declared(host, **options), schema, limits))  # type: ignore[misc]  # bound at once
            assert [detail.pointer for detail in error.details] == ["/host"]


def test_the_host_of_a_unix_socket_declaration_is_not_listened_on(folder: Path, limits: HostLimits) -> None:
    schema = ENGINES["redis_enterprise"].engine.options_schema
    within(declared("0.0.0.0", protocol="local", socket_path=f"{folder}/s"), schema, limits)


def test_other_engines_reach_any_host_but_no_socket_elsewhere(folder: Path, limits: HostLimits) -> None:
    schema = ENGINES["postgresql"].engine.options_schema
    within(declared("10.9.8.7"), schema, limits)
    within(declared(str(folder)), schema, limits)
    refusal(lambda: within(declared("/run/elsewhere"), schema, limits))


def test_what_is_opened_is_checked_by_its_real_path(folder: Path, limits: HostLimits) -> None:
    (folder / "audit.log").write_text("records")
    (folder / "current").symlink_to(folder / "audit.log")
    (folder / "out").symlink_to(folder.parent / "elsewhere" / "secret")
    for name in ("audit.log", "current"):
        with reading(folder / name, limits) as file:
            assert file.read() == b"records"
        assert may_read(folder / name, limits)
    for path in (folder / "out", folder.parent / "elsewhere" / "secret", folder.parent / "no", "a\0b"):
        refusal(lambda path=path: open_local(path, limits))  # type: ignore[misc]  # bound at once
        refusal(lambda path=path: real_path(path, limits))  # type: ignore[misc]  # bound at once
        assert not may_read(path, limits)
        assert free_ratio(path, limits) is None
    refusal(lambda: listed(folder.parent, limits).__enter__())
    with listed(folder, limits) as entries:
        assert sorted(entry.name for entry in entries) == ["audit.log", "current", "out"]


def test_a_name_of_several_lines_is_refused_in_one(limits: HostLimits) -> None:
    error = refusal(lambda: real_path("/etc/a\nERROR forged\x1b[31m" + 9000 * "x", limits))
    assert error.message.isprintable()
    assert len(error.message) < 1200


def test_a_link_that_is_put_there_after_the_check_gives_nothing(
    folder: Path, limits: HostLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "server").symlink_to(folder.parent / "elsewhere")
    (folder / "out").symlink_to(folder.parent / "elsewhere" / "secret")
    before = len(list(Path("/proc/self/fd").iterdir()))
    # As if both had been no links yet when the path was looked at.
    monkeypatch.setattr("os.path.realpath", os.fspath)
    refusal(lambda: open_local(folder / "server" / "secret", limits))
    refusal(lambda: listed(folder / "server" / "sub", limits).__enter__())
    with pytest.raises(OSError, match="symbolic links"):
        open_local(folder / "out", limits)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_an_allowed_folder_that_becomes_a_link_later_allows_nothing_new(folder: Path) -> None:
    limits = host_access.settled(HostLimits(local_paths=(str(folder),)))
    folder.rmdir()
    folder.symlink_to(folder.parent / "elsewhere")
    refusal(lambda: open_local(folder / "secret", limits))


def test_an_allowed_folder_may_be_a_link_itself(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    (folder / "audit.log").write_text("records")
    limits = host_access.settled(HostLimits(local_paths=(str(tmp_path / "link"),)))
    for path in (folder / "audit.log", tmp_path / "link" / "audit.log"):
        os.close(open_local(path, limits))


def test_a_log_is_followed_only_where_the_agent_allows_it(folder: Path, limits: HostLimits) -> None:
    (folder / "audit.log").write_text("a record\n")
    inside = LocalLog(folder / "audit.log", remedy="", limits=limits)
    position = inside.first_position(beginning=True)
    assert inside.read(position, 1000).data == b"a record\n"
    inside.close()
    for name in ("secret", "missing"):
        outside = LocalLog(folder.parent / "elsewhere" / name, remedy="", limits=limits)
        refusal(lambda outside=outside: outside.first_position(beginning=True))  # type: ignore[misc]  # bound at once
    (folder / "link.log").symlink_to(folder.parent / "elsewhere" / "secret")
    linked = LocalLog(folder / "link.log", remedy="", limits=limits)
    refusal(lambda: linked.first_position(beginning=True))


@pytest.mark.parametrize(
    ("use", "value", "wrong"),
    [
        (HostUse.PATH, "/var/log/a", False),
        (HostUse.PATH, "/var/log/..a", False),
        (HostUse.PATH, "var/log", True),
        (HostUse.PATH, "/var/../etc", True),
        (HostUse.DRIVER, "FreeTDS", False),
        (HostUse.DRIVER, "/usr/lib/libtdsodbc.so", True),
        (HostUse.ADDRESS, "0.0.0.0", False),
    ],
)
def test_the_form_of_a_value_needs_no_agent(use: HostUse, value: str, wrong: bool) -> None:
    assert (form_problem(use, value) is not None) is wrong


@pytest.mark.parametrize(
    ("text", "good"),
    [("10.0.0.5", True), ("10.0.0.0/24", True), ("::", True), ("agent.example.com", True),
     ("10.0.0.5/24", False), ("10.0.0.300", False), ("fe80::/200", False)],
)  # fmt: skip
def test_a_wrong_listen_address_is_noticed_when_the_agent_starts(text: str, good: bool) -> None:
    assert is_listen_address(text) is good
