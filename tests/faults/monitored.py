"""What the fault tests have to know of a monitored server, whatever its kind: a line for each kind of server.

``declared`` says how it is declared, ``client`` logs in, ``logged`` reads what the server itself has logged.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import singledispatch
from typing import Any

import psycopg
import pymongo.errors
import pymysql
from dbaudit.core.database import AuditOptions, Scope, SslMode
from dbaudit.state.databases import Declaration

from tests.servers.mariadb import MariaDBServer
from tests.servers.mongodb import MongoServer
from tests.servers.mysql import MySQLServer
from tests.servers.postgresql import PostgresServer

COLLECTOR = ("collector", "collector-password-of-the-fault-tests")
CLIENT_ERRORS = (psycopg.Error, pymysql.MySQLError, pymongo.errors.PyMongoError, OSError)
"""What a client of a server that is killed runs into."""

Execute = Callable[[str], object]


@singledispatch
def declared(server: Any) -> Declaration:
    """How a server is declared to dbaudit."""
    raise NotImplementedError(type(server).__name__)


@singledispatch
def client(server: Any) -> AbstractContextManager[Execute]:
    """A session in which statements are run."""
    raise NotImplementedError(type(server).__name__)


@singledispatch
def logged(server: Any) -> Iterator[str]:
    """The texts of all that the server has logged, with the statements as they were."""
    raise NotImplementedError(type(server).__name__)


def _declaration(
    kind: str, host: str, port: int, database: str, *, scope: Scope = Scope.SERVER, **options: Any
) -> Declaration:
    return Declaration(
        name="monitored",
        type=kind,
        host=host,
        port=port,
        database=database,
        username=COLLECTOR[0],
        ssl_mode=SslMode.DISABLE,
        audit_options=AuditOptions(mask_sensitive_data=False, scope=scope, engine=options),
    )


@declared.register
def declared_postgresql(server: PostgresServer) -> Declaration:
    return _declaration("postgresql", server.host, server.port, "postgres", scope=Scope.DATABASE)


@client.register
@contextmanager
def client_of_postgresql(server: PostgresServer) -> Iterator[Execute]:
    with server.connect_admin() as connection:
        yield connection.execute


@logged.register
def logged_by_postgresql(server: PostgresServer) -> Iterator[str]:
    for file in server.log_files(".json"):
        for line in file.read_text().splitlines():
            yield json.loads(line)["message"]


@declared.register
def declared_mariadb(server: MariaDBServer) -> Declaration:
    return _declaration("mariadb", server.host, server.port, "information_schema", source="file")


@client.register
@contextmanager
def client_of_mariadb(server: MariaDBServer) -> Iterator[Execute]:
    connection = server.connect_admin()
    try:
        with connection.cursor() as cursor:
            yield cursor.execute
    finally:
        connection.close()


@logged.register
def logged_by_mariadb(server: MariaDBServer) -> Iterator[str]:
    for file in server.audit_file.parent.glob(f"{server.audit_file.name}*"):
        for line in file.read_text().splitlines():
            yield line.replace("\\'", "'")


@declared.register
def declared_mysql(server: MySQLServer) -> Declaration:
    return _declaration("mysql", server.host, server.port, "information_schema")


@client.register
@contextmanager
def client_of_mysql(server: MySQLServer) -> Iterator[Execute]:
    connection = server.connect_admin()
    try:
        with connection.cursor() as cursor:
            yield cursor.execute
    finally:
        connection.close()


@logged.register
def logged_by_mysql(server: MySQLServer) -> Iterator[str]:
    """From the file that the server writes beside the table, which the agent empties."""
    yield from server.general_log_file.read_text().splitlines()


@declared.register
def declared_mongodb(server: MongoServer) -> Declaration:
    return _declaration("mongodb", server.host, server.port, "admin", log_source="local")


@client.register
@contextmanager
def client_of_mongodb(server: MongoServer) -> Iterator[Execute]:
    with server.client(maxPoolSize=1) as client:
        yield lambda statement: client["shop"]["things"].find_one({"statement": statement})


@logged.register
def logged_by_mongodb(server: MongoServer) -> Iterator[str]:
    yield from server.log_lines()
