"""What every real server of the tests has: a folder and a port of its own, a start, and an end at last."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers import processes
from tests.servers.account import server_account
from tests.servers.errors import ServerFailedError
from tests.servers.ports import HOST, free_port, is_free

PORT_ATTEMPTS = 20


class RunningServer(ABC):
    """One server, running inside its with statement.

    Args:
        name: the product with its release, such as ``MySQL 9.7``.
    """

    start_seconds = 60.0
    stop_seconds = 30.0

    def __init__(self, name: str) -> None:
        self.name = name
        self.host = HOST
        self.port = 0
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._folder = processes.new_run_folder(self.name.lower().replace(" ", "-"))
        try:
            self._create()
            self._start_on_a_free_port()
            self._prepare()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the server whatever it is doing and removes its folder."""
        self.kill()
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None

    @property
    def folder(self) -> Path:
        """The server's temporary folder: its data, its sockets and its logs."""
        if self._folder is None:
            raise ServerFailedError("the server's folder is there only inside its with statement")
        return self._folder

    @property
    def process_id(self) -> int:
        """Of the process that was started; others may be its children."""
        if self._process is None:
            raise ServerFailedError("the server is not running")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts the server where it stopped, on the port it had; returns when it takes connections."""
        if self.is_running:
            raise ServerFailedError("the server is already running")
        self._about_to_start()
        output = self.folder / "startup.log"
        process = server_account().spawn(self._command(), self._environment(), self.folder, output)
        self._process = process
        deadline = time.monotonic() + self.start_seconds
        while not self._is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ServerFailedError(f"{self.name} did not start:\n{self._last_words()}")
            time.sleep(processes.POLL_SECONDS)

    def stop(self) -> None:
        """Ends the server in order."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(self.stop_seconds)
        except subprocess.TimeoutExpired:
            raise ServerFailedError(f"the server did not stop within {self.stop_seconds} s") from None
        self._process = None

    def kill(self) -> None:
        """Ends the server at once, by SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start_on_a_free_port(self) -> None:
        for _attempt in range(PORT_ATTEMPTS):
            self.port = free_port()
            try:
                self.start()
            except ServerFailedError:
                if is_free(self.port):
                    raise
            else:
                return
        raise ServerFailedError(f"no port was free long enough in {PORT_ATTEMPTS} attempts")

    def _write_private(self, name: str, text: str) -> None:
        """A file in the folder that the server's account alone may read."""
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text)
        server_account().own([path])

    @abstractmethod
    def _create(self) -> None:
        """Make the data and the certificates in the folder, which is empty."""

    def _about_to_start(self) -> None:  # noqa: B027  # most have nothing to do here
        """The port is known now."""

    @abstractmethod
    def _command(self) -> list[str | Path]: ...

    @abstractmethod
    def _environment(self) -> dict[str, str]: ...

    @abstractmethod
    def _is_ready(self) -> bool:
        """Whether the server takes connections."""

    def _prepare(self) -> None:  # noqa: B027  # most have nothing to do here
        """Make what needs a running server, such as its superuser."""

    @abstractmethod
    def _last_words(self) -> str:
        """What the server wrote before it failed."""
