"""`make run` as its user sees it."""

import subprocess
import sys

from tests.conftest import missing_engine_is_told
from tests.demo.place import REPOSITORY
from tests.servers.installations import client, installation


def test_a_short_run_finds_everything_that_it_did_once_each() -> None:
    with missing_engine_is_told():
        installation(17, pgaudit=True)
        client()
    done = subprocess.run(
        [sys.executable, "-m", "tests.demo", "3"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "everything was found, once each" in done.stdout
    assert "p50/p99 seconds from statement to API" in done.stdout
