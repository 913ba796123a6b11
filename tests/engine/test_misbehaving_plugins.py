"""Whatever a plugin does, the others go on, and a user of the API sees what happened and to whom."""

from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from dbaudit import Client
from dbaudit.api import create_app
from dbaudit.cli.service import describe
from dbaudit.core.database import AuditOptions, Database
from dbaudit.engine import Chunk
from dbaudit.sdk import InvalidRequestError

from tests.agent.conftest import Installation
from tests.agent.unruly import Hanging, raising
from tests.api.conftest import Api
from tests.cli.running import Up, new_key
from tests.servers.processes import wait_for

UNMASKED = AuditOptions(mask_sensitive_data=False)
CALL_SECONDS = 0.5


@pytest.fixture
def dbaudit(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path)
    try:
        yield installation
    finally:
        installation.close()


@pytest.fixture
def api(dbaudit: Installation) -> Api:
    return Api(create_app(dbaudit.state, engines=describe(dbaudit.registry)), dbaudit.state)


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    """Requested last, so that it ends before the agent does."""
    hanging = Hanging()
    try:
        yield hanging
    finally:
        hanging.end()


def status(api: Api, database: Database) -> dict[str, Any]:
    found: dict[str, Any] = api.request("GET", f"/v1/databases/{database.id}/status").get_json()
    return found


def wait_for_words(api: Api, database: Database, words: str) -> dict[str, Any]:
    """The status once its last error has ``words``."""

    def told() -> bool:
        shown = status(api, database)
        error = shown["collector"]["last_error"]
        return error is not None and words in error["message"] and shown["status_code"] is not None

    wait_for(told, f"the error {words!r}")
    return status(api, database)


# -- the engine's calls


@pytest.mark.parametrize("call", ["open", "test", "read"])
@pytest.mark.parametrize("error", [ValueError("wrong"), SystemExit(3)], ids=["an exception", "SystemExit"])
def test_plugin_that_raises_is_shown_at_its_database_and_the_other_is_collected(
    dbaudit: Installation, api: Api, call: str, error: BaseException
) -> None:
    dbaudit.unruly.instead[call] = raising(error)
    dbaudit.orderly.source = ["select 1"]
    broken, other = dbaudit.declare(), dbaudit.declare("orderly", audit_options=UNMASKED)
    dbaudit.start()
    shown = wait_for_words(api, broken, f"failed in {call}()")
    assert shown["connection_status"] == "error"
    assert shown["status_code"] == shown["collector"]["last_error"]["code"] == "engine_failed"
    assert type(error).__name__ in shown["status_reason"]
    dbaudit.wait_for_active(other)
    assert status(api, other)["collector"]["last_error"] is None
    assert dbaudit.queries(other) == ["select 1"]


@pytest.mark.parametrize("call", ["open", "test", "read"])
def test_plugin_that_never_returns_is_shown_at_its_database_and_the_other_is_collected(
    dbaudit: Installation, api: Api, hanging: Hanging, call: str
) -> None:
    dbaudit.unruly.instead[call] = hanging
    dbaudit.orderly.source = ["select 1"]
    stuck, other = dbaudit.declare(), dbaudit.declare("orderly", audit_options=UNMASKED)
    dbaudit.start(call_seconds=CALL_SECONDS, shutdown_seconds=1.0)
    shown = wait_for_words(api, stuck, f"has not returned from {call}()")
    assert shown["connection_status"] == "error"
    assert shown["status_code"] == "engine_failed"
    dbaudit.wait_for_active(other)
    assert dbaudit.queries(other) == ["select 1"]


def test_plugin_that_raises_in_the_middle_of_a_batch_loses_and_repeats_nothing(
    dbaudit: Installation, api: Api
) -> None:
    dbaudit.unruly.source = [f"select {number}" for number in range(10)]
    dbaudit.unruly.chunk_records = 3
    reads: list[Chunk | None] = [None, None, None]

    def fails_after_some() -> Chunk | None:
        if not reads:
            raise ValueError("in the middle")
        return reads.pop()

    dbaudit.unruly.instead["read"] = fails_after_some
    database = dbaudit.declare(audit_options=UNMASKED)
    dbaudit.start()
    shown = wait_for_words(api, database, "failed in read()")
    assert shown["connection_status"] == "error"
    assert dbaudit.queries(database) == [f"select {number}" for number in range(9)]
    dbaudit.unruly.instead.clear()
    dbaudit.wait_for_active(database)
    dbaudit.wait_until(lambda: len(dbaudit.queries(database)) == 10, "the rest")
    assert dbaudit.queries(database) == dbaudit.unruly.source
    assert status(api, database)["collector"]["last_error"] is None


def test_records_that_the_plugin_cannot_decode_are_counted_where_the_api_shows_it(
    dbaudit: Installation, api: Api
) -> None:
    dbaudit.unruly.source = ["select 1", "poison", "select 2", "poison"]
    database = dbaudit.declare(audit_options=UNMASKED)
    dbaudit.start()
    dbaudit.wait_for_active(database)
    assert dbaudit.queries(database) == ["select 1", "select 2"]
    assert status(api, database)["collector"]["rejected"] == 2


# -- the plugin as a whole

GOOD = """
    import time
    from dbaudit.engine import *

    class Engine_(Engine):
        type = NAME
        display_name = "A clock"
        default_port = 1
        supported_versions = ("1",)
        capabilities = frozenset({Capability.QUERIES})
        dialect = Dialect.POSTGRESQL

        def driver_status(self):
            return DriverStatus("none", version="1")

        def open(self, target):
            return Session_()

        def decode(self, records):
            return Decoded([AuditEvent(str(n), EventType.QUERY, n, query="tick") for n in records])

    class Session_(Session):
        def test(self):
            return TestReport(reachable=True, success=True)

        def health(self):
            return Health(measured_at_us=time.time_ns() // 1000)

        def read(self, cursor, limit_bytes):
            return Chunk(records=[time.time_ns() // 1000], cursor={"v": 1, "at": time.time_ns()})

        def close(self):
            pass

    @hookimpl
    def dbaudit_engines():
        yield Engine_()
"""
BROKEN = {
    "import": "raise RuntimeError('the wrong moon')",
    "registration": "from dbaudit.engine import hookimpl\n"
    "@hookimpl\ndef dbaudit_engines():\n    raise RuntimeError('the wrong moon')",
}


def install(folder: Path, name: str, source: str) -> None:
    """As pip leaves it: one module, its metadata, one entry point."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[dbaudit]\n{name} = {name}_plugin\n")
    (folder / f"{name}_plugin.py").write_text(source)


def declare(client: Client, name: str, engine_type: str) -> str:
    made = client.databases.create(
        name=name, type=engine_type, host=name, port=1, database="d", username="u", password="p"
    )
    return made.id


def running(home: Path, plugins: Path) -> Up:
    return Up(home, "--port", "0", PYTHONPATH=str(plugins), PYTHONDONTWRITEBYTECODE="1")


def test_plugin_that_breaks_with_an_upgrade_is_shown_with_its_reason_and_the_others_go_on(
    tmp_path: Path,
) -> None:
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    for name in ("moon", *BROKEN):
        install(plugins, name, f"NAME = {name!r}\n{dedent(GOOD)}")
    home = tmp_path / "home"
    with running(home, plugins) as up:
        up.until_ready()
        with Client(api_url=up.url, api_key=new_key(home)) as client:
            ids = {name: declare(client, name, name) for name in ("moon", *BROKEN)}
            for identifier in ids.values():
                wait_for(lambda i=identifier: client.databases.get(i).audit_status == "active", "collecting")
        assert up.end() == 0
    for name, broken in BROKEN.items():
        install(plugins, name, broken)
    with running(home, plugins) as up:
        up.until_ready()
        with Client(api_url=up.url, api_key=new_key(home)) as client:
            for name in BROKEN:
                wait_for(lambda n=name: client.databases.get(ids[n]).status == "error", "the error")
                shown = client.databases.get_status(ids[name])
                assert shown.status_code == "engine_unknown"
                assert f"{name} is broken: RuntimeError: the wrong moon" in shown.status_reason
                with pytest.raises(InvalidRequestError) as refused:
                    declare(client, f"another-{name}", name)
                assert [(d.pointer, "the wrong moon" in d.message) for d in refused.value.details] == [
                    ("/type", True)
                ]
            before = client.databases.get_status(ids["moon"]).last_event.timestamp
            wait_for(
                lambda: client.databases.get_status(ids["moon"]).last_event.timestamp > before, "an event"
            )
        assert up.end() == 0
