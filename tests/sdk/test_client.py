"""The SDK against the real API: the specification's examples, pages, errors, following."""

from __future__ import annotations

import itertools
import logging
import pickle
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import dbaudit
import pytest
from dbaudit import sdk
from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.core.report import Diagnosis, DiagnosisStatus, TestReport
from dbaudit.core.secret import Secret
from dbaudit.state import State
from dbaudit.state.api_keys import Scope
from dbaudit.state.wakeup import Topic

from tests.patience import PATIENCE_SECONDS
from tests.sdk.conftest import DATABASE, PASSWORD, Api, serving
from tests.servers.processes import wait_for

Create = Callable[..., sdk.Database]

# The SDK section of the public API reference, word for word; only the id of the database is put in.
EXAMPLES = Path(__file__).with_name("reference_page.txt").read_text()


def test_the_examples_of_the_specification_run_as_they_are_written(
    api: Api, create: Create, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    existing = create(name="Orders")
    monkeypatch.setenv("DBAUDIT_API_URL", api.url)
    monkeypatch.setenv("DBAUDIT_API_KEY", api.key)
    names: dict[str, object] = {}
    example = EXAMPLES.partition("Python\n")[2].partition("Node.js\n")[0]
    exec(example.replace("db_abc123", existing.id), names)
    assert capsys.readouterr().out == "Orders: pending\nEvents per second: 0.0\n"
    made = names["new_db"]
    assert isinstance(made, sdk.Database)
    assert (made.name, made.status, made.ssl_mode) == ("Production PostgreSQL", "pending", "verify-full")


def test_a_list_goes_over_all_pages_and_every_filter_counts(client: dbaudit.Client, create: Create) -> None:
    made = [
        create(name=f"db {number}", tags=["even"] if number % 2 == 0 else ["odd"]) for number in range(205)
    ]
    listed = client.databases.list()
    assert [database.id for database in listed] == [database.id for database in made]
    assert [database.id for database in listed] == [database.id for database in made]
    assert next(listed.pages()).total == 205
    assert len(list(client.databases.list(tags=["even"]))) == 103
    assert [database.id for database in client.databases.list(name="db 7")] == [made[7].id]
    assert [database.id for database in client.databases.list(host=made[9].host)] == [made[9].id]
    assert list(client.databases.list(status="connected")) == []
    assert list(client.databases.list(type="mysql")) == []


def test_a_database_is_made_read_changed_and_removed(client: dbaudit.Client, create: Create) -> None:
    made = create(tags=["a"], audit_options={"retention_days": 7}, password=Secret(PASSWORD))
    assert made.audit_options.retention_days == 7
    got = client.databases.get(made.id)
    assert got.stats is not None
    assert got.stats.events_today == 0
    assert got.created_at.utcoffset() is not None
    changed = client.databases.update(made.id, name="renamed", tags=["b", "c"])
    assert (changed.name, changed.tags) == ("renamed", ("b", "c"))
    assert changed.audit_options.retention_days == 7
    client.databases.delete(made.id)
    with pytest.raises(sdk.NotFoundError) as missing:
        client.databases.get(made.id)
    assert missing.value.status == 404
    assert missing.value.code is ErrorCode.NOT_FOUND
    assert missing.value.request_id


def test_a_test_gives_the_report_of_an_agent(api: Api, client: dbaudit.Client, create: Create) -> None:
    database = create()
    remedy = "GRANT pg_monitor TO dbaudit_reader"
    report = TestReport(
        reachable=True,
        success=False,
        latency_ms=1.5,
        version="PostgreSQL 16.1",
        permissions={"select": True, "pg_monitor": False},
        diagnoses=(Diagnosis("permission_pg_monitor", DiagnosisStatus.FAILED, "It is missing.", remedy),),
    )
    with api.agent(report):
        found = client.databases.test(database.id)
    assert (found.success, found.version, found.latency_ms) == (False, "PostgreSQL 16.1", 1.5)
    assert found.permissions == {"select": True, "pg_monitor": False}
    assert found.diagnoses[0].remedy == remedy
    assert remedy in found.warnings[0]


def test_a_database_that_was_not_reached_raises_with_the_report_and_is_not_stored(
    api: Api, client: dbaudit.Client, create: Create
) -> None:
    database = create()
    report = TestReport(
        reachable=False, success=False, error_code="authentication_failed", error="The password is wrong."
    )
    with api.agent(report):
        with pytest.raises(sdk.ConnectionTestFailedError) as failed:
            client.databases.test(database.id)
        assert failed.value.report.error_code == "authentication_failed"
        assert failed.value.status == 422
        with pytest.raises(sdk.ConnectionTestFailedError):
            create(name="not stored", verify=True)
    assert [found.name for found in client.databases.list()] == [database.name]


def test_every_kind_of_refusal_has_its_class(api: Api, client: dbaudit.Client, create: Create) -> None:
    made = create()
    with pytest.raises(sdk.InvalidRequestError) as invalid:
        create(port=0)
    assert invalid.value.code is ErrorCode.VALIDATION_FAILED
    assert [detail.pointer for detail in invalid.value.details] == ["/port"]
    with pytest.raises(TypeError, match="colour"):
        create(colour="red")
    with pytest.raises(sdk.DatabaseExistsError) as conflict:
        client.databases.create(**{**DATABASE, "host": made.host})
    assert conflict.value.code is ErrorCode.DATABASE_EXISTS
    assert isinstance(conflict.value, sdk.ConflictError)
    with pytest.raises(sdk.NoAgentAvailableError) as unavailable:
        client.databases.test(made.id)
    assert unavailable.value.code is ErrorCode.NO_AGENT_AVAILABLE
    with (
        dbaudit.Client(api_url=api.url, api_key=f"dbaudit_live_{PASSWORD}") as stranger,
        pytest.raises(sdk.UnauthorizedError) as unauthorized,
    ):
        stranger.databases.get(made.id)
    assert PASSWORD not in str(unauthorized.value)
    narrow_key = api.key_with(Scope.READ_EVENTS)
    with (
        dbaudit.Client(api_url=api.url, api_key=narrow_key) as narrow,
        pytest.raises(sdk.ForbiddenError) as forbidden,
    ):
        narrow.databases.get(made.id)
    assert "read:databases" in forbidden.value.message


@pytest.mark.parametrize("identifier", ["../health/live", "a/b", "?", "db_ä", "%2e%2e", "#"])
def test_an_identifier_cannot_lead_to_another_path(client: dbaudit.Client, identifier: str) -> None:
    with pytest.raises(sdk.ApiError) as refused:
        client.databases.get(identifier)
    assert refused.value.status in (400, 404)


def test_events_are_listed_over_all_pages_and_read_one_by_one(
    api: Api, client: dbaudit.Client, create: Create
) -> None:
    database = create()
    api.store(database.id, *(f"select {number} from t" for number in range(25)))
    listed = list(client.events.list(database_id=database.id, order="oldest", page_size=10))
    assert [event.query for event in listed] == [f"select {number} from t" for number in range(25)]
    newest = list(itertools.islice(client.events.list(database_id=database.id, page_size=10), 3))
    assert newest == listed[:-4:-1]
    assert client.events.get(listed[3].id) == listed[3]
    narrow = client.events.list(query_contains="SELECT 7 ", type=["database.query"], user="app")
    assert [event.query for event in narrow] == ["select 7 from t"]
    fourth = listed[4].timestamp
    within = client.events.list(database_id=database.id, start_date=fourth, end_date=fourth)
    assert [event.query for event in within] == ["select 4 from t"]
    assert list(client.events.list(type="user.login_failed")) == []


def test_following_begins_at_the_call_and_can_be_resumed(
    api: Api, client: dbaudit.Client, create: Create
) -> None:
    database = create()
    api.store(database.id, "select before")
    stream = client.events.follow(database_id=database.id)
    api.store(database.id, "select one", "select two")
    assert next(iter(stream)).query == "select one"
    assert next(iter(stream)).query == "select two"
    api.store(database.id, "select three")
    assert next(iter(stream)).query == "select three"
    again = client.events.follow(database_id=database.id, cursor=stream.cursor)
    assert "select three" in [event.query for event in itertools.islice(again, 1)]
    everything = client.events.follow(database_id=database.id, cursor=None)
    assert [event.query for event in itertools.islice(everything, 4)] == [
        "select before",
        "select one",
        "select two",
        "select three",
    ]


def test_following_outlives_an_outage_of_the_api_and_gives_each_event_once(state: State) -> None:
    key = state.api_keys.create("tests", (Scope.ADMIN,))[1].reveal()
    away = threading.Event()
    found: list[str | None] = []
    listener = socket.create_server(("127.0.0.1", 0))
    with serving(state, key, listener) as api:
        client = dbaudit.Client(api_url=api.url, api_key=key)
        database = client.databases.create(**DATABASE)
        stream = client.events.follow(database_id=database.id, on_outage=lambda error: away.set())

        def follow() -> None:
            found.extend(event.query for event in itertools.islice(stream, 3))

        following = threading.Thread(target=follow)
        following.start()
        api.store(database.id, "select one")
        wait_for(
            lambda: found == ["select one"] and api.server.room.waiting(Topic.EVENTS) > 0, "following again"
        )
    assert away.wait(PATIENCE_SECONDS)
    with listener, serving(state, key, listener) as api:
        api.store(database.id, "select two", "select three")
        following.join(PATIENCE_SECONDS)
    client.close()
    assert found == ["select one", "select two", "select three"]


def test_no_secret_is_in_what_a_client_shows_or_logs(
    api: Api, create: Create, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = dbaudit.Client(api_url=api.url, api_key=api.key)
    create()
    shown = [repr(client), str(client), repr(vars(client)), repr(vars(client.databases))]
    with pytest.raises(sdk.InvalidRequestError) as refused:
        client.databases.create(**{**DATABASE, "port": "x"})
    shown += [repr(refused.value), str(refused.value), repr(vars(refused.value))]
    assert api.url in repr(client)
    for text in (*shown, caplog.text):
        assert api.key not in text
        assert PASSWORD not in text
    with pytest.raises(TypeError):
        pickle.dumps(client)
    client.close()


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8080",
        "ftp://127.0.0.1",
        f"http://user:{PASSWORD}@127.0.0.1",
        "http://127.0.0.1?key=x",
        "http://",
        "http://127.0.0.1:99999",
        "http://[::1",
    ],
)
def test_an_address_that_is_none_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        dbaudit.Client(api_url=url, api_key="x")
    assert refused.value.code is ErrorCode.CONFIGURATION_INVALID
    assert PASSWORD not in f"{refused.value.message}{refused.value.remedy}"


def test_without_an_address_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DBAUDIT_API_URL", raising=False)
    with pytest.raises(ConfigurationError) as refused:
        dbaudit.Client(api_key="x")
    assert "DBAUDIT_API_URL" in str(refused.value.remedy)


def test_the_base_url_of_the_specification_with_its_version_works(api: Api) -> None:
    with dbaudit.Client(api_url=f"{api.url}/v1", api_key=api.key) as client:
        assert list(client.databases.list()) == []
