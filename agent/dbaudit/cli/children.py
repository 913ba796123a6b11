"""A child process that is started again when it dies."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from dbaudit.cli.exit_codes import ExitCode

_log = logging.getLogger(__name__)
_FIRST_DELAY_SECONDS = 0.5
_LONGEST_DELAY_SECONDS = 30.0
_LIVED_WELL_SECONDS = 60.0


class Child:
    """`dbaudit COMMAND ARGUMENTS` as a child that ends with this process.

    It dies: it is started again, after a delay that grows. It ends because of its configuration: another
    start cannot help, so ``stop`` is set. ``descriptors`` are inherited.
    """

    def __init__(
        self, command: str, arguments: Sequence[str], descriptors: Sequence[int], stop: threading.Event
    ) -> None:
        self.command = command
        self._arguments = arguments
        self._descriptors = descriptors
        self._stop = stop
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._code = 0

    def start(self, common_arguments: Sequence[str]) -> None:
        """Start it, and watch it from now on."""
        # -P: what lies in the working directory is not imported.
        line = [sys.executable, "-P", "-m", "dbaudit", self.command, *self._arguments, *common_arguments]
        self._thread = threading.Thread(target=self._watch, args=(line,), name=self.command)
        self._thread.start()

    def terminate(self) -> None:
        """Ask it to end; it is not started again."""
        self._stop.set()
        with self._lock:
            if self._process is not None:
                self._process.terminate()

    def join(self, timeout_seconds: float) -> int:
        """Wait for its end, kill it after ``timeout_seconds``; its exit code, 0 when it ended cleanly."""
        if self._thread is None:
            return 0
        self._thread.join(timeout_seconds)
        if self._thread.is_alive():
            _log.error("%s does not end; it is killed", self.command)
            with self._lock:
                if self._process is not None:
                    self._process.kill()
            self._thread.join()
        return self._code

    def _watch(self, line: Sequence[str]) -> None:
        delay = _FIRST_DELAY_SECONDS
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                code = self._run(line)
            except OSError as error:  # no memory or no process left, for now
                _log.error("%s cannot be started: %s", self.command, error)
                code = None
            if self._stop.is_set():
                # By SIGTERM itself: it was ended before it had begun.
                self._code = 0 if code in (0, None, -signal.SIGTERM) else ExitCode.FAILURE
                return
            if code in (ExitCode.USAGE, ExitCode.CONFIGURATION):
                self._code = code
                self._stop.set()
                return
            if time.monotonic() - started > _LIVED_WELL_SECONDS:
                delay = _FIRST_DELAY_SECONDS
            if code is not None:
                _log.error("%s %s", self.command, _how(code))
            _log.info("%s is started again in %g seconds", self.command, delay)
            self._stop.wait(delay)
            delay = min(2 * delay, _LONGEST_DELAY_SECONDS)

    def _run(self, line: Sequence[str]) -> int | None:
        """Start the process and wait for its end; None when it was not started any more."""
        with self._lock:
            if self._stop.is_set():
                return None
            self._process = subprocess.Popen(  # noqa: S603  # our own program
                line, stdin=subprocess.PIPE, pass_fds=self._descriptors
            )
        return self._process.wait()


def _how(code: int) -> str:
    return f"ended with code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
