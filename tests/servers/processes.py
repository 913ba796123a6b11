"""Processes of the machine, as /proc shows them, and the run folders of servers whose starter died."""

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Collection, Iterable
from functools import cache
from pathlib import Path

from tests.patience import PATIENCE_SECONDS

PROC = Path("/proc")
RUN_PREFIX = "dbaudit-server-"
STARTER = "starter"
POLL_SECONDS = 0.005
LONGEST_POLL_SECONDS = 0.1


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Returns as soon as the condition holds.

    Raises:
        TimeoutError: it does not hold within the time-out of all tests.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    pause = POLL_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {PATIENCE_SECONDS} s")
        time.sleep(pause)
        pause = min(pause * 1.2, LONGEST_POLL_SECONDS)  # looking must not slow down what it waits for


def children(process_id: int) -> list[int]:
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdigit() and _stat(int(entry.name))[1:2] == [str(process_id)]:
            found.append(int(entry.name))
    return found


def title(process_id: int) -> str:
    try:
        return (PROC / str(process_id) / "cmdline").read_bytes().rstrip(b"\0 ").decode(errors="replace")
    except OSError:
        return ""


def is_alive(process_id: int) -> bool:
    return _stat(process_id)[:1] not in ([], ["Z"], ["X"])


def kill_tree(process_id: int, spared: Collection[int] = ()) -> list[int]:
    """Ends a process and its children by SIGKILL, before it can see them die; returns all its children."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process_id, signal.SIGSTOP)
    family = children(process_id)
    for member in (process_id, *family):
        if member not in spared:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
    return family


def wait_until_gone(process_ids: Iterable[int]) -> None:
    for process_id in process_ids:
        wait_for(lambda process_id=process_id: not is_alive(process_id), f"the end of process {process_id}")  # type: ignore[misc]


def new_run_folder(engine: str) -> Path:
    """A temporary folder for one server, marked with the process that started it."""
    _remove_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=f"{RUN_PREFIX}{engine}-"))
    folder.chmod(0o755)
    (folder / STARTER).write_text(f"{os.getpid()} {_start_time(os.getpid())}")
    return folder


@cache
def _remove_abandoned() -> None:
    """Ends the servers, and removes the folders, of test runs that were killed before they could."""
    for mark in Path(tempfile.gettempdir()).glob(f"{RUN_PREFIX}*/{STARTER}"):
        with contextlib.suppress(OSError, ValueError):
            starter, started = mark.read_text().split()
            if mark.stat().st_uid == os.geteuid() and _start_time(int(starter)) != started:
                _end_server_of(mark.parent)
                shutil.rmtree(mark.parent, ignore_errors=True)


def _end_server_of(folder: Path) -> None:
    for entry in PROC.iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and folder in (entry / "cwd").readlink().parents:
                os.kill(int(entry.name), signal.SIGKILL)


def _start_time(process_id: int) -> str:
    return "".join(_stat(process_id)[19:20])


def _stat(process_id: int) -> list[str]:
    """The fields of /proc/PID/stat from the third, the state, on; none when there is no such process."""
    try:
        text = (PROC / str(process_id) / "stat").read_text()
    except OSError:
        return []
    return text[text.rindex(")") + 2 :].split()
