"""A session to one cluster: an address at which the agent listens."""

from __future__ import annotations

from typing import Self

from dbaudit.core.clock import now_us
from dbaudit.core.database import Target
from dbaudit.core.errors import ConfigurationError, ErrorCode, TransientError
from dbaudit.core.report import CheckStatus, Health, TestReport
from dbaudit.engine.base import Chunk, Cursor, Session
from dbaudit.engines.redis_enterprise import diagnosis, registry
from dbaudit.engines.redis_enterprise.listener import Listener, Status
from dbaudit.engines.redis_enterprise.options import Options
from dbaudit.engines.redis_enterprise.places import Place
from dbaudit.engines.redis_enterprise.reading import Reader


class RedisEnterpriseSession(Session):
    """Binds the address when it is opened, and accepts senders from the first read on.

    While another session of this process collects the same database, this one only reports that one's status.
    """

    def __init__(self, target: Target, options: Options) -> None:
        self._target = target
        self._options = options
        self._place = Place.of(target, options)
        self._listener: Listener | None = None
        self._reader: Reader | None = None
        self._closed = False

    @classmethod
    def open(cls, target: Target) -> Self:
        session = cls(target, Options.of(target.options))
        session._claim()
        return session

    def test(self) -> TestReport:
        return diagnosis.test(self._target, self._options, self._place, self._status())

    def health(self) -> Health:
        status = self._status()
        connectivity = CheckStatus.UNKNOWN
        if status is not None and status.connections:
            connectivity = CheckStatus.HEALTHY
        elif status is not None and status.accepted_total:
            connectivity = CheckStatus.WARNING
        return Health(connectivity=connectivity, permissions=CheckStatus.HEALTHY, measured_at_us=now_us())

    def read(self, cursor: Cursor | None, limit_bytes: int) -> Chunk:
        listener = self._listener or self._claim()
        if listener is None:
            raise TransientError(
                ErrorCode.CONFIGURATION_INVALID,
                f"Another session of this agent listens on {self._place} and has not ended yet.",
            )
        if self._reader is None:
            self._reader = registry.reader(self._target.database_id)
        return self._reader.read(listener, cursor, limit_bytes)

    def acknowledge(self, cursor: Cursor) -> None:
        if self._reader is not None and self._listener is not None:
            self._reader.stored(self._listener, cursor)

    def finish(self) -> bool:
        if self._listener is None or self._reader is None:
            return False
        self._listener.finish()
        return True

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._listener is None:
            return
        try:
            if self._reader is None:
                self._listener.close()
            else:
                self._reader.keep_rest(self._listener)
                registry.rest(self._target.database_id, self._reader)
        finally:
            registry.release(self._listener)

    def _claim(self) -> Listener | None:
        """The listener of this session; None if another session of the same database has the address."""
        self._listener = registry.claim(self._place, self._target.database_id, self._options)
        if self._listener is None:
            held = registry.live(self._place)
            if held is not None and held.database_id != self._target.database_id:
                raise ConfigurationError(
                    ErrorCode.CONFIGURATION_INVALID,
                    f"{self._place} is where this agent listens for the database {held.database_id} already.",
                    remedy="Choose another port or socket_path: one for each cluster.",
                )
        return self._listener

    def _status(self) -> Status | None:
        """The status of this process's listener, whichever session has it; None if it was closed."""
        held = registry.live(self._place)
        listener = self._listener if held is None else held.listener
        return None if listener is None else listener.status()
