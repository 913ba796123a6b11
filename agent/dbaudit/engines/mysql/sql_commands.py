"""The operation of a statement by the name that the server itself has for its kind, such as `create_db`."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from dbaudit.core.event import AuditEvent
from dbaudit.core.operations import CommandClass, add_operations, class_of
from dbaudit.core.statements import Dialect

_WORDS = {"DB": "DATABASE", "MULTI": ""}
_OPERATIONS = {
    "insert_select": "INSERT",
    "replace_select": "REPLACE",
    "call_procedure": "CALL",
    "set_option": "SET",
    "set_password": "SET PASSWORD",
    "set_role": "SET ROLE",
    "change_db": "USE",
    "prepare_sql": "PREPARE",
    "execute_sql": "EXECUTE",
    "dealloc_sql": "DEALLOCATE",
    "grant_roles": "GRANT",
    "revoke_roles": "REVOKE",
    "revoke_all": "REVOKE",
    "alter_user_default_role": "ALTER USER",
    "create_spfunction": "CREATE FUNCTION",
    "create_udf": "CREATE FUNCTION",
    "ha_open": "HANDLER",
    "ha_close": "HANDLER",
    "ha_read": "HANDLER",
    "rollback_to_savepoint": "ROLLBACK",
}
_UNNAMED = frozenset({"", "error", "empty_query", "end", "none"})
"""The names that the server writes if it could not parse the statement, or if there was no statement."""

_FIRST_WORDS_ONLY = frozenset({"SHOW", "LOAD", "LOCK", "UNLOCK", "XA", "BINLOG"})


_EXPLAINING = frozenset({"EXPLAIN", "DESCRIBE", "DESC"})


def operation_of_command(sql_command: str) -> str | None:
    """The operation for the server's own name of a kind of statement; None if the name says no operation.

    >>> operation_of_command("create_table"), operation_of_command("delete_multi")
    ('CREATE TABLE', 'DELETE')
    >>> operation_of_command("error") is None
    True
    """
    if sql_command in _UNNAMED:
        return None
    known = _OPERATIONS.get(sql_command)
    if known is not None:
        return known
    words = [_WORDS.get(word, word) for word in sql_command.upper().split("_")]
    if words[0] in _FIRST_WORDS_ONLY:
        return words[0]
    return " ".join(word for word in words if word)


class _Named(NamedTuple):
    operation: str
    command_class: CommandClass
    first_word: str


@lru_cache(maxsize=1000)
def _named(sql_command: str) -> _Named | None:
    operation = operation_of_command(sql_command)
    if operation is None:
        return None
    return _Named(operation, class_of(operation, Dialect.MYSQL), operation.partition(" ")[0])


def add_operation(event: AuditEvent, sql_command: str | None, command: str | None = None) -> None:
    """Give an event its operation and class: by the record's own name for it, else by the text, else by the
    protocol's command.

    An EXPLAIN has the name of the statement that it explains: there the text wins.
    """
    named = _named(sql_command) if sql_command else None
    if named is not None:
        word, query = named.first_word, event.query
        if query is not None and query[: len(word)].upper() != word:
            add_operations(event, Dialect.MYSQL)
            if event.operation in _EXPLAINING:
                return
        event.operation, event.command_class = named.operation, named.command_class
        return
    add_operations(event, Dialect.MYSQL)
    if event.operation is None:
        event.operation = command.replace("_", " ").upper() if command else None
        event.command_class = class_of(event.operation, Dialect.MYSQL) if event.operation else None
