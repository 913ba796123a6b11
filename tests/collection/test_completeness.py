"""Modules and API know the same: each field, filter and choice of one side is on the other.

A difference that is meant is named here, with its reason; anything else is a field that somebody forgot.
"""

from importlib import import_module, resources
from typing import Any

import pytest
import yaml
from dbaudit.api import EngineDescription
from dbaudit.core.errors import ErrorCode

TYPES = {"string": "str", "integer": "int", "boolean": "bool", "array": "list", "object": "dict"}

# Options of the module that are no field of the API: how to find, how to go about it.
NOT_FIELDS = {"state", "id", "update_password", "verify", "wait", "wait_timeout"}
# Parameters of the list that the module sets itself to read all of it.
PAGING = {"page", "per_page"}

pytestmark = pytest.mark.usefixtures("collections_path")


class Api:
    """The OpenAPI document with its references followed."""

    def __init__(self) -> None:
        self._document = yaml.safe_load(
            resources.files("dbaudit.api").joinpath("openapi.yaml").read_text("utf-8")
        )

    def schema(self, name: str) -> dict[str, Any]:
        return self.resolved(self._document["components"]["schemas"][name])

    def resolved(self, node: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in node:
            found = self._document
            for step in node["$ref"].removeprefix("#/").split("/"):
                found = found[step]
            node = {**found, **{key: value for key, value in node.items() if key != "$ref"}}
        return node

    def query(self, path: str, method: str) -> dict[str, dict[str, Any]]:
        parameters = map(self.resolved, self._document["paths"][path][method]["parameters"])
        return {p["name"]: self.resolved(p["schema"]) for p in parameters if p["in"] == "query"}

    def fields(self, name: str) -> dict[str, dict[str, Any]]:
        return {field: self.resolved(node) for field, node in self.schema(name)["properties"].items()}


@pytest.fixture(scope="module")
def api() -> Api:
    return Api()


def options(module: str) -> dict[str, Any]:
    found = import_module(f"ansible_collections.dbaudit.dbaudit.plugins.modules.{module}")
    documentation = yaml.safe_load(found.DOCUMENTATION)
    documented: dict[str, Any] = documentation["options"]
    for fragment in documentation["extends_documentation_fragment"]:
        if fragment.startswith("dbaudit.dbaudit.declaration"):
            documented |= declaration(fragment.removeprefix("dbaudit.dbaudit.declaration.").upper())
    return documented


def declaration(name: str) -> dict[str, Any]:
    """What the fragment ``declaration`` documents: ``LIST``, or the options of the module itself."""
    found = import_module("ansible_collections.dbaudit.dbaudit.plugins.doc_fragments.declaration")
    text = getattr(found.ModuleDocFragment, name, found.ModuleDocFragment.DOCUMENTATION)
    documented = yaml.safe_load(text)["options"]
    assert isinstance(documented, dict)
    return documented


def declared() -> Any:
    return import_module("ansible_collections.dbaudit.dbaudit.plugins.module_utils._database")


def test_an_entry_of_a_list_has_every_field_of_the_api(api: Api) -> None:
    entries = options("databases")["databases"]["suboptions"]
    assert set(entries) == set(api.fields("DatabaseListEntry"))
    assert set(entries) == set(declared().FIELDS) | set(declared().HOW)
    for name in ("state", "update_password"):
        _assert_alike(declared().HOW[name], api.fields("DatabaseListEntry")[name], name)
    prune = api.resolved(api.fields("DatabaseList")["prune"])["properties"]
    documented = options("databases")
    assert {f"prune_{name}" for name in prune} == {name for name in documented if name.startswith("prune_")}
    assert {documented[f"prune_{name}"]["default"] for name in ("limit",)} == {prune["limit"]["default"]}


@pytest.mark.parametrize("schema", ["DatabaseCreate", "DatabaseUpdate"])
def test_the_module_declares_every_field(api: Api, schema: str) -> None:
    assert set(declared().FIELDS) == set(api.fields(schema))
    assert set(options("database")) == set(declared().FIELDS) | NOT_FIELDS


def test_fields_have_the_type_and_the_choices_of_the_api(api: Api) -> None:
    for field, node in api.fields("DatabaseCreate").items():
        _assert_alike(declared().FIELDS[field], node, field)
        assert bool(declared().FIELDS[field].get("no_log")) is node.get("x-secret", False), field
        assert (field in declared().REMOVABLE) is ("null" in node["type"]), field


def test_audit_options_are_those_of_the_api(api: Api) -> None:
    suboptions = declared().FIELDS["audit_options"]["options"]
    fields = api.fields("AuditOptionsInput")
    assert set(suboptions) == set(fields)
    for name, node in fields.items():
        _assert_alike(suboptions[name], node, name)


def test_the_module_knows_what_a_new_database_needs(api: Api) -> None:
    assert set(declared().REQUIRED_FOR_NEW) == set(api.schema("DatabaseCreate")["required"])


def test_the_module_can_ask_for_everything_that_a_change_can(api: Api) -> None:
    expected = {"dry_run", "verify"}
    assert set(api.query("/v1/databases", "post")) == expected
    assert set(api.query("/v1/databases/{database_id}", "patch")) == expected


def test_the_info_module_has_every_filter(api: Api) -> None:
    module = import_module("ansible_collections.dbaudit.dbaudit.plugins.modules.database_info")
    query = api.query("/v1/databases", "get")
    assert set(module.FILTERS) == set(query) - PAGING
    for name in module.FILTERS:
        _assert_alike(module.FILTERS[name], query[name], name)


def test_every_field_that_is_returned_is_described(api: Api) -> None:
    module = import_module("ansible_collections.dbaudit.dbaudit.plugins.modules.database_info")
    described = yaml.safe_load(module.RETURN)["databases"]["contains"]
    assert set(described) == set(api.fields("DatabaseDetails")) | {"current_status"}
    with_id = {name for name, node in described.items() if node.get("returned") == "when O(id) is given"}
    assert with_id == set(api.fields("DatabaseDetails")) - set(api.fields("Database"))


# What the modules of connection events show of a database.
SWITCH_OF_A_DATABASE = {"id", "name", "db_conns_auditing"}


def db_conns() -> Any:
    return import_module("ansible_collections.dbaudit.dbaudit.plugins.module_utils._db_conns")


def test_the_module_declares_every_field_of_the_settings(api: Api) -> None:
    fields = api.fields("DbConnsSettingsInput")
    assert set(db_conns().FIELDS) == set(fields) == set(api.fields("DbConnsSettings"))
    for field, node in fields.items():
        _assert_alike(db_conns().FIELDS[field], node, field)
    assert set(db_conns().FIELDS) < set(options("db_conns_auditing"))


def test_the_module_takes_the_defaults_of_the_api_for_what_an_answer_leaves_out(api: Api) -> None:
    fields = api.fields("DbConnsSettings")
    assert {
        name: node["default"] for name, node in fields.items() if "default" in node
    } == db_conns().DEFAULTS


def test_the_module_has_all_of_the_policy(api: Api) -> None:
    fields = api.fields("ClusterPolicyInput")
    assert set(fields) == {"db_conns_auditing"}
    assert options("db_conns_auditing")["policy"]["type"] == TYPES[fields["db_conns_auditing"]["type"]]


@pytest.mark.parametrize("module", ["db_conns_auditing", "db_conns_auditing_info"])
def test_the_switch_of_a_database_is_described(api: Api, module: str) -> None:
    described = returned(module)["databases"]["contains"]
    assert set(described) == SWITCH_OF_A_DATABASE <= set(api.fields("Database"))


def test_agents_and_sending_are_described_whole(api: Api) -> None:
    described = returned("db_conns_auditing_info")
    node = api.fields("NodeList")["data"]["items"]
    assert set(described["nodes"]["contains"]) == set(node["properties"])
    status = api.fields("DbConnsStatus")
    assert set(described["sending"]["contains"]) == set(status)
    (sample,) = described["sending"]["contains"]["databases"]["sample"]
    assert set(sample) == set(status["databases"]["items"]["properties"])


def test_every_code_of_these_settings_is_described(api: Api) -> None:
    """The one that means absence is none of an error."""
    codes = {str(code) for code in ErrorCode if code.name.startswith("DB_CONNS_")}
    described = " ".join(returned("db_conns_auditing")["error_code"]["description"])
    assert {code for code in codes if f"C({code})" not in described} == {db_conns().NOT_SET}


# Choices and parameters of the list of events that are for programs that follow it.
FOR_FOLLOWERS = {"cursor", "limit", "wait_seconds"}


def test_the_module_of_events_has_every_filter(api: Api) -> None:
    filters = import_module("ansible_collections.dbaudit.dbaudit.plugins.modules.event_info").FILTERS
    query = api.query("/v1/events", "get")
    assert set(filters) == set(query) - FOR_FOLLOWERS
    assert set(filters) < set(options("event_info"))
    for name in set(filters) - {"order"}:
        _assert_alike(filters[name], query[name], name)
    assert set(query["order"]["enum"]) - set(filters["order"]["choices"]) == {"stored"}
    assert filters["order"]["default"] == query["order"]["default"]


def test_the_module_of_keys_has_every_field_and_scope(api: Api) -> None:
    module = import_module("ansible_collections.dbaudit.dbaudit.plugins.modules.api_key")
    assert module.SCOPES == options("api_key")["scopes"]["choices"] == api.schema("Scope")["enum"]
    assert set(api.fields("KeyCreate")) < set(options("api_key"))
    assert set(returned("api_key")["info"]["sample"]) == set(api.fields("Key"))


def test_the_report_of_a_test_is_described(api: Api) -> None:
    assert set(returned("database_test")["report"]["contains"]) == set(api.fields("TestReport"))


def test_what_became_of_an_entry_is_described(api: Api) -> None:
    described = returned("databases")["results"]["contains"]
    of_waiting = {name for name, node in described.items() if node.get("returned") == "when O(wait=true)"}
    in_diff = {"diff"}  # of all entries together, where Ansible looks for it
    assert set(described) - of_waiting == set(api.fields("DatabaseResult")) - in_diff
    assert of_waiting < set(api.fields("Database"))


def test_the_inventory_has_every_filter(api: Api) -> None:
    plugin = import_module("ansible_collections.dbaudit.dbaudit.plugins.inventory.databases")
    of_one = {"name"}  # which "--limit" does
    assert set(plugin.FILTERS) == set(api.query("/v1/databases", "get")) - PAGING - of_one
    documented = yaml.safe_load(plugin.DOCUMENTATION)["options"]["filters"]["suboptions"]
    assert set(documented) == set(plugin.FILTERS)


@pytest.mark.parametrize("plugin", ["inventory.databases", "lookup.database"])
def test_plugins_have_every_option_of_the_connection(plugin: str) -> None:
    """Those of the modules, by the same names and defaults."""
    fragments = "ansible_collections.dbaudit.dbaudit.plugins.doc_fragments"
    of_plugins, of_modules = (
        yaml.safe_load(import_module(f"{fragments}.{name}").ModuleDocFragment.DOCUMENTATION)["options"]
        for name in ("controller", "connection")
    )
    found = import_module(f"ansible_collections.dbaudit.dbaudit.plugins.{plugin}")
    assert set(found.CONNECTION) == set(of_plugins) == set(of_modules)
    for name, option in of_modules.items():
        for word in ("type", "default"):
            assert of_plugins[name].get(word) == option.get(word), name


def returned(module: str) -> dict[str, Any]:
    found = import_module(f"ansible_collections.dbaudit.dbaudit.plugins.modules.{module}")
    described = yaml.safe_load(found.RETURN)
    assert isinstance(described, dict)
    return described


def test_usual_ports_are_those_of_the_engines(engines: list[EngineDescription]) -> None:
    assert engines
    for engine in engines:
        assert declared().DEFAULT_PORTS[engine.type] == engine.default_port


def _assert_alike(option: dict[str, Any], node: dict[str, Any], name: str) -> None:
    types = node["type"] if isinstance(node["type"], list) else [node["type"]]
    assert option["type"] == TYPES[types[0]], name
    assert option.get("choices") == node.get("enum"), name
