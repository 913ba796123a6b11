"""Agents as processes of their own, to be killed."""

import logging
import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Self

from dbaudit.agent import Agent, AgentSettings
from dbaudit.engine.manager import load_engines
from dbaudit.state import open_state
from dbaudit.state.encryption import keyring_from_file

from tests.faults.steps import Step, stop_at
from tests.forking import fork_server
from tests.patience import PATIENCE_SECONDS
from tests.servers.processes import PROC, wait_for


class AgentProcess:
    """One agent on the state at ``url``. With ``step`` it stops itself there at the ``passings``-th time."""

    def __init__(
        self,
        url: str,
        keys: Path,
        log: Path,
        settings: AgentSettings,
        *,
        lease_seconds: float,
        step: Step | None = None,
        passings: int = 1,
    ) -> None:
        arguments = (url, keys, log, settings, lease_seconds, step, passings)
        self._process: ForkServerProcess = fork_server.Process(target=_be_an_agent, args=arguments)

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._process.is_alive():
            self.kill()

    @property
    def process_id(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL, wherever it is."""
        self._process.kill()
        self._process.join()

    def terminate(self, timeout_seconds: float = PATIENCE_SECONDS) -> int:
        """SIGTERM; returns the exit code."""
        self._process.terminate()
        self._process.join(timeout_seconds)
        assert self._process.exitcode is not None, f"the agent did not end within {timeout_seconds} s"
        return self._process.exitcode

    def freeze(self) -> None:
        """SIGSTOP."""
        os.kill(self.process_id, signal.SIGSTOP)
        self.wait_until_stopped()

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.process_id, signal.SIGCONT)

    def wait_until_stopped(self) -> None:
        """Wait until it has come to its step, or was frozen."""
        wait_for(self._is_stopped, "stopping at the step")

    def _is_stopped(self) -> bool:
        assert self._process.is_alive(), "the agent ended by itself"
        stat = (PROC / str(self.process_id) / "stat").read_text()
        return stat[stat.rindex(")") + 2] == "T"


def _be_an_agent(
    url: str,
    keys: Path,
    log: Path,
    settings: AgentSettings,
    lease_seconds: float,
    step: Step | None,
    passings: int,
) -> None:
    end_with_the_tests()
    logging.basicConfig(filename=log, format="%(asctime)s %(process)d %(name)s %(message)s", level="INFO")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *signalled: threading.Thread(target=stop.set).start())
    state = open_state(url, keyring_from_file(keys, create=False), lease_seconds=lease_seconds)
    if step is not None:
        stop_at(step, passings, state)
    Agent(state, load_engines(), settings).run(stop)
    state.close()


def end_with_the_tests() -> None:
    """Let this process end when the one that runs the tests does, however that ends."""
    tests = multiprocessing.parent_process()
    assert tests is not None

    def watch() -> None:
        wait([tests.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
