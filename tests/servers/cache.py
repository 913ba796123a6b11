"""The folder that keeps what was fetched for the servers, shared by every process that runs tests."""

import fcntl
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from tests.servers.account import server_account

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER_VARIABLE = "DBAUDIT_SERVERS_CACHE"
ROOT_FOLDER = Path("/var/cache/dbaudit-servers")


def say(message: str) -> None:
    print(f"[servers] {message}", file=sys.stderr, flush=True)


@cache
def cache_folder() -> Path:
    """The folder named by DBAUDIT_SERVERS_CACHE, else ``.cache/servers`` in the repository.

    When root runs the tests and the servers' account cannot enter the repository (a clone below ``/root``),
    the folder is ``/var/cache/dbaudit-servers``.
    """
    chosen = os.environ.get(FOLDER_VARIABLE)
    folder = Path(chosen).resolve() if chosen else REPOSITORY / ".cache" / "servers"
    _create_readable(folder)
    if not server_account().can_enter(folder):
        if chosen:
            raise PermissionError(
                f"{FOLDER_VARIABLE}={chosen}: {server_account().name} cannot enter that folder"
            )
        folder = ROOT_FOLDER
        _create_readable(folder)
    return folder


def once(name: str, build: Callable[[Path], None]) -> Path:
    """The cached folder called name; build(empty folder) fills it when it is not there yet.

    One process builds while the others wait, and a build that fails or is killed leaves nothing behind.
    """
    folder = cache_folder() / name
    if folder.exists():
        return folder
    with locked(name):
        if folder.exists():
            return folder
        started = time.monotonic()
        unfinished = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache_folder()))
        try:
            unfinished.chmod(0o755)
            build(unfinished)
            unfinished.rename(folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        say(f"{name} is ready after {time.monotonic() - started:.1f} s")
    return folder


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Held by one thread of one process at a time; released by the kernel when the process dies."""
    locks = cache_folder() / ".locks"
    locks.mkdir(exist_ok=True)
    with (locks / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _create_readable(folder: Path) -> None:
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        path.chmod(0o755)
