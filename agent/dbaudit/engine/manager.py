"""Finds the installed engines, and keeps one broken plugin from touching the others."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import msgspec
import pluggy
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.core.statements import Dialect
from dbaudit.engine import hookspecs
from dbaudit.engine.base import API_VERSION, Capability, DriverStatus, Engine
from dbaudit.engine.host_access import problems_of_marks

_log = logging.getLogger(__name__)
_REASON_CHARACTERS = 500
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
    """The engines of this installation by type, and the broken plugins."""

    def __init__(self, installed: Mapping[str, InstalledEngine], broken: Collection[BrokenPlugin]) -> None:
        self.installed = dict(sorted(installed.items()))
        self.broken = tuple(broken)

    def get(self, engine_type: str) -> Engine:
        """The engine of a type. Raises ConfigurationError (`engine_unknown`) that lists the known types."""
        try:
            return self.installed[engine_type].engine
        except KeyError:
            names = ", ".join(self.installed) or "none"
            reasons = [f" {b.name} is broken: {b.reason}" for b in self.broken if b.name == engine_type]
            raise ConfigurationError(
                ErrorCode.ENGINE_UNKNOWN,
                f"No engine {engine_type!r}; installed: {names}.{''.join(reasons)}",
                remedy=f"pip install 'dbaudit[{engine_type}]', or the plugin that brings this engine.",
            ) from None

    def driver_status(self, engine_type: str) -> DriverStatus:
        """What the engine says of its driver. If a plugin raises here, that is reported as a problem.

        Raises ConfigurationError (`engine_unknown`).
        """
        engine = self.get(engine_type)
        try:
            status = engine.driver_status()
            if not isinstance(status, DriverStatus):
                raise TypeError(f"driver_status gave {type(status).__name__}, not DriverStatus")
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  # a plugin's code: its failure is its own
            _log.warning("engine %s failed in driver_status: %s", engine_type, _one_line(error))
            return DriverStatus("unknown", problem=_one_line(error))
        return status


def load_engines(found: Iterable[EntryPoint] | None = None) -> EngineRegistry:
    """Load every plugin of the entry-point group ``dbaudit``.

    Each entry point is loaded and called on its own: one that raises (SystemExit too; only KeyboardInterrupt
    ends the program), yields something else than engines, declares another API version or a name that is
    taken is listed as broken, and all others are used. What a plugin yielded before it raised is used too.
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
            for engine in _engines_of(plugins, entry):
                problem = _problem_of(engine, installed)
                if problem is None:
                    installed[engine.type] = InstalledEngine(engine, name, version)
                else:
                    _log.warning("an engine of %s %s is refused: %s", name, version, problem)
                    broken.append(BrokenPlugin(_type_of(engine, entry.name), name, version, problem))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  # a plugin's code: whatever it raises, the others are loaded
            _log.warning("plugin %s of %s %s is broken: %s", entry.name, name, version, _one_line(error))
            broken.append(BrokenPlugin(entry.name, name, version, _one_line(error)))
    return EngineRegistry(installed, broken)


def _built_in_first(entry: EntryPoint) -> tuple[bool, tuple[str, str], str]:
    distribution = _distribution(entry)
    return distribution[0] != "dbaudit", distribution, entry.name


def _distribution(entry: EntryPoint) -> tuple[str, str]:
    return (entry.dist.name, entry.dist.version) if entry.dist is not None else ("unknown", "unknown")


def _engines_of(plugins: pluggy.PluginManager, entry: EntryPoint) -> Iterator[Any]:
    plugin = entry.load()
    name = f"{':'.join(_distribution(entry))}:{entry.name}"
    try:
        plugins.register(plugin, name=name)
        plugins.check_pending()
        hook = plugins.subset_hook_caller(
            "dbaudit_engines", [p for p in plugins.get_plugins() if p is not plugin]
        )
        if not hook.get_hookimpls():
            raise TypeError("the plugin has no hook dbaudit_engines marked with dbaudit.engine.hookimpl")
        for engines in hook():
            yield from engines
    finally:
        if plugins.has_plugin(name):
            plugins.unregister(name=name)


def _type_of(engine: Any, otherwise: str) -> str:
    try:
        return engine.type if isinstance(engine.type, str) else otherwise
    except Exception:  # noqa: BLE001  # a plugin's code
        return otherwise


_FORMS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "type": (
        lambda v: isinstance(v, str) and _TYPE_NAME.fullmatch(v) is not None,
        "lower case letters, digits and underscores",
    ),
    "display_name": (lambda v: isinstance(v, str) and v != "", "a text"),
    "default_port": (lambda v: isinstance(v, int) and v is not True and 0 < v < 65536, "a port"),
    "supported_versions": (
        lambda v: isinstance(v, tuple) and all(isinstance(version, str) for version in v),
        "a tuple of texts",
    ),
    "capabilities": (
        lambda v: isinstance(v, frozenset) and all(isinstance(c, Capability) for c in v),
        "a frozenset of dbaudit.engine.Capability",
    ),
    "dialect": (lambda v: isinstance(v, Dialect), "a dbaudit.engine.Dialect"),
    "options_schema": (lambda v: isinstance(v, Mapping), "a JSON Schema"),
}


def _problem_of(engine: Any, installed: Mapping[str, InstalledEngine]) -> str | None:
    if isinstance(engine, type):
        return f"{engine.__name__} is a class; yield an instance of it"
    if not isinstance(engine, Engine):
        return f"{type(engine).__name__} is not a dbaudit.engine.Engine"
    if engine.api_version != API_VERSION:
        return f"written for plugin API {engine.api_version!r}; this dbaudit has {API_VERSION}"
    missing = [name for name in _FORMS if not hasattr(engine, name)]
    if missing:
        return f"the engine does not set {', '.join(missing)}"
    for name, (fits, form) in _FORMS.items():
        value = getattr(engine, name)
        if not fits(value):
            return f"{name} is {value!r}, not {form}"
    if engine.type in installed:
        holder = installed[engine.type]
        return f"the type {engine.type!r} is taken by {holder.distribution} {holder.distribution_version}"
    try:
        Draft202012Validator.check_schema(dict(engine.options_schema))
    except SchemaError as error:
        return f"options_schema is no JSON Schema: {error.message}"
    return next((f"options_schema: {problem}" for problem in problems_of_marks(engine.options_schema)), None)


def _one_line(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001  # an exception of a plugin that cannot even be shown
        text = ""
    name = type(error).__name__
    return f"{name}: {text[:_REASON_CHARACTERS]}" if text else name
