"""The module ``database`` against the real API."""

import json
from typing import Any

import pytest

from tests.collection.conftest import Service
from tests.collection.running import run_module
from tests.servers.certificates import CertificateAuthority, Credential

PASSWORD = "planted-password-5f1c"
SECOND_PASSWORD = "planted-password-9d3e"
SHOP = {
    "name": "shop",
    "type": "postgresql",
    "host": "pg1.example.com",
    "database": "shop",
    "username": "dbaudit",
    "password": PASSWORD,
}


class Database:
    """The module with the connection to one API and the declaration of one database."""

    def __init__(self, service: Service) -> None:
        self._connection = {"api_url": service.url, "api_key": service.key}

    def __call__(self, *, check: bool = False, **changes: Any) -> dict[str, Any]:
        arguments = {**self._connection, **SHOP, **changes}
        given = {name: value for name, value in arguments.items() if value is not None}
        return run_module("database", **given, _ansible_check_mode=check)

    def alone(self, *, check: bool = False, **arguments: Any) -> dict[str, Any]:
        return run_module("database", **self._connection, **arguments, _ansible_check_mode=check)

    def stored(self) -> list[dict[str, Any]]:
        found = run_module("database_info", **self._connection)["databases"]
        assert isinstance(found, list)
        return found


@pytest.fixture
def database(service: Service) -> Database:
    return Database(service)


def test_a_database_is_declared_once(database: Database) -> None:
    assert database(check=True)["changed"]
    assert database.stored() == []

    declared = database()
    assert declared["changed"]
    assert declared["diff"]["before"] == {}
    assert declared["diff"]["after"]["host"] == "pg1.example.com"
    (stored,) = database.stored()
    assert declared["database"] == stored
    assert stored["port"] == 5432

    for check in (False, True):
        again = database(check=check)
        assert not again["changed"]
        assert again["database"]["id"] == stored["id"]
    assert database.stored() == [stored]


def test_a_name_may_have_any_letters(database: Database) -> None:
    name = "Größe & Übersicht, 100 % — 数据库?"
    assert database(name=name)["changed"]
    assert not database(name=name)["changed"]
    assert database.alone(name=name, state="absent")["changed"]


def test_check_mode_shows_the_database_as_it_would_be(database: Database) -> None:
    assert database(check=True)["database"]["port"] == 5432
    database()
    planned = database(check=True, port=5433, tags=["b", "a"])["database"]
    applied = database(port=5433, tags=["b", "a"])["database"]
    for field in ("id", "name", "host", "port", "tags", "audit_options"):
        assert planned[field] == applied[field]


def test_only_what_differs_is_changed_and_shown(database: Database) -> None:
    database(tags=["a"], audit_options={"retention_days": 30, "capture_queries": False})

    changed = database(port=5433, audit_options={"retention_days": 60})

    assert changed["changed"]
    (stored,) = database.stored()
    assert stored["port"] == 5433
    assert stored["tags"] == ["a"]
    assert stored["audit_options"]["retention_days"] == 60
    assert stored["audit_options"]["capture_queries"] is False
    before, after = changed["diff"]["before"], changed["diff"]["after"]
    differing = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert {"port", "audit_options"} <= differing <= {"port", "audit_options", "status", "audit_status"}
    assert before["port"], after["port"] == (5432, 5433)


def test_a_task_that_does_not_mention_the_scope_leaves_it(database: Database) -> None:
    assert database()["database"]["audit_options"]["scope"] == "database"
    assert database(audit_options={"scope": "server"})["changed"]
    assert not database(audit_options={"capture_queries": True})["changed"]
    assert database(port=5433)["database"]["audit_options"]["scope"] == "server"


@pytest.mark.parametrize(
    "same",
    [
        {"host": "PG1.example.com"},
        {"tags": ["b", "a"]},
        {"ssl_mode": "require"},
        {"audit_options": {}},
        {"audit_options": {"retention_days": 90}},
        {"audit_status": "active"},
    ],
    ids=str,
)
def test_what_the_api_writes_otherwise_is_no_change(database: Database, same: dict[str, Any]) -> None:
    database(tags=["a", "b"])
    assert not database(**same)["changed"]


def test_a_changed_password_is_detected_applied_and_then_unchanged(database: Database) -> None:
    database()

    planned = database(check=True, password=SECOND_PASSWORD)
    assert planned["changed"]
    assert planned["diff"]["after"]["password_changed"] is True
    assert not database()["changed"], "check mode has stored the password"

    assert database(password=SECOND_PASSWORD)["changed"]
    assert not database(password=SECOND_PASSWORD)["changed"]
    assert not database(check=True, password=SECOND_PASSWORD)["changed"]
    assert database(check=True)["changed"]


def test_a_password_can_be_set_on_creation_only(database: Database) -> None:
    assert database(update_password="on_create")["changed"]
    assert not database(password=SECOND_PASSWORD, update_password="on_create")["changed"]
    assert not database()["changed"], "the password was overwritten"
    assert database(tags=["x"], password=SECOND_PASSWORD, update_password="on_create")["changed"]
    assert not database(tags=["x"])["changed"], "the password was overwritten"


def test_a_password_that_is_kept_back_does_not_follow_to_another_port(database: Database) -> None:
    database()
    refused = database(port=5433, update_password="on_create")
    assert "update_password: always" in refused["msg"]
    assert [one["port"] for one in database.stored()] == [5432]


def test_a_client_certificate_comes_and_goes(
    database: Database, authority: CertificateAuthority, certificate: Credential
) -> None:
    mutual = {
        "ssl_mode": "verify-full",
        "ssl_ca": authority.certificate,
        "ssl_cert": certificate.certificate,
        "ssl_key": certificate.key,
    }
    assert database()["changed"]

    planned = database(check=True, **mutual)
    assert planned["diff"]["after"]["ssl_key_changed"] is True
    assert database(**mutual)["changed"]
    assert not database(**mutual)["changed"]
    assert not database()["changed"], "what is left out has changed"

    none = {"ssl_ca": "", "ssl_cert": "", "ssl_key": ""}
    assert database(check=True, **none)["changed"]
    assert database(**none)["changed"]
    assert not database(**none)["changed"]
    (stored,) = database.stored()
    assert stored["ssl_ca"] is None
    assert stored["ssl_cert"] is None


def test_tags_are_replaced_and_taken_away(database: Database) -> None:
    database(tags=["a", "b"])
    assert database(tags=["b", "c"])["database"]["tags"] == ["b", "c"]
    assert database(tags=[])["database"]["tags"] == []
    assert not database(tags=[])["changed"]


def test_collecting_is_paused_and_goes_on(database: Database) -> None:
    assert database(audit_status="paused")["database"]["audit_status"] == "paused"
    assert not database(audit_status="paused")["changed"]
    assert not database()["changed"], "what is left out has changed"
    assert database(check=True, audit_status="active")["changed"]
    assert database(audit_status="active")["database"]["audit_status"] != "paused"
    assert not database(audit_status="active")["changed"]


def test_a_database_is_removed_once(database: Database) -> None:
    database()
    planned = database.alone(name="shop", state="absent", check=True)
    assert planned["changed"]
    assert planned["diff"]["before"]["host"] == "pg1.example.com"
    assert planned["diff"]["after"] == {}
    assert len(database.stored()) == 1

    assert database.alone(name="shop", state="absent")["changed"]
    assert database.stored() == []
    for check in (False, True):
        again = database.alone(name="shop", state="absent", check=check)
        assert not again["changed"]
        assert again["database"] is None


def test_a_database_is_removed_by_its_id(database: Database) -> None:
    identifier = database()["database"]["id"]
    assert database.alone(id=identifier, state="absent")["changed"]
    assert not database.alone(id=identifier, state="absent")["changed"]
    assert database.stored() == []


def test_a_database_is_renamed_by_its_id(database: Database) -> None:
    identifier = database()["database"]["id"]
    renamed = database.alone(id=identifier, name="store")
    assert renamed["changed"]
    assert [stored["name"] for stored in database.stored()] == ["store"]
    assert not database.alone(id=identifier, name="store")["changed"]
    assert not database.alone(id=identifier)["changed"]


def test_an_unknown_id_is_no_new_database(database: Database) -> None:
    failed = database(id="db_0000000000000000")
    assert failed["failed"]
    assert "db_0000000000000000" in failed["msg"]
    assert database.stored() == []


@pytest.mark.parametrize("state", ["present", "absent"])
def test_an_empty_id_addresses_nothing(database: Database, state: str) -> None:
    database()
    assert "id is empty" in database.alone(id="", name="shop", state=state)["msg"]
    assert len(database.stored()) == 1


def test_an_id_cannot_leave_its_place_in_the_path(database: Database) -> None:
    database()
    assert not database.alone(id="../databases?page=1#", state="absent")["changed"]
    assert len(database.stored()) == 1


def test_of_two_databases_with_one_name_none_is_chosen(database: Database) -> None:
    first = database()["database"]
    second = database.alone(**{**SHOP, "name": "other", "host": "pg2.example.com"})["database"]
    database.alone(id=second["id"], name="shop")

    failed = database(port=5433)

    assert failed["failed"]
    assert first["id"] in failed["msg"]
    assert second["id"] in failed["msg"]
    assert database.alone(id=second["id"], port=5433, password=PASSWORD)["changed"]


def test_a_second_declaration_of_the_same_database_is_refused(database: Database) -> None:
    database()
    failed = database(name="shop again")
    assert failed["failed"]
    assert failed["status"] == 409
    assert failed["error_code"] == "database_exists"
    assert len(database.stored()) == 1


def test_a_new_database_needs_more_than_its_name(database: Database) -> None:
    failed = database.alone(name="shop", type="postgresql", audit_status="paused")
    assert failed["failed"]
    assert "no database named shop" in failed["msg"]
    assert "host, database, username, password" in failed["msg"]


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"port": 70000}, "/port"),
        ({"host": "not a host"}, "/host"),
        ({"type": "nonesuch", "port": 1}, "/type"),
        ({"tags": ["a,b"]}, "/tags/0"),
        ({"ssl_ca": "no certificate"}, "/ssl_ca"),
        ({"audit_options": {"retention_days": 0}}, "/audit_options/retention_days"),
        ({"audit_options": {"engine": {"nonesuch": 1}}}, "/audit_options/engine"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_value_is_named_and_changes_nothing(
    database: Database, wrong: dict[str, Any], pointer: str, check: bool
) -> None:
    failed = database(check=check, **wrong)
    assert failed["failed"]
    assert failed["status"] == 400
    assert failed["error_code"]
    assert failed["request_id"]
    assert any(detail["pointer"].startswith(pointer) and detail["message"] for detail in failed["details"])
    assert pointer in failed["msg"]
    assert "\n" not in failed["msg"]
    assert PASSWORD not in json.dumps(failed)
    assert database.stored() == []


def test_the_type_cannot_change(database: Database) -> None:
    database()
    failed = database(type="mysql")
    assert failed["failed"]
    assert "/type" in failed["msg"]


def test_no_result_holds_a_secret(database: Database, service: Service, certificate: Credential) -> None:
    secrets = {"password": PASSWORD, "ssl_cert": certificate.certificate, "ssl_key": certificate.key}
    results = [
        database(check=True, **secrets),
        database(**secrets),
        database(**secrets),
        database(check=True, password=SECOND_PASSWORD),
        database(**{**secrets, "port": 0}),
        database(**{**secrets, "ssl_key": certificate.key[:-60]}),
        database.alone(name="shop", state="absent"),
    ]
    line_of_key = certificate.key.splitlines()[1]
    for result in results:
        text = json.dumps(result)
        for secret in (PASSWORD, SECOND_PASSWORD, line_of_key, service.key):
            assert secret not in text


def test_a_wrong_key_is_refused_in_one_line(service: Service) -> None:
    wrong = service.key[:-4] + "0000"
    failed = run_module("database", api_url=service.url, api_key=wrong, **SHOP)
    assert failed["failed"]
    assert failed["status"] == 401
    assert "\n" not in failed["msg"]
    assert wrong not in json.dumps(failed)


def test_a_key_without_the_scope_is_told_which_one(service: Service) -> None:
    reader = service.new_key("read:databases")
    failed = run_module("database", api_url=service.url, api_key=reader, **SHOP)
    assert failed["status"] == 403
    assert "write:databases" in failed["msg"]
    assert run_module("database_info", api_url=service.url, api_key=reader)["databases"] == []


def test_the_environment_says_where_the_api_is(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBAUDIT_API_URL", f"{service.url}/v1/")
    monkeypatch.setenv("DBAUDIT_API_KEY", service.key)
    assert run_module("database", **SHOP)["changed"]


def test_without_an_api_the_option_and_its_variable_are_named() -> None:
    failed = run_module("database", **SHOP)
    assert failed["failed"]
    assert "api_url" in failed["msg"]
