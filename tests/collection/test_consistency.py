"""The parts of the collection that say the same thing in two places say the same."""

import ast
import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ModuleArgumentSpecValidator

from tests.collection.conftest import REPOSITORY

MODULES = sorted(path.stem for path in (REPOSITORY / "plugins" / "modules").glob("*.py"))
OF_THE_SERVER = {"source_audit"}
"""Modules that work on a monitored server, not through the API."""
CONNECTION = {"api_url", "api_key", "validate_certs", "ca_path", "timeout", "retries"}
FROM_MODULE_DEFAULTS = {"api_url": "http://localhost", "api_key": "from module_defaults"}
SECRETS = {"password", "ssl_key", "api_key", "api_password", "account_password", "login_password"}
PASSED_ON = ("type", "choices", "no_log", "elements")


@pytest.mark.parametrize("path", sorted((REPOSITORY / "plugins").rglob("*.py")), ids=lambda path: path.stem)
def test_modules_need_nothing_that_is_not_on_the_managed_host(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    own = ("ansible.module_utils.", "ansible_collections.dbaudit.dbaudit.plugins.module_utils.")
    if path.parent.name in ("inventory", "lookup"):  # which run on the controller
        own = (*own, "ansible.plugins.", "ansible.errors.", "ansible.utils.")
    foreign = {
        name
        for name in imported
        if name.partition(".")[0] not in sys.stdlib_module_names and not f"{name}.".startswith(own)
    }
    assert not foreign


def test_every_module_of_the_api_is_in_the_action_group() -> None:
    groups = yaml.safe_load((REPOSITORY / "meta" / "runtime.yml").read_text())["action_groups"]
    assert groups == {"dbaudit": [name for name in MODULES if name not in OF_THE_SERVER]}


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_tasks_that_the_module_accepts(name: str, collections_path: Path) -> None:
    module = _module(name)
    found = list(_tasks(yaml.safe_load(module.EXAMPLES), f"dbaudit.dbaudit.{name}"))
    assert found
    spec = _spec(module, name)
    for arguments in found:
        assert set(arguments) <= set(spec)
        known = {
            option: value for option, value in arguments.items() if not _is_computed(value, spec[option])
        }
        result = ModuleArgumentSpecValidator(spec).validate(
            known if name in OF_THE_SERVER else {**FROM_MODULE_DEFAULTS, **known}
        )
        assert not result.error_messages


def test_the_role_takes_what_the_module_takes(collections_path: Path) -> None:
    spec = _spec(_module("databases"), "databases")
    described = _yaml("roles/databases/meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    entry = described["dbaudit_databases"]["options"]
    assert {name: _essence(option) for name, option in entry.items()} == {
        name: _essence(option) for name, option in spec["databases"]["options"].items()
    }
    assert {name: _essence(described[f"dbaudit_{name}"]) for name in set(spec) - {"databases"}} == {
        name: _essence(option) for name, option in spec.items() if name != "databases"
    }
    defaults = _yaml("roles/databases/defaults/main.yml")
    assert defaults == {"dbaudit_databases": []} | {
        f"dbaudit_{name}": option["default"]
        for name, option in spec.items()
        if "default" in option and name not in CONNECTION
    }


def test_the_role_hands_everything_on(collections_path: Path) -> None:
    spec = _spec(_module("databases"), "databases")
    (task,) = _yaml("roles/databases/tasks/main.yml")
    assert task["dbaudit.dbaudit.databases"] == {
        name: f"{{{{ dbaudit_{name} | default(omit) }}}}"
        if name in CONNECTION
        else f"{{{{ dbaudit_{name} }}}}"
        if name != "databases"
        else "{{ dbaudit_databases }}"
        for name in spec
    }


def test_secrets_are_hidden_by_ansible(collections_path: Path) -> None:
    for name in MODULES:
        options = _spec(_module(name), name)
        of_entries = options.get("databases", {}).get("options", {}) if name == "databases" else {}
        for option, spec in (*options.items(), *of_entries.items()):
            assert bool(spec.get("no_log")) is (option in SECRETS), f"{name}: {option}"


def _module(name: str) -> Any:
    return importlib.import_module(f"ansible_collections.dbaudit.dbaudit.plugins.modules.{name}")


def _spec(module: Any, name: str) -> dict[str, Any]:
    """The argument specification as the module gives it to AnsibleModule."""
    given: list[dict[str, Any]] = []

    class Stop(Exception):  # noqa: N818
        pass

    def record(*, argument_spec: dict[str, Any], **ignored: object) -> None:
        given.append(argument_spec)
        raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "Module" if hasattr(module, "Module") else "AnsibleModule", record)
        with pytest.raises(Stop):
            module.main()
    return given[0]


def _tasks(found: Any, action: str) -> Any:
    for task in found:
        if action in task:
            yield task[action]
        yield from _tasks(task.get("block", ()), action)


def _is_computed(value: Any, option: dict[str, Any]) -> bool:
    """Whether only a run can tell the value: an expression that does not stand for a text."""
    return isinstance(value, str) and value.startswith("{{") and option["type"] != "str"


def _essence(option: dict[str, Any]) -> dict[str, Any]:
    return {name: option[name] for name in PASSED_ON if name in option}


def _yaml(path: str) -> Any:
    return yaml.safe_load((REPOSITORY / path).read_text())
