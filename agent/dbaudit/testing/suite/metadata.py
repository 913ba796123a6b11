"""What an engine says of itself, and whether it is installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from dbaudit.engine import API_VERSION, Capability, DriverStatus, Engine
from dbaudit.engine.manager import load_engines
from dbaudit.testing.monitored import Monitored


class MetadataChecks:
    """The plugin: its entry point, its names, its options."""

    def test_engine_is_installed_under_its_type(self, monitored: Monitored) -> None:
        engine = monitored.engine
        registry = load_engines()
        assert engine.type in registry.installed, (
            f"no entry point of the group 'dbaudit' gives {engine.type!r}; is the distribution installed "
            f"(pip install -e .)? Broken plugins: {registry.broken}"
        )
        assert isinstance(registry.get(engine.type), engine.__class__)

    def test_metadata_are_complete(self, monitored: Monitored) -> None:
        engine = monitored.engine
        assert engine.api_version == API_VERSION
        assert engine.display_name.strip() == engine.display_name != ""
        assert 0 < engine.default_port < 65536
        assert engine.supported_versions, "say for which versions of the server the engine is made"
        assert engine.capabilities <= frozenset(Capability)
        assert engine.__class__.__doc__, "an engine's docstring says what it reads"

    def test_driver_is_there_and_has_a_version(self, monitored: Monitored) -> None:
        status = monitored.engine.driver_status()
        assert isinstance(status, DriverStatus)
        assert status.name
        assert status.problem is None, f"the driver that the tests need is missing: {status.problem}"
        assert status.version

    def test_each_option_is_described_and_its_default_is_valid(self, monitored: Monitored) -> None:
        schema = _schema(monitored.engine)
        Draft202012Validator.check_schema(schema)
        assert schema.get("type") == "object"
        for name, option in schema.get("properties", {}).items():
            assert option.get("description", "").strip(), f"the option {name} has no description"
            if "default" in option:
                Draft202012Validator(option).validate(option["default"])

    def test_no_option_is_needed_and_an_unknown_one_is_refused(self, monitored: Monitored) -> None:
        validator = Draft202012Validator(_schema(monitored.engine))
        if not monitored.target().options:
            validator.validate({})
        validator.validate(dict(monitored.target().options))
        with pytest.raises(ValidationError):
            validator.validate({"no_such_option": True})

    def test_engine_keeps_nothing_of_a_session(self, monitored: Monitored) -> None:
        before = dict(vars(monitored.engine))
        with monitored.engine.open(monitored.target()) as session:
            session.test()
        assert vars(monitored.engine) == before, (
            "an engine is stateless: what is of one database is its session's"
        )


def _schema(engine: Engine) -> dict[str, Any]:
    schema: Mapping[str, Any] = engine.options_schema
    return dict(schema)
