"""Runs the tests of connections that the API asks for."""

from __future__ import annotations

import logging
import threading
import time

from dbaudit.core.errors import DbauditError, ErrorCode
from dbaudit.core.report import Diagnosis, DiagnosisStatus, TestReport
from dbaudit.core.tracebacks import safe_traceback
from dbaudit.engine.manager import EngineRegistry
from dbaudit.state import State
from dbaudit.state.tasks import Task
from dbaudit.state.wakeup import Topic

_log = logging.getLogger(__name__)
_LOOK_AGAIN_SECONDS = 1.0
_MOST_AT_ONCE = 16


class ConnectionTests(threading.Thread):
    """Takes tasks from the state and runs each in a thread of its own, so that one that hangs delays no
    other."""

    def __init__(self, state: State, registry: EngineRegistry, node_id: str) -> None:
        super().__init__(name="connection-tests", daemon=True)
        self._state = state
        self._registry = registry
        self._node_id = node_id
        self._stopping = threading.Event()
        self._places = threading.BoundedSemaphore(_MOST_AT_ONCE)

    def stop(self) -> None:
        """Take no further task."""
        self._stopping.set()

    def run(self) -> None:
        """Take tasks until stopped."""
        while not self._stopping.is_set():
            seen = self._state.wakeup.count(Topic.TASK_NEW)
            if not self._places.acquire(timeout=_LOOK_AGAIN_SECONDS):
                continue
            task = None
            try:
                task = self._state.tasks.claim(self._node_id)
            except DbauditError as error:
                _log.warning("no task can be taken: %s", error)
            if task is None:
                self._places.release()
                self._state.wakeup.wait(Topic.TASK_NEW, seen, _LOOK_AGAIN_SECONDS)
            else:
                threading.Thread(
                    target=self._run_one, args=(task,), name=f"test-{task.id}", daemon=True
                ).start()

    def _run_one(self, task: Task) -> None:
        try:
            report = self._test(task)
            self._state.tasks.finish(task.id, report)
        except DbauditError as error:
            _log.warning("the result of task %s cannot be written: %s", task.id, error)
        finally:
            self._places.release()

    def _test(self, task: Task) -> TestReport:
        started = time.monotonic()
        try:
            with self._registry.get(task.engine_type).open(task.target) as session:
                return session.test()
        except DbauditError as error:
            return _failed(error.code, str(error), error.remedy)
        except Exception as error:  # noqa: BLE001  # a plugin's code: it fails for itself
            secrets = (task.target.password, task.target.ssl_key)
            _log.error("the engine %s failed: %s", task.engine_type, safe_traceback(error, secrets))
            return _failed(ErrorCode.ENGINE_FAILED, f"The engine failed: {type(error).__name__}.", None)
        finally:
            _log.info("task %s took %.3f seconds", task.id, time.monotonic() - started)


def _failed(code: ErrorCode, message: str, remedy: str | None) -> TestReport:
    return TestReport(
        reachable=False,
        success=False,
        error_code=code.value,
        error=message,
        diagnoses=(Diagnosis(code.value, DiagnosisStatus.FAILED, message, remedy),),
    )
