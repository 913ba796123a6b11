"""The engines as the API knows them: data, passed in when it is started. No driver is imported here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend

from dbaudit.api.document import StrictValidator
from dbaudit.api.validation import field_errors
from dbaudit.core.errors import FieldError
from dbaudit.core.host_limits import KEYWORD, HostUse, form_problem
from dbaudit.core.hosts import is_host


def _of_host(_validator: Any, use: str, value: Any, _schema: Any) -> Iterator[ValidationError]:
    problem = form_problem(HostUse(use), value) if isinstance(value, str) else None
    if problem is not None:
        yield ValidationError(problem)


_OptionsValidator: Any = extend(StrictValidator, {KEYWORD: _of_host})  # type: ignore[no-untyped-call]  # jsonschema has no types


class EngineDescription(msgspec.Struct, frozen=True, kw_only=True):
    """One engine: the word in the field `type`, its name for people, its usual port, the JSON Schema of its
    audit options. ``unix_sockets`` says that `host` may be the path of one. ``problem`` says why it cannot be
    used, where its plugin is broken.
    """

    type: str
    display_name: str
    default_port: int
    options_schema: Mapping[str, Any]
    unix_sockets: bool = False
    problem: str | None = None


class Engines:
    """What can be declared: types and their options."""

    def __init__(self, engines: Sequence[EngineDescription]) -> None:
        self._broken = {engine.type: engine.problem for engine in engines if engine.problem is not None}
        self._ports = {engine.type: engine.default_port for engine in engines}
        self._with_unix_sockets = {engine.type for engine in engines if engine.unix_sockets}
        self._destination_options = {engine.type: _destination_options(engine) for engine in engines}
        self._options: dict[str, Validator] = {
            engine.type: _OptionsValidator(dict(engine.options_schema))
            for engine in engines
            if engine.problem is None
        }

    def default_port(self, engine_type: str) -> int | None:
        """The port that is usual for a type; None for one that is not known."""
        return self._ports.get(engine_type)

    def host_errors(self, engine_type: str | None, host: str) -> list[FieldError]:
        """What is wrong with the host of a database of this type; None is a type that is not given."""
        problem: str | None = None
        if not host.startswith("/"):
            if not is_host(host):
                problem = "must be a host name or an IP address, without port and brackets"
        elif engine_type is None or engine_type in self._with_unix_sockets:
            problem = form_problem(HostUse.PATH, host)
        else:
            problem = f"must be a host name or an IP address; {engine_type} takes no path of a socket"
        return [] if problem is None else [FieldError("/host", problem)]

    def type_errors(self, engine_type: str) -> list[FieldError]:
        """Why no database of this type can be declared; empty where one can."""
        if engine_type in self._options:
            return []
        if engine_type in self._broken:
            return [FieldError("/type", f"the plugin of this engine is broken: {self._broken[engine_type]}")]
        installed = ", ".join(sorted(self._options)) or "none"
        return [
            FieldError(
                "/type",
                f"is not an installed engine; installed: {installed}. Install the plugin that brings it, "
                "such as pip install 'dbaudit[postgresql]'",
            )
        ]

    def destination_options(self, engine_type: str) -> tuple[str, ...]:
        """The options of a type that say where or through what a password is sent."""
        return self._destination_options.get(engine_type, ())

    def option_errors(self, engine_type: str, options: Mapping[str, Any]) -> list[FieldError]:
        """What the engine's schema has against ``options``. What an agent's host allows, the agent knows."""
        validator = self._options.get(engine_type)
        return [] if validator is None else field_errors(validator, options, "/audit_options/engine")


def _destination_options(engine: EngineDescription) -> tuple[str, ...]:
    properties: Mapping[str, Mapping[str, Any]] = engine.options_schema.get("properties", {})
    return tuple(name for name, schema in properties.items() if schema.get("x-destination"))
