"""Every dependency is explained where people look for it."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def dependencies() -> Iterator[str]:
    """The names of the packages that the distribution and its extras ask for."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    for requirement in [*project["dependencies"], *(one for extra in extras for one in extra)]:
        name = re.match(r"[A-Za-z0-9_.-]+", requirement)
        assert name, requirement
        if name[0] != project["name"]:
            yield name[0]


def explained() -> set[str]:
    """The names in the first column of the tables of docs/dependencies.md."""
    rows = re.findall(r"^\| ([^|]+) \|", (REPOSITORY / "docs" / "dependencies.md").read_text(), re.MULTILINE)
    return {name.strip() for row in rows for name in row.split(",")} - {"Package"}


def test_each_dependency_says_what_it_is_for_and_none_is_explained_that_is_gone() -> None:
    assert set(dependencies()) == explained()
