"""What the methods give: results that do not change, previews, versions, keys, and the service itself."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from datetime import UTC, datetime

import dbaudit
import httpx
import msgspec
import pytest
from dbaudit import sdk
from dbaudit.core.errors import ConfigurationError
from dbaudit.core.report import TestReport

from tests.sdk.conftest import DATABASE, PASSWORD, Api

Create = Callable[..., sdk.Database]


def test_a_result_cannot_be_changed_at_any_depth(client: dbaudit.Client, create: Create) -> None:
    made = create(tags=["a"], audit_options={"engine": {"log_directory": "/var/log"}})
    with pytest.raises(AttributeError):
        made.name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        made.audit_options.engine["log_directory"] = "/"
    with pytest.raises(TypeError):
        made.audit_options.engine.update(x=1)
    assert isinstance(made.tags, tuple)
    assert msgspec.json.decode(msgspec.json.encode(made))["audit_options"]["engine"] == {
        "log_directory": "/var/log"
    }
    assert copy.deepcopy(made) == pickle.loads(pickle.dumps(made)) == made


def test_previews_tell_what_would_change_and_change_nothing(client: dbaudit.Client, create: Create) -> None:
    assert client.databases.preview_create(**DATABASE).diff.after["password"] == "********"
    made = create()
    plan = client.databases.preview_update(made.id, name="renamed", password="another")
    assert (plan.changed, plan.diff.password_changed) == (True, True)
    assert (plan.diff.before["name"], plan.diff.after["name"]) == (made.name, "renamed")
    assert client.databases.preview_delete(made.id).changed
    assert [database.name for database in client.databases.list()] == [made.name]


def test_a_list_is_applied_whole_or_not_at_all(client: dbaudit.Client) -> None:
    entries = [{**DATABASE, "name": f"n{number}", "host": f"h{number}.example.com"} for number in range(3)]
    assert client.databases.apply(entries, dry_run=True).changed
    done = client.databases.apply(entries)
    assert [result.action for result in done.results] == ["created"] * 3
    assert not client.databases.apply(entries).changed
    with pytest.raises(sdk.ValidationFailedError) as refused:
        client.databases.apply([{"name": "n0", "tags": ["x"]}, {**entries[1], "port": 0}])
    assert [detail.pointer for detail in refused.value.details] == ["/databases/1/port"]
    assert client.databases.apply([entries[0]], prune={"limit": 2}).pruned[0].action == "removed"
    with pytest.raises(sdk.PruneLimitExceededError):
        client.databases.apply([{**DATABASE, "name": "new", "host": "new.example.com"}], prune={"limit": 0})
    assert [database.name for database in client.databases.list()] == ["n0"]


def test_a_change_of_what_somebody_else_has_changed_is_refused(
    client: dbaudit.Client, create: Create
) -> None:
    seen = client.databases.get(create().id)
    client.databases.update(seen.id, name="first", if_match=seen.etag)
    with pytest.raises(sdk.ConflictError):
        client.databases.update(seen.id, name="second", if_match=seen.etag)
    with pytest.raises(sdk.ConflictError):
        client.databases.delete(seen.id, if_match=seen.etag)
    assert client.databases.get(seen.id).name == "first"


def test_the_same_idempotency_key_gives_the_same_database(client: dbaudit.Client) -> None:
    first = client.databases.create(**DATABASE, idempotency_key="once")
    assert client.databases.create(**DATABASE, idempotency_key="once").id == first.id
    with pytest.raises(sdk.DatabaseExistsError):
        client.databases.create(**DATABASE)


def test_a_lost_answer_to_an_addition_is_asked_for_again(api: Api) -> None:
    class Losing(httpx.HTTPTransport):
        lost = 0

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            response = super().handle_request(request)
            if request.method == "POST" and not self.lost:
                self.lost += 1
                response.close()
                raise httpx.ReadError("the connection broke", request=request)
            return response

    transport = Losing()
    http_client = httpx.Client(transport=transport)
    with dbaudit.Client(api_url=api.url, api_key=api.key, http_client=http_client) as client:
        made = client.databases.create(**DATABASE)
        assert [database.id for database in client.databases.list()] == [made.id]
    assert transport.lost == 1


def test_a_key_is_made_used_narrowed_and_revoked_and_shown_nowhere(api: Api, client: dbaudit.Client) -> None:
    made = client.keys.create(name="reader", scopes=["read:databases"])
    key = made.key.reveal()
    assert key.startswith("dbaudit_live_")
    assert key not in repr(made)
    with dbaudit.Client(api_url=api.url, api_key=made.key) as reader:
        assert list(reader.databases.list()) == []
        with pytest.raises(sdk.ForbiddenError):
            reader.keys.list()
    assert client.keys.update(made.id, name="renamed").scopes == ("read:databases",)
    end = datetime(2126, 1, 31, 12, tzinfo=UTC)
    bound = client.keys.update(made.id, expires_at=end, networks=["127.0.0.1"])
    assert (bound.expires_at, bound.networks, bound.tags) == (end, ("127.0.0.1/32",), ())
    assert client.keys.update(made.id, tags=["shop"]).tags == ("shop",)
    freed = client.keys.update(made.id, expires_at=None, networks=[], tags=[])
    assert (freed.expires_at, freed.networks, freed.tags) == (None, (), ())
    elsewhere = client.keys.create(name="x", scopes=["read:events"], networks=["192.0.2.0/24"])
    with (
        dbaudit.Client(api_url=api.url, api_key=elsewhere.key) as stranger,
        pytest.raises(sdk.ForbiddenError, match="from this address"),
    ):
        stranger.keys.list()
    client.keys.revoke(made.id)
    (found,) = [one for one in client.keys.list() if one.id == made.id]
    assert found.name == "renamed"
    assert found.revoked_at is not None


def test_settings_of_connection_events_are_set_shown_and_forgotten(client: dbaudit.Client) -> None:
    assert client.cluster.get_db_conns_auditing() is None
    made = client.cluster.put_db_conns_auditing(
        audit_protocol="TCP", audit_address="127.0.0.1", audit_port=12345
    )
    assert client.cluster.get_db_conns_auditing() == made
    assert client.cluster.get_db_conns_auditing_status().databases == ()
    assert client.cluster.put_policy(db_conns_auditing=True).db_conns_auditing
    with pytest.raises(sdk.DbConnsOnByPolicyError) as refused:
        client.cluster.delete_db_conns_auditing()
    assert refused.value.request_id
    assert not client.cluster.put_policy(db_conns_auditing=False).db_conns_auditing
    assert not client.cluster.get_policy().db_conns_auditing
    client.cluster.delete_db_conns_auditing()
    with pytest.raises(sdk.DbConnsNotFoundError):
        client.cluster.delete_db_conns_auditing()


def test_the_service_tells_of_itself_without_a_key_where_none_is_needed(api: Api) -> None:
    with dbaudit.Client(api_url=api.url) as client:
        assert client.service.live().status == "ok"
        assert client.service.ready().status == "not_ready"
        with api.agent(TestReport(reachable=True, success=True)):
            assert dict(client.service.ready().checks) == {"state": "ok", "agent": "ok"}
        assert "/v1/databases" in client.service.openapi()["paths"]
    with dbaudit.Client(api_url=api.url, api_key=api.key) as client:
        assert "# TYPE dbaudit_" in client.service.metrics()


def test_an_error_survives_another_process(client: dbaudit.Client) -> None:
    with pytest.raises(sdk.ValidationFailedError) as refused:
        client.databases.create(**{**DATABASE, "port": 0})
    copied = pickle.loads(pickle.dumps(refused.value))
    assert copied.__class__ is sdk.ValidationFailedError
    assert vars(copied) == vars(refused.value)
    assert str(copied) == str(refused.value)
    assert PASSWORD not in repr(vars(copied))


def test_variables_set_time_out_and_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBAUDIT_API_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("DBAUDIT_TIMEOUT_SECONDS", "1.5")
    monkeypatch.setenv("DBAUDIT_MAX_RETRIES", "0")
    with dbaudit.Client() as client:
        connecting = client._transport.connecting
        assert (connecting.timeout_seconds, connecting.max_retries) == (1.5, 0)
    monkeypatch.setenv("DBAUDIT_TIMEOUT_SECONDS", "soon")
    with pytest.raises(ConfigurationError, match="DBAUDIT_TIMEOUT_SECONDS"):
        dbaudit.Client()
