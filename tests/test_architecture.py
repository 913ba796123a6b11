"""The rooms of the code and who may know whom: every import of every file, wherever in the file it stands."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "agent" / "dbaudit"
COLLECTION = REPOSITORY / "plugins"

EVERYTHING = frozenset(
    {"core", "engine", "engines", "state", "agent", "api", "sdk", "testing", "configuration"}
)
MAY_KNOW = {
    "core": frozenset[str](),
    "engine": frozenset({"core"}),
    "engines": frozenset({"core", "engine"}),
    "state": frozenset({"core"}),
    "agent": frozenset({"core", "engine", "state"}),
    "api": frozenset({"core", "state"}),
    "sdk": frozenset({"core"}),
    "testing": frozenset({"core", "engine"}),
    "configuration": frozenset({"core"}),
    "cli": EVERYTHING,
    "__main__": frozenset({"cli"}),
    "__init__": frozenset({"core", "sdk"}),
}
"""Each room of the distribution, and the other rooms that it may import."""

DRIVERS = frozenset({"psycopg", "pymysql", "pyodbc", "oracledb", "pymongo"})
NAMELESS = frozenset({"utils", "util", "helpers", "helper", "common", "misc", "shared"})
LONGEST_FILE = 600
DYNAMIC = frozenset({"import_module", "importlib.import_module", "__import__"})


def imported(file: Path, package: str = "") -> Iterator[tuple[int, str]]:
    """The line and the full name of everything that a file imports, in functions and for types too."""
    for node in ast.walk(ast.parse(file.read_text(), str(file))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in DYNAMIC:
            yield from ((node.lineno, str(a.value)) for a in node.args[:1] if isinstance(a, ast.Constant))


def room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module_package(file: Path) -> str:
    return ".".join(["dbaudit", *file.relative_to(PACKAGE).parent.parts])


def python_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


SOURCES = python_files(PACKAGE)


def test_every_room_is_one_of_the_design() -> None:
    assert {room(file) for file in SOURCES} <= set(MAY_KNOW)


@pytest.mark.parametrize("name", MAY_KNOW)
def test_a_room_imports_only_the_rooms_that_it_may_know(name: str) -> None:
    wrong = [
        f"{file.relative_to(REPOSITORY)}:{line} imports {module}"
        for file in SOURCES
        if room(file) == name
        for line, module in imported(file, module_package(file))
        if module.startswith("dbaudit.")
        and (known := module.split(".")[1]) != name
        and known in MAY_KNOW
        and known not in MAY_KNOW[name]
    ]
    assert wrong == []


def test_only_agents_and_the_state_speak_to_databases() -> None:
    wrong = [
        f"{file.relative_to(REPOSITORY)}:{line} imports {module}"
        for file in SOURCES
        if room(file) not in ("engines", "state")
        for line, module in imported(file, module_package(file))
        if module.split(".")[0] in DRIVERS
    ]
    assert wrong == []


SPOKEN_BY_SEVERAL = frozenset({"mysql_protocol"})
"""Packages in the room of the engines that are no engine: what two of them speak alike."""


def test_no_engine_knows_another_one() -> None:
    wrong = [
        f"{file.relative_to(REPOSITORY)}:{line} imports {module}"
        for file in SOURCES
        if room(file) == "engines" and len(file.relative_to(PACKAGE).parts) > 2
        for line, module in imported(file, module_package(file))
        if module.startswith("dbaudit.engines.")
        and module.split(".")[2] not in {file.relative_to(PACKAGE).parts[1], *SPOKEN_BY_SEVERAL}
    ]
    assert wrong == []


def test_the_collection_imports_nothing_of_the_distribution() -> None:
    wrong = [
        f"{file.relative_to(REPOSITORY)}:{line} imports {module}"
        for file in python_files(COLLECTION)
        for line, module in imported(file, "ansible_collections.dbaudit.dbaudit.plugins.x")
        if module.split(".")[0] == "dbaudit" or module.split(".")[0] in DRIVERS
    ]
    assert wrong == []


def test_no_file_and_no_folder_has_a_name_that_says_nothing() -> None:
    paths = [
        path for root in ("agent", "plugins", "roles", "tests") for path in (REPOSITORY / root).rglob("*")
    ]
    assert [
        str(path) for path in paths if path.stem.strip("_") in NAMELESS and "__pycache__" not in path.parts
    ] == []


def test_no_file_is_longer_than_anyone_likes_to_read() -> None:
    files = [
        file for root in ("agent", "plugins", "tests", "roles") for file in python_files(REPOSITORY / root)
    ]
    lengths = {str(file.relative_to(REPOSITORY)): len(file.read_text().splitlines()) for file in files}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import dbaudit.state.store",
        "from dbaudit import state",
        "from dbaudit.state import State",
        "from ..state import State",
        "from .. import state",
        "def late():\n    from dbaudit.state.store import State",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import dbaudit.state",
        "import importlib\nimportlib.import_module('dbaudit.state.store')",
        "try:\n    pass\nexcept ImportError:\n    from dbaudit.state import x",
    ],
)
def test_no_way_of_importing_escapes_these_tests(tmp_path: Path, source: str) -> None:
    file = tmp_path / "module.py"
    file.write_text(source)
    assert "state" in {
        m.split(".")[1] for other, m in imported(file, "dbaudit.core") if m.startswith("dbaudit.")
    }


TYPED_IN_ONE_PLACE = PACKAGE / "core" / "typed.py"


def test_types_are_decoded_in_one_place_which_builds_them_under_a_lock() -> None:
    """msgspec crashes the process where two threads build a type at once: see core/typed.py."""
    wrong = [
        f"{file.relative_to(REPOSITORY)}:{node.lineno} calls {ast.unparse(node.func)}"
        for file in SOURCES
        if file != TYPED_IN_ONE_PLACE
        for node in ast.walk(ast.parse(file.read_text(), str(file)))
        if isinstance(node, ast.Call) and _builds_a_type(node)
    ]
    assert wrong == []


def _builds_a_type(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    if name.startswith("msgspec.") and name.endswith((".convert", ".Decoder")):
        return True
    return name == "msgspec.json.decode" and any(keyword.arg == "type" for keyword in call.keywords)


OPENING = frozenset(
    {"open", "os.open", "io.open", "os.scandir", "os.listdir", "os.access", "os.stat", "shutil.disk_usage"}
)
OPENING_A_PATH = frozenset({"read_text", "read_bytes", "iterdir", "glob", "rglob", "walk", "exists"})
OF_THE_AGENT_ITSELF = frozenset(
    {
        "certificates.py: open(descriptor, 'wb', closefd=False)",
        "freetds.py: open(written, 'wb', closefd=False)",
        "lifeline.py: _DESCRIPTORS.iterdir()",
        "measuring.py: shutil.disk_usage(real_path(path, limits))",
    }
)
"""What no declaration and no server names, and what was checked in the same breath."""


def test_engines_open_what_others_name_through_host_access_alone() -> None:
    found = {
        f"{file.name}: {ast.unparse(node)}"
        for file in SOURCES
        if room(file) in ("engine", "engines") and file.name != "host_access.py"
        for node in ast.walk(ast.parse(file.read_text(), str(file)))
        if isinstance(node, ast.Call) and _opens(node) and "/proc/" not in ast.unparse(node)
    }
    assert found - OF_THE_AGENT_ITSELF == set()


def _opens(call: ast.Call) -> bool:
    method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    is_mode = method == "open" and any(isinstance(a, ast.Constant) for a in call.args)
    return ast.unparse(call.func) in OPENING or method in OPENING_A_PATH or is_mode


def test_every_followed_log_of_an_engine_is_given_the_limits() -> None:
    wrong = [
        f"{file.relative_to(REPOSITORY)}:{node.lineno}"
        for file in SOURCES
        if room(file) == "engines"
        for node in ast.walk(ast.parse(file.read_text(), str(file)))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"LocalLog", "LocalLogFiles", "rotated_files"}
        and "limits" not in {keyword.arg for keyword in node.keywords}
    ]
    assert wrong == []


def test_the_agent_opens_sessions_in_one_place_only() -> None:
    wrong = [
        f"{file.relative_to(REPOSITORY)}:{node.lineno}"
        for file in SOURCES
        if room(file) == "agent" and file.name != "calls.py"
        for node in ast.walk(ast.parse(file.read_text(), str(file)))
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "engine.open"
    ]
    assert wrong == []


CHANGING = {
    "databases": {"create", "update", "delete", "apply"},
    "api_keys": {"create", "update", "revoke"},
    "db_conns": {"put", "delete", "set_policy"},
    "tasks": {"request_test", "request_stored_test"},
    "secrets": {"rotate"},
}
"""The methods of the state's parts that change something for somebody."""


def test_every_change_for_a_user_says_who_asks_for_it() -> None:
    calls = [
        (f"{file.relative_to(REPOSITORY)}:{node.lineno}", ast.unparse(node))
        for file in SOURCES
        if room(file) in ("api", "cli")
        for node in ast.walk(ast.parse(file.read_text(), str(file)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if node.func.attr in CHANGING.get(ast.unparse(node.func.value).rpartition("state.")[2], ())
    ]
    assert len(calls) >= sum(map(len, CHANGING.values()))
    assert [place for place, call in calls if "acting()" not in call] == []
