"""What the actions of Oracle's trails mean: the operation that they are called by, and its class.

The names are those of the column ACTION_NAME of the unified and of the traditional trail, which call the same
thing differently.
"""

from __future__ import annotations

from functools import lru_cache

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
    **dict.fromkeys(("SELECT", "READ", "EXPORT", "DATAPUMP DIRECT PATH UNLOAD"), "READ"),
    **dict.fromkeys(("INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE", "WRITE", "IMPORT"), "WRITE"),
    **dict.fromkeys(("SQL*LOADER", "DIRECT PATH LOAD"), "WRITE"),
    **dict.fromkeys(("EXECUTE", "CALL", "PL/SQL EXECUTE", "DEBUG PROCEDURE"), "FUNCTION"),
    **dict.fromkeys(("GRANT", "REVOKE", "SET ROLE", "CHANGE PASSWORD", "BECOME USER"), "ROLE"),
    **dict.fromkeys(("SET PASSWORD", "SET VERIFIER", "ENABLE ROLE", "DISABLE ROLE"), "ROLE"),
    **dict.fromkeys(("CREATE", "ALTER", "DROP", "RENAME", "COMMENT", "PURGE", "FLASHBACK"), "DDL"),
    **dict.fromkeys(("ANALYZE", "UNDROP", "UPDATE INDEXES", "ENABLE", "DISABLE", "DECLARE REWRITE"), "DDL"),
    **dict.fromkeys(("ASSOCIATE STATISTICS", "DISASSOCIATE STATISTICS"), "DDL"),
    "ALTER SESSION": "MISC",
}
"""By the first words of an operation; more words win over fewer. Everything else is MISC."""

_DEFINING = frozenset({"CREATE", "ALTER", "DROP"})
_OF_ROLES = frozenset({"USER", "ROLE", "PROFILE"})


@lru_cache(maxsize=1000)
def operation_and_class(action: str | None) -> tuple[str | None, str | None]:
    """The operation that an action is, and its class; None for both where there is no action.

    >>> operation_and_class("SYSTEM GRANT"), operation_and_class("ALTER USER")
    (('GRANT', 'ROLE'), ('ALTER USER', 'ROLE'))
    """
    words = action.split() if action else []
    if not words:
        return action, None
    operation = _CALLED.get(" ".join(words), action)
    words = operation.split() if operation else words
    if words[0] in _DEFINING and _OF_ROLES.intersection(words[1:2]):
        return operation, "ROLE"
    for count in range(len(words), 0, -1):
        found = _CLASSES.get(" ".join(words[:count]))
        if found is not None:
            return operation, found
    return operation, "MISC"
