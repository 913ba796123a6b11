"""A child process that is started again when it dies."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

from dbaudit.cli.exit_codes import ExitCode

_log = logging.getLogger(__name__)
_FIRST_DELAY_SECONDS = 0.5
_LONGEST_DELAY_SECONDS = 30.0
_LIVED_WELL_SECONDS = 5.0
SHUTDOWN_SECONDS = 10
"""How long a service may take to end."""
_STOP_SECONDS = SHUTDOWN_SECONDS + 10.0
_IS_OF_CONFIGURATION = frozenset({ExitCode.USAGE, ExitCode.CONFIGURATION}).__contains__


class Child:
    """`dbaudit COMMAND ARGUMENTS` as a child that ends with this process.

    If it dies, it is started again: at once the first time, then after a delay that grows until a child was
    of use, which ``was_useful`` says after its end. If it ends with a code that is ``final``, another start
    cannot help, so ``stop`` is set. ``arguments`` is called with how the child before died, such as `was
    ended by SIGKILL`, or None. ``descriptors`` are inherited.
    """

    def __init__(
        self,
        command: str,
        arguments: Callable[[str | None], Sequence[str]],
        descriptors: Sequence[int],
        stop: threading.Event,
        final: Callable[[int], bool] = _IS_OF_CONFIGURATION,
        was_useful: Callable[[], bool] = lambda: False,
    ) -> None:
        self.command = command
        self._final = final
        self._was_useful = was_useful
        self._arguments = arguments
        self._descriptors = descriptors
        self._stop = stop
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._code = 0

    def start(self, common_arguments: Sequence[str]) -> None:
        """Start it, and watch it from now on."""
        self._thread = threading.Thread(target=self._watch, args=(common_arguments,), name=self.command)
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

    def _watch(self, common_arguments: Sequence[str]) -> None:
        delay = 0.0
        died: str | None = None
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                code = self._run([*self._arguments(died), *common_arguments])
            except OSError as error:  # no memory or no process left, for now
                _log.error("%s cannot be started: %s", self.command, error)
                code = None
            if self._stop.is_set():
                # -SIGTERM: the child was stopped before it could handle the signal.
                self._code = 0 if code in (0, None, -signal.SIGTERM) else ExitCode.FAILURE
                return
            if code is not None and self._final(code):
                self._code = code
                self._stop.set()
                return
            if time.monotonic() - started > _LIVED_WELL_SECONDS:
                delay = 0.0
            elif self._was_useful():
                delay = min(delay, _FIRST_DELAY_SECONDS)
            if code is not None:
                died = _how(code)
                _log.error("%s %s", self.command, died)
            _log.info("%s is started again in %g seconds", self.command, delay)
            self._stop.wait(delay)
            delay = min(max(2 * delay, _FIRST_DELAY_SECONDS), _LONGEST_DELAY_SECONDS)

    def _run(self, arguments: Sequence[str]) -> int | None:
        """Start the process and wait for its end; None when it was not started any more."""
        with self._lock:
            if self._stop.is_set():
                return None
            # -P: what lies in the working directory is not imported.
            line = [sys.executable, "-P", "-m", "dbaudit", self.command, *arguments]
            self._process = subprocess.Popen(  # noqa: S603  # our own program
                line, stdin=subprocess.PIPE, pass_fds=self._descriptors
            )
        return self._process.wait()


def end_all(children: Sequence[Child]) -> int:
    """End them all; the exit code of the first that did not end cleanly, or 0."""
    deadline = time.monotonic() + _STOP_SECONDS
    for child in children:
        child.terminate()
    codes = [child.join(max(0.0, deadline - time.monotonic())) for child in children]
    return next((code for code in codes if code), 0)


def agent_child(
    descriptors: Sequence[int],
    stop: threading.Event,
    final: Callable[[int], bool] = _IS_OF_CONFIGURATION,
) -> Child:
    """The agent as a child: each process of it finds the marks of the one that died before it.

    Once it works no code is ``final``: it may be an engine that has ended the process.
    """
    marks = os.memfd_create("dbaudit-marks", os.MFD_CLOEXEC)

    def arguments(died: str | None) -> list[str]:
        os.pwrite(marks, b"\0\0", 0)  # the first byte says whether it works, the second whether it collected
        return ["--child", "--marks-fd", str(marks), *(["--died", died] if died else [])]

    def is_final(code: int) -> bool:
        return final(code) and os.pread(marks, 1, 0) == b"\0"

    def has_collected() -> bool:
        return os.pread(marks, 1, 1) == b"\1"

    return Child("agent", arguments, (*descriptors, marks), stop, is_final, has_collected)


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"was ended by signal {-code}"
