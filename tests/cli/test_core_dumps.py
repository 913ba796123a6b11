"""No process of dbaudit leaves its memory, with keys and passwords in it, on a disk."""

import subprocess
import sys

import pytest

CODE = """
import ctypes, resource
from click.testing import CliRunner
from dbaudit.cli import main
resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
CliRunner().invoke(main, ["engines"])
print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""
"""3 is PR_GET_DUMPABLE."""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl(2) is Linux")
def test_every_command_prevents_core_dumps_of_its_process() -> None:
    process = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.splitlines()[-1] == "(0, 0) 0"
