"""The engines that come with dbaudit, registered through the same door as anybody's plugin."""

from __future__ import annotations

from collections.abc import Iterator

from dbaudit.engine import Engine, hookimpl
from dbaudit.engines.mariadb import MariaDBEngine
from dbaudit.engines.mongodb import MongoDBEngine
from dbaudit.engines.mysql import MySQLEngine
from dbaudit.engines.oracle import OracleEngine
from dbaudit.engines.postgresql import PostgreSQLEngine
from dbaudit.engines.redis_enterprise import RedisEnterpriseEngine
from dbaudit.engines.sqlserver import SQLServerEngine


@hookimpl
def dbaudit_engines() -> Iterator[Engine]:
    yield MariaDBEngine()
    yield MongoDBEngine()
    yield MySQLEngine()
    yield OracleEngine()
    yield PostgreSQLEngine()
    yield RedisEnterpriseEngine()
    yield SQLServerEngine()
