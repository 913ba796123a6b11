"""Both drivers, and doubles for them to speak with."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.engines.sqlserver.double import SqlServerDouble, microsoft_driver
from tests.engines.sqlserver.model import Model

_PACKAGES = ("unixodbc", "tdsodbc")


def _unavailable(message: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@pytest.fixture(scope="session")
def odbc() -> None:
    """The driver manager and FreeTDS, installed by name where this process may do so."""
    if _freetds_is_there():
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        command = ["apt-get", "install", "--quiet=2", "--yes", "--no-install-recommends", *_PACKAGES]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode == 0 and _freetds_is_there():
            return
    _unavailable(f"needs the system packages {', '.join(_PACKAGES)}")


def _freetds_is_there() -> bool:
    try:
        import pyodbc
    except ImportError:
        return False
    return "FreeTDS" in pyodbc.drivers()


@pytest.fixture
def freetds(odbc: None) -> str:
    return "FreeTDS"


@pytest.fixture
def microsoft(odbc: None) -> str:
    """The path of Microsoft's driver."""
    if platform.machine() != "x86_64":
        pytest.skip("the wheel with Microsoft's driver is fetched for x86_64 alone")
    path = microsoft_driver()
    if path is None:
        _unavailable("needs Microsoft's driver: pip install mssql-python-odbc")
    return str(path)


@pytest.fixture(params=["freetds", "microsoft"])
def driver(request: pytest.FixtureRequest) -> str:
    """Each driver in turn, as the option odbc_driver names it."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def start(odbc: None) -> Iterator[Callable[..., SqlServerDouble]]:
    """Starts doubles for one test: ``start(model)``."""
    with ExitStack() as running:

        def begin(model: Model, *arguments: Any) -> SqlServerDouble:
            return running.enter_context(SqlServerDouble(model, *arguments))

        yield begin
