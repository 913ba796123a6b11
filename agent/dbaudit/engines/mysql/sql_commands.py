"""The operation of a statement by the name that the server itself has for its kind, such as `create_db`."""

from __future__ import annotations

from functools import lru_cache

from dbaudit.core.event import AuditEvent
from dbaudit.core.operations import add_operations, class_of
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
"""What stands where the server could not parse the statement, or there is none."""

_FIRST_WORDS_ONLY = frozenset({"SHOW", "LOAD", "LOCK", "UNLOCK", "XA", "BINLOG"})


@lru_cache(maxsize=1000)
def operation_of_command(sql_command: str) -> str | None:
    """The operation for the server's own name of a kind of statement; None for what names none.

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


def add_operation(event: AuditEvent, sql_command: str | None, command: str | None = None) -> None:
    """Give an event its operation and class: by the record's own name for it, else by the text, else by the
    protocol's command.
    """
    add_operations(event, Dialect.MYSQL)
    named = operation_of_command(sql_command) if sql_command else None
    if named is None and event.operation is None and command:
        named = command.replace("_", " ").upper()
    if named is not None:
        event.operation = named
    if named is not None or event.operation is None:
        event.command_class = None if event.operation is None else class_of(event.operation, Dialect.MYSQL)
