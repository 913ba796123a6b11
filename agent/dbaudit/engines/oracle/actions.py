"""What the actions of Oracle's trails mean: the operation that they are called by, and its class.

The names are those of the column ACTION_NAME of the unified and of the traditional trail, which call the same
thing differently.
"""

from __future__ import annotations

from functools import lru_cache

from dbaudit.core.operations import CommandClass, class_of
from dbaudit.core.statements import Dialect

_CALLED = {
    **dict.fromkeys(("SYSTEM GRANT", "GRANT OBJECT", "GRANT ROLE", "CODE-BASED GRANT"), "GRANT"),
    **dict.fromkeys(("SYSTEM REVOKE", "REVOKE OBJECT", "REVOKE ROLE", "CODE-BASED REVOKE"), "REVOKE"),
    **dict.fromkeys(("SYSTEM AUDIT", "AUDIT OBJECT", "AUDIT DEFAULT"), "AUDIT"),
    **dict.fromkeys(("SYSTEM NOAUDIT", "NOAUDIT OBJECT", "NOAUDIT DEFAULT"), "NOAUDIT"),
    "PASSWORD CHANGE": "CHANGE PASSWORD",
    "USER COMMENT": "COMMENT",
}
"""Actions of the traditional trail that have another name in the unified one, which is taken for both."""

_CLASSES = {
    **dict.fromkeys(("EXPORT", "DATAPUMP DIRECT PATH UNLOAD"), CommandClass.READ),
    **dict.fromkeys(("IMPORT", "SQL*LOADER", "DIRECT PATH LOAD"), CommandClass.WRITE),
    **dict.fromkeys(("PL/SQL EXECUTE", "DEBUG PROCEDURE"), CommandClass.FUNCTION),
    **dict.fromkeys(("BECOME USER", "SET VERIFIER", "ENABLE ROLE", "DISABLE ROLE"), CommandClass.ROLE),
    **dict.fromkeys(("UNDROP", "UPDATE INDEXES", "ENABLE", "DISABLE", "DECLARE REWRITE"), CommandClass.DDL),
}
"""Of the actions that are no statements, or none of that name, by their first words; more words win."""


@lru_cache(maxsize=1000)
def operation_and_class(action: str | None) -> tuple[str | None, CommandClass | None]:
    """The operation that an action is, and its class; None for both where there is no action.

    >>> operation_and_class("SYSTEM GRANT")
    ('GRANT', <CommandClass.ROLE: 'ROLE'>)
    """
    words = action.split() if action else []
    if not words:
        return action, None
    operation = _CALLED.get(" ".join(words), action)
    for count in range(len(words), 0, -1):
        found = _CLASSES.get(" ".join(words[:count]))
        if found is not None:
            return operation, found
    return operation, class_of(operation, Dialect.ORACLE)
