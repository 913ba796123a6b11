"""The plugin manager, with distributions that lie on the disk as pip leaves them."""

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent, indent

import pytest
from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.engine.manager import EngineRegistry, load_engines

Install = Callable[..., None]

PREAMBLE = """
from dbaudit.engine import API_VERSION, Capability, Decoded, Dialect, DriverStatus, Engine, hookimpl

class Redis(Engine):
    type = "redis"
    display_name = "Redis"
    default_port = 6379
    supported_versions = ("7", "8")
    capabilities = frozenset({Capability.CONNECTIONS})
    dialect = Dialect.POSTGRESQL

    def driver_status(self):
        return DriverStatus("redis-py", version="5.0")

    def open(self, target):
        raise NotImplementedError

    def decode(self, records):
        return Decoded([])
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a distribution into a folder of sys.path: one module, its metadata and one entry point."""
    monkeypatch.syspath_prepend(tmp_path)
    modules = []

    def put(name: str, source: str, *, version: str = "1.0", entry: str | None = None) -> None:
        module = name.replace("-", "_")
        modules.append(module)
        (tmp_path / f"{module}.py").write_text(PREAMBLE + dedent(source))
        info = tmp_path / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[dbaudit]\n{module} = {entry or module}\n")
        importlib.invalidate_caches()

    yield put
    for module in modules:
        sys.modules.pop(module, None)


def engine(changes: str, name: str = "Changed") -> str:
    return f"class {name}(Redis):\n{indent(dedent(changes), '    ')}\n\n" + dedent(f"""
    @hookimpl
    def dbaudit_engines():
        yield {name}()
    """)


GOOD = engine("type = 'good'")


def reasons(registry: EngineRegistry) -> dict[str, str]:
    return {f"{b.distribution} {b.distribution_version}": b.reason for b in registry.broken}


def test_an_installed_plugin_is_found_with_its_distribution_and_version(install: Install) -> None:
    install("dbaudit-redis", engine("type = 'redis'"), version="2.3")
    registry = load_engines()
    assert registry.broken == ()
    found = registry.installed["redis"]
    assert (found.distribution, found.distribution_version) == ("dbaudit-redis", "2.3")
    assert registry.get("redis").default_port == 6379
    assert registry.driver_status("redis").version == "5.0"
    assert "postgresql" in registry.installed
    assert registry.installed["postgresql"].distribution == "dbaudit"


BROKEN = {
    "import error": ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    "syntax error": ("def (:", "SyntaxError"),
    "exit at import": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "end of all at import": ("class End(BaseException): pass\nraise End('now')", "End: now"),
    "error that cannot be shown": (
        "class Mute(Exception):\n    def __str__(self): raise ValueError\nraise Mute",
        "Mute",
    ),
    "hook raises": (
        "@hookimpl\ndef dbaudit_engines():\n    raise ValueError('two\\nlines')",
        "ValueError: two",
    ),
    "hook exits": ("@hookimpl\ndef dbaudit_engines():\n    raise SystemExit", "SystemExit"),
    "no hook": ("", "no hook dbaudit_engines"),
    "hook not marked": ("def dbaudit_engines():\n    yield Redis()", "no hook dbaudit_engines"),
    "hook with unknown arguments": ("@hookimpl\ndef dbaudit_engines(colour):\n    yield Redis()", "colour"),
    "unknown hook": ("@hookimpl\ndef dbaudit_colours():\n    yield Redis()", "dbaudit_colours"),
    "hook gives no list": ("@hookimpl\ndef dbaudit_engines():\n    return 5", "'int' object is not iterable"),
    "not an engine": (
        "@hookimpl\ndef dbaudit_engines():\n    yield 'redis'",
        "str is not a dbaudit.engine.Engine",
    ),
    "class, not instance": ("@hookimpl\ndef dbaudit_engines():\n    yield Redis", "Redis is a class"),
    "abstract": ("class Half(Engine): pass\n@hookimpl\ndef dbaudit_engines():\n    yield Half()", "abstract"),
    "older API": (engine("api_version = 0"), "written for plugin API 0; this dbaudit has 1"),
    "API of another type": (engine("api_version = '1'"), "written for plugin API '1'"),
    "attributes missing": (
        "class X(Engine): open = decode = driver_status = 0\n@hookimpl\ndef dbaudit_engines(): yield X()",
        "does not set type, display_name, default_port, supported_versions, capabilities, dialect",
    ),
    "type with capitals": (engine("type = 'Redis'"), "type is 'Redis', not lower case letters"),
    "type is no text": (engine("type = 5"), "type is 5, not lower case letters"),
    "type raises": (engine("@property\ndef type(self): raise OSError('no type')"), "OSError: no type"),
    "port out of range": (engine("default_port = 70000"), "default_port is 70000, not a port"),
    "capabilities are texts": (engine("capabilities = frozenset({'queries'})"), "capabilities is"),
    "dialect is a text": (
        engine("dialect = 'postgresql'"),
        "dialect is 'postgresql', not a dbaudit.engine.Dialect",
    ),
    "versions are a text": (engine("supported_versions = '7'"), "supported_versions is '7', not a tuple"),
    "schema is none": (engine("options_schema = {'type': 'colour'}"), "options_schema is no JSON Schema"),
    "schema is no object": (engine("options_schema = None"), "options_schema is None, not a JSON Schema"),
    "name of a built-in engine": (engine("type = 'postgresql'"), "'postgresql' is taken by dbaudit "),
}


@pytest.mark.parametrize(("source", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_listed_with_its_reason_and_all_others_work(
    install: Install, source: str, reason: str
) -> None:
    install("b-good", GOOD)
    before = set(load_engines().installed)
    install("a-broken", source, version="0.9")
    registry = load_engines()
    assert {"good", "postgresql"} <= before == set(registry.installed)
    assert len(registry.broken) == 1
    assert reason in reasons(registry)["a-broken 0.9"]
    assert "\n" not in registry.broken[0].reason


def test_an_entry_point_to_nothing_is_listed_as_broken(install: Install) -> None:
    install("a-broken", "", entry="a_broken:nothing")
    install("b-good", GOOD)
    registry = load_engines()
    assert "good" in registry.installed
    assert "has no attribute 'nothing'" in reasons(registry)["a-broken 1.0"]


def test_the_first_distribution_keeps_a_name_that_two_want(install: Install) -> None:
    install("a-redis", engine("type = 'redis'"))
    install("b-redis", engine("type = 'redis'") + "\nclass Other(Redis): type = 'other'\n")
    registry = load_engines()
    assert registry.installed["redis"].distribution == "a-redis"
    assert reasons(registry) == {"b-redis 1.0": "the type 'redis' is taken by a-redis 1.0"}
    assert registry.broken[0].name == "redis"


def test_engines_yielded_before_a_plugin_raises_are_used_and_the_failure_is_listed(install: Install) -> None:
    source = """
    @hookimpl
    def dbaudit_engines():
        yield Redis()
        raise RuntimeError("half way")
    """
    install("a-half", source)
    install("b-good", GOOD)
    registry = load_engines()
    assert {"redis", "good"} <= set(registry.installed)
    assert reasons(registry) == {"a-half 1.0": "RuntimeError: half way"}


def test_one_refused_engine_does_not_take_the_others_of_its_plugin_along(install: Install) -> None:
    source = """
    @hookimpl
    def dbaudit_engines():
        yield None
        yield Redis()
    """
    install("a-mixed", source)
    registry = load_engines()
    assert "redis" in registry.installed
    assert reasons(registry) == {"a-mixed 1.0": "NoneType is not a dbaudit.engine.Engine"}


def test_ctrl_c_while_plugins_load_still_ends_the_program(install: Install) -> None:
    install("a-slow", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_engines()


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("raise ValueError('no driver')", "ValueError: no driver"),
        ("raise SystemExit(2)", "SystemExit: 2"),
        ("return 'fine'", "TypeError: driver_status gave str, not DriverStatus"),
    ],
)
def test_a_driver_status_that_fails_is_a_problem_of_that_engine_only(
    install: Install, body: str, problem: str
) -> None:
    install("a-redis", engine(f"def driver_status(self):\n    {body}"))
    registry = load_engines()
    assert registry.driver_status("redis").problem == problem
    assert registry.driver_status("postgresql").problem is None


def test_an_unknown_engine_is_refused_with_the_ones_there_are_and_why_one_is_missing(
    install: Install,
) -> None:
    install("cassandra", "import cx_nothing")
    install("b-good", GOOD)
    registry = load_engines()
    with pytest.raises(ConfigurationError) as caught:
        registry.get("cassandra")
    assert caught.value.code is ErrorCode.ENGINE_UNKNOWN
    assert re.search(r"No engine 'cassandra'; installed: good, .*postgresql", caught.value.message)
    assert "cassandra is broken: ModuleNotFoundError: No module named 'cx_nothing'" in caught.value.message
    assert "dbaudit[cassandra]" in str(caught.value.remedy)
    with pytest.raises(ConfigurationError):
        registry.driver_status("cassandra")


def test_without_any_plugin_the_error_says_that_none_is_installed() -> None:
    with pytest.raises(ConfigurationError, match="installed: none"):
        load_engines([]).get("redis")
