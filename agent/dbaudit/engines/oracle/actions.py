"""What the actions of Oracle's trails mean: their operation, and its class.

The names are those of the column ACTION_NAME of the unified and of the traditional trail, which use different
names for the same action.
"""

from __future__ import annotations

from functools import lru_cache

from dbaudit.core.operation_classes import RANKS
from dbaudit.core.operations import CommandClass, Operations, class_of
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
    """The operation of an action, and its class; None for both if there is no action.

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


SUMMARY = "SESSION REC"
"""The action of a row of the traditional trail that sums up what a session did with an object."""

_SUMMED_UP = (
    *(
        "ALTER",
        "AUDIT",
        "COMMENT",
        "DELETE",
        "GRANT",
        "INDEX",
        "INSERT",
        "LOCK",
        "RENAME",
        "SELECT",
        "UPDATE",
    ),
    *("REFERENCES", "EXECUTE"),
)


def summed_up(summary: str) -> tuple[Operations, str]:
    """What a summary says: SES_ACTIONS has for each action, in this order, ``-``, or ``S``, ``F`` or ``B``
    where it worked, failed, or did both. Returns the actions, and the letters that there are.

    >>> summed_up("---F-----SS-----")[0].operations, summed_up("---F-----SS-----")[1]
    (('DELETE', 'SELECT', 'UPDATE'), 'FS')
    """
    done = [action for action, letter in zip(_SUMMED_UP, summary, strict=False) if letter in "SFB"]
    found = [(action, class_of(action, Dialect.ORACLE)) for action in done]
    letters = "".join(sorted({letter for letter in summary if letter in "SFB"}))
    if not found:
        return Operations(None, CommandClass.MISC), letters
    operation, command_class = min(found, key=lambda each: RANKS[each[1]])
    classes = tuple(dict.fromkeys(each for _action, each in found))
    return Operations(operation, command_class, tuple(done), classes), letters
