"""The operations of a statement: `SELECT`, `CREATE TABLE` ..., and the class of each, by dialect.

A text can hold several operations: a batch, a block, a query whose WITH deletes. Its operation is the most
consequential one. What stands in a literal is no operation, unless the statement runs that literal.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import msgspec

from dbaudit.core.dialects.names import Dialect
from dbaudit.core.event import AuditEvent
from dbaudit.core.operation_classes import RANKS, CommandClass, class_of
from dbaudit.core.operations_in import Found, operations_in

__all__ = ["CommandClass", "Operations", "add_operations", "class_of", "classify", "operation_of"]


class Operations(msgspec.Struct, frozen=True):
    """What a statement does.

    ``operation`` is the most consequential of its operations, None where the text begins with no word, and
    ``command_class`` is its class. ``operations`` and ``command_classes`` are all of them, in the order of
    the text and each once.
    """

    operation: str | None
    command_class: CommandClass
    operations: tuple[str, ...] = ()
    command_classes: tuple[CommandClass, ...] = ()

    def add_all(self, detail: dict[str, Any]) -> None:
        """Put into the ``detail`` of an event all operations and their classes, where there are several."""
        if len(self.operations) > 1:
            detail["operations"] = list(self.operations)
            if len(self.command_classes) > 1:
                detail["command_classes"] = list(self.command_classes)


def classify(statement: str, dialect: Dialect) -> Operations:
    """What ``statement`` does, as a server of ``dialect`` reads it.

    >>> classify("with d as (delete from t returning *) select * from d", Dialect.POSTGRESQL).operations
    ('DELETE', 'SELECT')
    >>> classify("SET NOCOUNT ON; DELETE FROM t", Dialect.SQLSERVER).operation
    'DELETE'
    """
    known = _PLAIN[dialect].get(statement[:_FIRST_WORD].partition(" ")[0])
    if known is not None:
        semicolon = statement.find(";")
        if (semicolon < 0 or semicolon == len(statement) - 1) and not (
            dialect is _POSTGRESQL and _may_do_more(statement)
        ):
            return known
    if len(statement) > _LONGEST_REMEMBERED:
        return _classified(statement, dialect)
    return _remembered(statement, dialect)


def _may_do_more(statement: str) -> bool:
    """Whether a statement of PostgreSQL that begins with SELECT or its like may create a table, or change
    rows in a WITH.
    """
    lower = statement.lower()
    if "with" in lower and ("/*" in lower or "--" in lower or _OF_WITH.search(lower)):
        return True
    return "into" in lower and lower.startswith("select")


def operation_of(statement: str, dialect: Dialect) -> str | None:
    """The most consequential operation of ``statement``, in capitals; None for a text that begins with no
    word.

    >>> operation_of("/* report */ (select 1)", Dialect.POSTGRESQL)
    'SELECT'
    >>> operation_of("create definer=`root`@`%` procedure p() delete from t", Dialect.MYSQL)
    'CREATE PROCEDURE'
    """
    return classify(statement, dialect).operation


def add_operations(event: AuditEvent, dialect: Dialect) -> None:
    """Give ``event`` the operation and the class of its statement, and where there are several operations
    all of them in its detail.
    """
    if event.query is None:
        return
    found = classify(event.query, dialect)
    event.operation, event.command_class = found.operation, found.command_class
    if len(found.operations) > 1:
        event.detail = dict(event.detail or {})
        found.add_all(event.detail)


_LONGEST_REMEMBERED = 1000
_FIRST_WORD = 9
_POSTGRESQL = Dialect.POSTGRESQL
_OF_WITH = re.compile(r"\b(?:as|materialized)\s*\(")
_COMMAND = re.compile(r'\s*+\{\s*+"([^"\\]{1,64})"\s*+:')


def _classified(statement: str, dialect: Dialect) -> Operations:
    if dialect is not Dialect.MONGODB:
        return _chosen(operations_in(statement, dialect))
    command = _COMMAND.match(statement)
    if command is None or command[1] == "q":  # a part of an update or of a delete
        return _NOTHING
    return _chosen([(command[1], class_of(command[1], dialect))])


_remembered = lru_cache(maxsize=4000)(_classified)


def _chosen(found: Found) -> Operations:
    if not found:
        return _NOTHING
    operation, command_class = min(found, key=_rank)
    if len(found) == 1:
        return Operations(operation, command_class, (operation,), (command_class,))
    return Operations(
        operation,
        command_class,
        tuple(dict.fromkeys(name for name, _class in found)),
        tuple(dict.fromkeys(name for _operation, name in found)),
    )


def _rank(found: tuple[str, CommandClass]) -> int:
    return RANKS[found[1]]


_NOTHING = Operations(None, CommandClass.MISC)


def _plain(dialect: Dialect, *words: str) -> dict[str, Operations]:
    """By the first word of a statement that does nothing else where no semicolon stands in it."""
    return {
        spelling: _chosen([(word, class_of(word, dialect))])
        for word in words
        for spelling in (word, word.lower(), word.capitalize())
    }


_PLAIN: dict[Dialect, dict[str, Operations]] = {
    Dialect.POSTGRESQL: _plain(Dialect.POSTGRESQL, "SELECT", "INSERT", "UPDATE", "DELETE"),
    Dialect.MYSQL: _plain(
        Dialect.MYSQL,
        *("SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "SHOW", "USE", "COMMIT", "CALL", "ROLLBACK"),
        *("START", "GRANT", "REVOKE", "TRUNCATE", "LOCK", "UNLOCK", "FLUSH"),
    ),
    Dialect.SQLSERVER: {},
    Dialect.ORACLE: _plain(Dialect.ORACLE, "SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"),
    Dialect.MONGODB: {},
}
