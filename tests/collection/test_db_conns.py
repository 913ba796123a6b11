"""The modules ``db_conns_auditing`` and ``db_conns_auditing_info`` against the real API."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from dbaudit.core.db_conns import CAPABILITY

from tests.collection.conftest import Service
from tests.collection.faults import Answer, FaultyNetwork
from tests.collection.running import run_module
from tests.collection.test_database import SHOP

TCP = {"audit_protocol": "TCP", "audit_address": "127.0.0.1", "audit_port": 12345}
LOCAL = {"audit_protocol": "local", "audit_address": "/run/audit/listener.sock"}
DEFAULTS = {"audit_reconnect_interval": 1, "audit_reconnect_max_attempts": 0}
SCOPES = ("view_cluster_info", "update_cluster", "read:databases", "write:databases")
SETTINGS = "/v1/cluster/auditing/db_conns"


class Auditing:
    """The two modules with the connection to one API, and what it has stored."""

    def __init__(self, service: Service, *scopes: str) -> None:
        self.service = service
        self.key = service.new_key(*(scopes or SCOPES))
        self.connection = {"api_url": service.url, "api_key": self.key}

    def __call__(self, *, check: bool = False, **arguments: Any) -> dict[str, Any]:
        return run_module("db_conns_auditing", **{**self.connection, **arguments}, _ansible_check_mode=check)

    def info(self) -> dict[str, Any]:
        return run_module("db_conns_auditing_info", **self.connection)

    def declared(self, name: str, **fields: Any) -> str:
        """The id of a new database."""
        result = run_module("database", **self.connection, **{**SHOP, "name": name, "host": name}, **fields)
        return str(result["database"]["id"])

    def stored(self) -> tuple[bool, bool, dict[str, bool]]:
        """Whether something is set, the policy, and the switches."""
        present = self.service.state.db_conns.current()
        databases = self.service.state.databases.all()
        return (
            present.settings is not None,
            present.policy,
            {database.name: database.db_conns_auditing for database in databases},
        )


@pytest.fixture
def auditing(service: Service) -> Iterator[Auditing]:
    yield Auditing(service)
    for node in service.state.nodes.all():
        service.state.nodes.leave(node)
    for database in service.state.databases.all():
        service.state.databases.delete(database.id)
    service.state.db_conns.set_policy(False)
    if service.state.db_conns.current().settings is not None:
        service.state.db_conns.delete()


def test_everything_goes_on_in_one_task_and_off_in_another(auditing: Auditing) -> None:
    shop, warehouse = auditing.declared("shop"), auditing.declared("warehouse")
    on = {**TCP, "policy": True, "databases": {"shop": True, warehouse: True}}
    assert auditing(check=True, **on)["changed"]
    assert auditing.stored() == (False, False, {"shop": False, "warehouse": False})

    applied = auditing(**on)
    assert applied["changed"]
    assert applied["config"] == TCP | DEFAULTS
    assert applied["policy"] is True
    assert applied["databases"] == [
        {"id": shop, "name": "shop", "db_conns_auditing": True},
        {"id": warehouse, "name": "warehouse", "db_conns_auditing": True},
    ]
    assert auditing.stored() == (True, True, {"shop": True, "warehouse": True})
    for check in (False, True):
        assert not auditing(check=check, **on)["changed"]

    off = {"state": "absent", "policy": False, "databases": {shop: False, "warehouse": False}}
    planned = auditing(check=True, **off)
    assert planned["changed"]
    assert auditing.stored() == (True, True, {"shop": True, "warehouse": True})
    removed = auditing(**off)
    assert removed["changed"]
    assert (removed["config"], removed["policy"]) == ({}, False)
    assert removed["diff"] == planned["diff"]
    assert auditing.stored() == (False, False, {"shop": False, "warehouse": False})
    for check in (False, True):
        again = auditing(check=check, **off)
        assert not again["changed"]
        assert again["diff"]["before"] == again["diff"]["after"]
        assert not auditing(check=check, state="absent")["changed"]


def test_check_mode_and_diff_show_what_a_run_makes(auditing: Auditing) -> None:
    auditing.declared("shop")
    auditing(**TCP)
    change = {"audit_port": 12346, "audit_reconnect_max_attempts": 7, "databases": {"shop": True}}
    planned = auditing(check=True, **change)
    applied = auditing(**change)
    assert {name: planned[name] for name in ("config", "policy", "databases", "diff")} == {
        name: applied[name] for name in ("config", "policy", "databases", "diff")
    }
    before, after = applied["diff"]["before"], applied["diff"]["after"]
    assert before["config"] == TCP | DEFAULTS
    assert after["config"] == TCP | {
        "audit_port": 12346,
        "audit_reconnect_interval": 1,
        "audit_reconnect_max_attempts": 7,
    }
    assert list(before["databases"].values()) == [False]
    assert list(after["databases"].values()) == [True]
    assert "shop" in next(iter(after["databases"]))


def test_what_is_left_out_stays(auditing: Auditing) -> None:
    auditing.declared("shop")
    auditing(**TCP, audit_reconnect_interval=30, policy=True, databases={"shop": True})
    assert not auditing()["changed"]
    assert not auditing(audit_reconnect_interval=30)["changed"]
    assert auditing(audit_address="::1")["config"]["audit_reconnect_interval"] == 30
    assert auditing.stored() == (True, True, {"shop": True})
    assert auditing(databases={"shop": False})["changed"]
    assert auditing(policy=False)["changed"]
    assert auditing.stored() == (True, False, {"shop": False})


def test_one_task_goes_from_a_port_to_a_socket_and_back(auditing: Auditing) -> None:
    auditing(**TCP, audit_reconnect_interval=30)
    there = auditing(**LOCAL)
    assert there["changed"]
    assert there["config"] == LOCAL | DEFAULTS | {"audit_reconnect_interval": 30}
    assert not auditing(**LOCAL)["changed"]
    assert not auditing(audit_address=LOCAL["audit_address"])["changed"]
    back = auditing(**TCP)
    assert back["config"] == TCP | DEFAULTS | {"audit_reconnect_interval": 30}
    assert not auditing(**TCP)["changed"]


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("set_before", "wrong", "words"),
    [
        ({}, {}, "audit_protocol, audit_address, audit_port"),
        ({}, {"policy": True}, "Nothing is set so far"),
        ({}, {"audit_protocol": "local"}, "lack audit_address"),
        ({}, {**TCP, "audit_port": None}, "lack audit_port"),
        (TCP, {"audit_protocol": "local"}, "lack audit_address"),
        (LOCAL, {"audit_protocol": "TCP"}, "lack audit_address, audit_port"),
        ({}, {**LOCAL, "audit_port": 1}, "a socket has no port"),
        (LOCAL, {"audit_port": 1}, "a socket has no port"),
        ({}, {**TCP, "audit_protocol": "tcp"}, "TCP, local"),
        ({}, {**TCP, "databases": {"shop": "enabled"}}, "shop must be true or false"),
        ({}, {**TCP, "databases": {"nonesuch": True}}, "nonesuch"),
        (TCP, {"state": "absent", "policy": True}, "must be false"),
        (TCP, {"state": "absent", "databases": {"shop": True}}, "must be false"),
    ],
    ids=str,
)
def test_what_cannot_be_right_changes_nothing_and_shows_in_check_mode(
    auditing: Auditing, set_before: dict[str, Any], wrong: dict[str, Any], words: str, check: bool
) -> None:
    auditing.declared("shop")
    if set_before:
        auditing(**set_before)
    stored = auditing.service.state.db_conns.current()
    failed = auditing(check=check, **{name: value for name, value in wrong.items() if value is not None})
    assert failed["failed"]
    assert words in failed["msg"]
    assert auditing.service.state.db_conns.current() == stored


def test_a_name_or_id_has_to_mean_one_database(auditing: Auditing) -> None:
    first = auditing.declared("shop")
    second = auditing.declared("other")
    assert "twice" in auditing(**TCP, databases={"shop": True, first: False})["msg"]
    run_module("database", **auditing.connection, id=second, name="shop")
    failed = auditing(**TCP, databases={"shop": True})
    assert first in failed["msg"]
    assert second in failed["msg"]
    assert auditing.stored() == (False, False, {"shop": False})
    assert auditing(**TCP, databases={second: True})["databases"][0]["id"] == second


def test_settings_stay_while_something_that_the_task_does_not_turn_off_is_on(auditing: Auditing) -> None:
    shop = auditing.declared("shop")
    auditing.declared("warehouse")
    auditing(**TCP, policy=True, databases={"shop": True, "warehouse": True})
    stored = auditing.stored()
    for check in (False, True):
        assert "policy=false" in auditing(check=check, state="absent", databases={"shop": False})["msg"]
        failed = auditing(check=check, state="absent", policy=False, databases={"warehouse": False})
        assert failed["failed"]
        assert f"shop ({shop})" in failed["msg"]
        assert auditing.stored() == stored


# The codes of the API, through real state


@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [
        ({**TCP, "audit_port": 70000}, "db_conns_auditing_bad_config", "audit_port"),
        ({**TCP, "audit_reconnect_interval": 0}, "db_conns_auditing_bad_config", "audit_reconnect_interval"),
        ({**TCP, "audit_address": "/run/a.sock"}, "db_conns_auditing_bad_address", "socket"),
        ({**LOCAL, "audit_address": "run/a.sock"}, "db_conns_auditing_bad_address", "absolute"),
    ],
    ids=str,
)
def test_settings_that_the_api_refuses_fail_with_its_code_and_words(
    auditing: Auditing, wrong: dict[str, Any], code: str, words: str
) -> None:
    failed = auditing(**wrong, policy=True)
    assert failed["failed"]
    assert not failed["changed"]
    assert (failed["status"], failed["error_code"]) == (400, code)
    assert words in failed["msg"]
    assert "\n" not in failed["msg"]
    assert auditing.stored() == (False, False, {})


def test_a_node_that_cannot_send_is_named_and_hinders_no_removal(auditing: Auditing) -> None:
    auditing(**TCP)
    auditing.service.state.nodes.register("old", "0.1.0", ("engine:postgresql",))
    for failed in (auditing(**TCP), auditing.info()):
        assert failed["error_code"] == "db_conns_auditing_unsupported_by_capability"
        assert failed["status"] == 406
        assert "old" in failed["msg"]
    assert auditing(state="absent", check=True)["changed"]
    assert auditing(state="absent")["changed"]
    assert auditing.stored() == (False, False, {})
    assert not auditing(state="absent")["changed"]


def test_a_database_that_is_on_keeps_the_settings_also_where_the_task_does_not_look(
    auditing: Auditing,
) -> None:
    shop = auditing.declared("shop")
    auditing(**TCP, databases={"shop": True})
    failed = auditing(state="absent")
    assert (failed["status"], failed["error_code"]) == (406, "cannot_delete_audit_config_when_bdb_enabled")
    assert shop in failed["msg"]
    assert auditing.stored() == (True, False, {"shop": True})


def test_a_failure_on_the_way_tells_that_a_part_was_done(auditing: Auditing) -> None:
    """The policy goes on behind the module's back, after it has looked."""
    auditing.declared("shop")
    auditing(**TCP, databases={"shop": True})
    off = {"state": "absent", "databases": {"shop": False}}
    with FaultyNetwork(auditing.service.url) as network:
        refusal = {"error_code": "cannot_delete_audit_config_when_policy_enabled", "message": "It is on."}
        network.faults.extend([None] * 4 + [Answer(406, {}, json.dumps(refusal).encode())])
        failed = auditing(**off, api_url=network.url)
        assert network.requests[-2:] == [
            "PATCH /v1/databases/{}".format(auditing.info()["databases"][0]["id"]),
            f"DELETE {SETTINGS}",
        ]
    assert failed["changed"]
    assert failed["error_code"] == refusal["error_code"]
    assert "It is on." in failed["msg"]
    assert auditing(**off)["changed"]
    assert auditing.stored() == (False, False, {"shop": False})


def test_a_key_without_the_scope_is_told_which_one(auditing: Auditing, service: Service) -> None:
    viewer = Auditing(service, "view_cluster_info")
    failed = viewer(**TCP)
    assert (failed["status"], failed["error_code"]) == (403, "forbidden")
    assert "update_cluster" in failed["msg"]
    assert "read:databases" in viewer.info()["msg"]


def test_the_field_of_a_database_follows_the_same_rules(auditing: Auditing) -> None:
    refused = run_module("database", **auditing.connection, **SHOP, db_conns_auditing=True)
    assert refused["error_code"] == "db_conns_auditing_config_missing"
    auditing(**TCP, policy=True)
    identifier = auditing.declared("shop")
    assert auditing.stored()[2] == {"shop": True}
    switch = {"id": identifier, "db_conns_auditing": False}
    changed = run_module("database", **auditing.connection, **switch)
    assert changed["diff"]["before"]["db_conns_auditing"] is True
    assert changed["diff"]["after"]["db_conns_auditing"] is False
    assert not run_module("database", **auditing.connection, **switch)["changed"]
    (found,) = run_module("database_info", **auditing.connection)["databases"]
    assert found["db_conns_auditing"] is False


def test_the_info_module_shows_settings_switches_agents_and_sending(auditing: Auditing) -> None:
    nothing = auditing.info()
    assert not nothing["changed"]
    assert (nothing["config"], nothing["policy"]) == ({}, False)
    assert nothing["sending"]["databases"] == []

    shop, warehouse = auditing.declared("shop"), auditing.declared("warehouse")
    auditing(**TCP, policy=True, databases={"shop": True})
    auditing.service.state.nodes.register("able", "0.2.0", (CAPABILITY,))
    found = auditing.info()
    assert found["config"] == TCP | DEFAULTS
    assert found["policy"] is True
    assert found["databases"] == [
        {"id": shop, "name": "shop", "db_conns_auditing": True},
        {"id": warehouse, "name": "warehouse", "db_conns_auditing": False},
    ]
    (node,) = found["nodes"]
    assert (node["name"], node["capabilities"]) == ("able", [CAPABILITY])
    (sending,) = found["sending"]["databases"]
    assert (sending["database_id"], sending["state"], sending["sent"]) == (shop, "waiting", 0)


def test_a_key_as_the_password_of_any_user_finds_this_api_and_not_a_cluster(auditing: Auditing) -> None:
    """The API takes keys by HTTP Basic, as tools for clusters send them."""
    shop = auditing.declared("shop")
    user = {"api_url": auditing.service.url, "api_username": "anybody", "api_password": auditing.key}
    applied = run_module("db_conns_auditing", **user, **TCP, databases={"shop": True})
    assert applied["databases"] == [{"id": shop, "name": "shop", "db_conns_auditing": True}]
    assert run_module("db_conns_auditing_info", **user)["nodes"] == []


def test_without_key_and_user_both_are_named(service: Service) -> None:
    failed = run_module("db_conns_auditing", api_url=service.url, state="absent")
    assert "api_key" in failed["msg"]
    assert "api_username" in failed["msg"]
