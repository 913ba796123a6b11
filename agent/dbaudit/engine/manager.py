"""Finds the installed engines, and keeps one broken plugin from touching the others."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import msgspec
import pluggy
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.engine import hookspecs
from dbaudit.engine.base import API_VERSION, DriverStatus, Engine

_log = logging.getLogger(__name__)
_TYPE_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


class InstalledEngine(msgspec.Struct, frozen=True):
    """An engine that can be used, and the distribution that brought it."""

    engine: Engine
    distribution: str
    distribution_version: str


class BrokenPlugin(msgspec.Struct, frozen=True):
    """A plugin, or one engine of it, that cannot be used: its name, its distribution, and the reason."""

    name: str
    distribution: str
    distribution_version: str
    reason: str


class EngineRegistry:
    """The engines of this installation by their type, and the plugins that are broken."""

    def __init__(self, installed: Mapping[str, InstalledEngine], broken: Collection[BrokenPlugin]) -> None:
        self.installed = dict(sorted(installed.items()))
        self.broken = tuple(broken)

    def get(self, engine_type: str) -> Engine:
        """The engine of a type. Raises ConfigurationError (`engine_unknown`) with what there is instead."""
        try:
            return self.installed[engine_type].engine
        except KeyError:
            reasons = [f" {b.name} is broken: {b.reason}" for b in self.broken if b.name == engine_type]
            raise ConfigurationError(
                ErrorCode.ENGINE_UNKNOWN,
                f"No engine {engine_type!r}; installed: {', '.join(self.installed)}.{''.join(reasons)}",
                remedy=f"pip install 'dbaudit[{engine_type}]', or the plugin that brings this engine.",
            ) from None

    def driver_status(self, engine_type: str) -> DriverStatus:
        """The engine's own word on its driver; a plugin that raises here is reported and not believed."""
        try:
            return self.get(engine_type).driver_status()
        except Exception as error:  # noqa: BLE001  # a plugin's code: its failure is its own
            _log.warning("engine %s failed in driver_status: %s", engine_type, type(error).__name__)
            return DriverStatus("unknown", problem=_one_line(error))


def load_engines(found: Iterable[EntryPoint] | None = None) -> EngineRegistry:
    """Load every plugin of the entry-point group ``dbaudit``.

    Each entry point is loaded and called on its own: one that raises, yields something else than engines,
    declares another API version or a name that is taken is listed as broken, and all others are used.
    """
    plugins = pluggy.PluginManager("dbaudit")
    plugins.add_hookspecs(hookspecs)
    installed: dict[str, InstalledEngine] = {}
    broken: list[BrokenPlugin] = []
    candidates = entry_points(group=hookspecs.ENTRY_POINT_GROUP) if found is None else found
    # The built-in engines first, so that a name they hold cannot be taken from them.
    for entry in sorted(candidates, key=_built_in_first):
        name, version = _distribution(entry)
        try:
            plugin = entry.load()
            plugins.register(plugin, name=f"{name}:{entry.name}")
            plugins.check_pending()
            engines = _engines_of(plugins, plugin)
        except Exception as error:  # noqa: BLE001  # a plugin's code: whatever it raises, the others go on
            _log.warning("plugin %s of %s %s is broken: %s", entry.name, name, version, _one_line(error))
            broken.append(BrokenPlugin(entry.name, name, version, _one_line(error)))
            if plugins.has_plugin(f"{name}:{entry.name}"):
                plugins.unregister(name=f"{name}:{entry.name}")
            continue
        for engine in engines:
            problem = _problem_of(engine, installed)
            if problem is None:
                installed[engine.type] = InstalledEngine(engine, name, version)
            else:
                _log.warning("an engine of %s %s is refused: %s", name, version, problem)
                broken.append(BrokenPlugin(str(getattr(engine, "type", entry.name)), name, version, problem))
    return EngineRegistry(installed, broken)


def _built_in_first(entry: EntryPoint) -> tuple[bool, tuple[str, str], str]:
    distribution = _distribution(entry)
    return distribution[0] != "dbaudit", distribution, entry.name


def _distribution(entry: EntryPoint) -> tuple[str, str]:
    return (entry.dist.name, entry.dist.version) if entry.dist is not None else ("unknown", "unknown")


def _engines_of(plugins: pluggy.PluginManager, plugin: object) -> list[Any]:
    others = [p for p in plugins.get_plugins() if p is not plugin]
    yielded = plugins.subset_hook_caller("dbaudit_engines", remove_plugins=others)()
    if not yielded:
        raise TypeError("the plugin has no hook dbaudit_engines marked with dbaudit.engine.hookimpl")
    return [engine for engines in yielded for engine in engines]


def _problem_of(engine: Any, installed: Mapping[str, InstalledEngine]) -> str | None:
    if not isinstance(engine, Engine):
        return f"{type(engine).__name__} is not a dbaudit.engine.Engine"
    missing = [
        name
        for name in ("type", "display_name", "default_port", "supported_versions", "capabilities", "dialect")
        if not hasattr(engine, name)
    ]
    if missing:
        return f"the engine does not set {', '.join(missing)}"
    if engine.api_version != API_VERSION:
        return f"written for plugin API {engine.api_version}; this dbaudit has {API_VERSION}"
    if not _TYPE_NAME.fullmatch(engine.type):
        return f"the type {engine.type!r} is not lower case letters, digits and underscores"
    if engine.type in installed:
        holder = installed[engine.type]
        return f"the type {engine.type!r} is taken by {holder.distribution} {holder.distribution_version}"
    try:
        Draft202012Validator.check_schema(dict(engine.options_schema))
    except SchemaError as error:
        return f"options_schema is no JSON Schema: {error.message}"
    return None


def _one_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
