"""The engines that come with dbaudit, registered through the same door as anybody's plugin."""

from __future__ import annotations

from collections.abc import Iterator

from dbaudit.engine import Engine, hookimpl
from dbaudit.engines.postgresql import PostgreSQLEngine
from dbaudit.engines.redis_enterprise import RedisEnterpriseEngine


@hookimpl
def dbaudit_engines() -> Iterator[Engine]:
    yield PostgreSQLEngine()
    yield RedisEnterpriseEngine()
