"""Runs the command line as its users do: as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tests.host_limits import ANY_FOLDER_VARIABLE
from tests.patience import PATIENCE_SECONDS
from tests.servers.processes import PROC, children, is_alive, title, wait_for

DBAUDIT = Path(sys.executable).with_name("dbaudit")


def environment(**variables: str) -> dict[str, str]:
    """The environment of a command: none of ours that dbaudit or a proxy would heed, but
    for the folders of the tests' servers, and ``variables``.
    """
    heeded = ("DBAUDIT", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT", "XDG_")
    inherited = {k: v for k, v in os.environ.items() if not k.upper().startswith(heeded)}
    return inherited | ANY_FOLDER_VARIABLE | variables


def dbaudit(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `dbaudit ARGUMENTS` to its end; ``variables`` are added to its environment."""
    return subprocess.run(
        [DBAUDIT, *arguments],
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def new_key(home: Path, *scopes: str) -> str:
    """An API key of the installation on ``home``; of an administrator without ``scopes``."""
    given = [argument for scope in scopes or ("admin",) for argument in ("--scope", scope)]
    made = dbaudit("keys", "create", "--home", home, "--name", "tests", *given)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


class Up:
    """A running `dbaudit up` on ``home``, which ends with the context."""

    def __init__(self, home: Path, *arguments: str, **variables: str) -> None:
        self.home = home
        self._log = home.with_name(f"{home.name}-{id(self):x}.log")
        self._command = [DBAUDIT, "up", "--home", home, *arguments]
        self._environment = environment(**variables)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        family = [self.process_id, *self.children()]
        for process_id in family:
            if is_alive(process_id):
                os.kill(process_id, signal.SIGKILL)
        self.process.wait()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def process_id(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        return self._log.read_text()

    @property
    def url(self) -> str:
        return (self.home / "api.url").read_text().strip()

    def children(self) -> list[int]:
        """The processes of the tree, without its parent."""
        return children(self.process_id)

    def child(self, command: str) -> int:
        """The process of `dbaudit COMMAND`."""
        found: list[int] = []

        def is_there() -> bool:
            found[:] = [p for p in self.children() if f"dbaudit\0{command}\0" in title(p)]
            return bool(found)

        wait_for(is_there, f"a child {command}")
        return found[0]

    def until_ready(self) -> Self:
        wait_for(lambda: "\nready" in self.output or self.has_ended(), "dbaudit up being ready")
        assert not self.has_ended(), self.output
        return self

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)


def get(url: str, key: str | None = None, verify: bool | str = True) -> httpx.Response:
    """GET without any of the SDK's patience."""
    headers: Mapping[str, str] = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx.get(url, headers=headers, timeout=PATIENCE_SECONDS, verify=verify, trust_env=False)


def command_lines() -> str:
    """The process list, as every user of the machine can read it."""
    return "\n".join(title(int(entry.name)) for entry in PROC.iterdir() if entry.name.isdigit())
