"""Settings of the installation: a JSON value by its key."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import delete, insert, select

from dbaudit.core.clock import now_us
from dbaudit.state.backend import Backend
from dbaudit.state.schema import settings


class SettingStore:
    """Reads and writes settings."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def get(self, key: str) -> Any:
        """The value of ``key``; None when it was never set."""
        with self._backend.reading() as connection:
            value = connection.execute(
                select(settings.c.value).where(settings.c.key == key)
            ).scalar_one_or_none()
        return None if value is None else msgspec.json.decode(value)

    def put(self, key: str, value: Any) -> None:
        """Set ``key`` to a JSON value."""
        with self._backend.writing() as connection:
            self._backend.serialize(connection, "settings")
            connection.execute(delete(settings).where(settings.c.key == key))
            connection.execute(
                insert(settings).values(
                    key=key, value=msgspec.json.encode(value).decode(), updated_at_us=now_us()
                )
            )

    def remove(self, key: str) -> None:
        """Forget the value of ``key``."""
        with self._backend.writing() as connection:
            connection.execute(delete(settings).where(settings.c.key == key))
