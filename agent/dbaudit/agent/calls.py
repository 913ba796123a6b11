"""Calling into an engine plugin, which may raise anything, return anything, or never return.

Whatever comes out of a call is either a value of the promised type or one of the three errors that the agent
knows how to go on from, without a secret in it. While a call lasts, others can see which one and since when.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec

from dbaudit.agent.marks import Mark
from dbaudit.core import typed
from dbaudit.core.database import Target
from dbaudit.core.errors import ConfigurationError, ErrorCode, PluginError, TransientError
from dbaudit.core.host_limits import HostLimits
from dbaudit.core.report import TestReport
from dbaudit.core.secret import Secret
from dbaudit.core.tracebacks import safe_traceback, without_secrets
from dbaudit.engine import Engine, Session
from dbaudit.engine.host_access import within

_log = logging.getLogger(__name__)
_Returned = TypeVar("_Returned")

# With these codes the state directs the agent. From a plugin they would mislead it.
_CODES_OF_THE_STATE = frozenset(
    {ErrorCode.STATE_UNAVAILABLE, ErrorCode.STATE_CHANGED_ELSEWHERE, ErrorCode.LEASE_LOST}
)


class EngineCalls:
    """The calls for one target, made by the thread of ``mark``; any thread may ask ``since``."""

    def __init__(self, engine_type: str, target: Target, mark: Mark) -> None:
        self._engine_type = engine_type
        self._mark = mark
        # A secret that is public under another name cannot be hidden without hiding that, too.
        public = (target.username, target.database, f"{target.host}:{target.port}")
        self._secrets: tuple[Secret, ...] = tuple(
            s
            for s in (target.password, target.ssl_key)
            if s is not None and not any(s.reveal() in known for known in public)
        )
        self._inside: tuple[str, float] | None = None

    def since(self) -> tuple[str, float] | None:
        """The call that has not returned yet, and the seconds that it has lasted; None outside of calls."""
        inside = self._inside
        return None if inside is None else (inside[0], time.monotonic() - inside[1])

    def call(
        self, name: str, kind: type[object], function: Callable[..., _Returned], *arguments: Any
    ) -> _Returned:
        """Call ``function`` and return its value, which must be a ``kind``. Raises ConfigurationError,
        TransientError, or PluginError for everything else that it raises or returns.
        """
        with self.watched(name):
            try:
                result = function(*arguments)
                if not isinstance(result, kind):
                    raise TypeError(f"{name}() returned {type(result).__name__} instead of {kind.__name__}")
            except (ConfigurationError, TransientError, PluginError) as error:
                if error.code in _CODES_OF_THE_STATE:
                    raise PluginError(f"The engine failed in {name}() with the code {error.code}.") from None
                error.message = self.hide(error.message)
                error.remedy = None if error.remedy is None else self.hide(error.remedy)
                raise
            except BaseException as error:  # noqa: BLE001  # a plugin's code: it fails for itself
                self.log_failure(name, error)
                raise PluginError(f"The engine failed in {name}(): {type(error).__name__}.") from None
        return result

    def open(self, engine: Engine, target: Target, limits: HostLimits) -> Session:
        """A session that stays within what the agent allows of its host: the only way to open one here.

        Raises as ``call`` does, and ConfigurationError (`host_access_refused`).
        """

        def opened() -> Session:
            return engine.open(within(target, engine.options_schema, limits))

        session: Session = self.call("open", Session, opened)
        return session

    def test(self, session: Session) -> TestReport:
        """The report of ``session.test()``, without a secret in it; raises as ``call`` does."""
        report: TestReport = self.call("test", TestReport, session.test)
        plain = self.call("test", bytes, msgspec.json.encode, report).decode()
        if self.hide(plain) == plain:
            return report
        return typed.convert(self._hidden(msgspec.to_builtins(report)), TestReport)

    @contextmanager
    def watched(self, name: str) -> Iterator[None]:
        """Show by ``since``, and to the process after this one, that the call ``name`` lasts."""
        self._inside = (name, time.monotonic())
        self._mark.enter(name)
        try:
            yield
        finally:
            self._mark.leave()
            self._inside = None

    def has_collected(self) -> None:
        """Show, to the process after this one, that this target was read and what was read is stored."""
        self._mark.has_collected()

    def hide(self, text: str) -> str:
        """``text`` without the secrets of the target."""
        return without_secrets(str(text), self._secrets)

    def _hidden(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.hide(value)
        if isinstance(value, list | tuple):
            return [self._hidden(item) for item in value]
        if isinstance(value, dict):
            return {name: self._hidden(item) for name, item in value.items()}
        return value

    def log_failure(self, name: str, error: BaseException) -> None:
        """Log what a plugin raised, with the way to it through its code."""
        _log.error(
            "the engine %s failed in %s(): %s",
            self._engine_type,
            name,
            safe_traceback(error, self._secrets),
        )
