"""Runs the tests of connections that the API asks for."""

from __future__ import annotations

import logging
import threading
import time

import msgspec

from dbaudit.agent.calls import EngineCalls
from dbaudit.agent.marks import Marks
from dbaudit.agent.undeclared import databases_of, is_of_interest, with_undeclared
from dbaudit.core.clock import now_us
from dbaudit.core.errors import DbauditError, ErrorCode
from dbaudit.core.host_limits import HostLimits
from dbaudit.core.report import TestReport, failed_test
from dbaudit.core.tracebacks import safe_traceback
from dbaudit.engine import Session
from dbaudit.engine.manager import EngineRegistry
from dbaudit.state import State
from dbaudit.state.tasks import Task
from dbaudit.state.wakeup import Topic

_log = logging.getLogger(__name__)
_LOOK_AGAIN_SECONDS = 0.5
_MOST_AT_ONCE = 16
_MOST_HANGING = 64
_SHARE_OF_TIME = 0.8
_LONGEST_MARGIN_SECONDS = 2.0


class _Running(msgspec.Struct):
    task: Task
    times_out_at: float


class ConnectionTests(threading.Thread):
    """Takes tasks from the state and runs each in a thread of its own, so that one that hangs delays no
    other.

    A test that is not done shortly before the caller stops waiting is reported as timed out, and its place is
    free again; its thread ends when the engine returns, if ever.
    """

    def __init__(
        self, state: State, registry: EngineRegistry, node_id: str, marks: Marks, limits: HostLimits
    ) -> None:
        super().__init__(name="connection-tests", daemon=True)
        self._state = state
        self._registry = registry
        self._node_id = node_id
        self._marks = marks
        self._limits = limits
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._running: dict[str, _Running] = {}
        self._hanging: set[str] = set()

    def stop(self) -> None:
        """Take no further task."""
        self._stopping.set()

    def run(self) -> None:
        """Take tasks until stopped."""
        while not self._stopping.is_set():
            seen = self._state.wakeup.count(Topic.TASK_NEW)
            try:
                self._end_late()
                task = self._state.tasks.claim(self._node_id) if self._has_place() else None
            except DbauditError as error:
                _log.warning("no task can be taken: %s", error)
                task = None
            except Exception as error:  # noqa: BLE001  # outermost handler: tests go on after any failure
                _log.error("no task can be taken: %s", safe_traceback(error, ()))
                task = None
            if task is None:
                self._state.wakeup.wait(Topic.TASK_NEW, seen, _LOOK_AGAIN_SECONDS)
                continue
            left = (task.deadline_us - now_us()) / 1_000_000
            allowed = max(left * _SHARE_OF_TIME, left - _LONGEST_MARGIN_SECONDS)
            times_out_at = time.monotonic() + allowed
            with self._lock:
                self._running[task.id] = _Running(task, times_out_at)
            threading.Thread(target=self._run_one, args=(task,), name=f"test-{task.id}", daemon=True).start()

    def _has_place(self) -> bool:
        with self._lock:
            return len(self._running) < _MOST_AT_ONCE and len(self._hanging) < _MOST_HANGING

    def _end_late(self) -> None:
        now = time.monotonic()
        with self._lock:
            late = [running.task for running in self._running.values() if running.times_out_at <= now]
            for task in late:
                del self._running[task.id]
                self._hanging.add(task.id)
        for task in late:
            _log.warning("task %s has timed out: the engine %s does not answer", task.id, task.engine_type)
            message = f"{task.target.host}:{task.target.port} did not finish the test in time."
            self._finish(task, failed_test(ErrorCode.CONNECTION_TIMEOUT, message, None))

    def _run_one(self, task: Task) -> None:
        started = time.monotonic()
        try:
            report = self._test(task)
            with self._lock:
                in_time = task.id in self._running
            if in_time:
                self._finish(task, report)
        finally:
            with self._lock:
                self._running.pop(task.id, None)
                self._hanging.discard(task.id)
            _log.info("task %s took %.3f seconds", task.id, time.monotonic() - started)

    def _test(self, task: Task) -> TestReport:
        mark = self._marks.take(task.id)
        calls = EngineCalls(task.engine_type, task.target, mark)
        try:
            engine = self._registry.get(task.engine_type)
            session = calls.open(engine, task.target, self._limits)
            try:
                report = calls.test(session)
                if report.success and is_of_interest(engine, task.scope):
                    names = databases_of(calls, session)
                    if names is not None:
                        report = with_undeclared(
                            report, self._state, engine, calls, session, task.target, names
                        )
            finally:
                self._close(calls, session)
        except DbauditError as error:
            return failed_test(error.code, error.message, error.remedy)
        finally:
            self._marks.give_back(mark)
        return report

    def _close(self, calls: EngineCalls, session: Session) -> None:
        try:
            calls.call("close", object, session.close)
        except DbauditError as error:
            _log.warning("a tested connection cannot be closed: %s", error)

    def _finish(self, task: Task, report: TestReport) -> None:
        try:
            self._state.tasks.finish(task.id, report)
        except DbauditError as error:
            _log.warning("the result of task %s cannot be written: %s", task.id, error)
