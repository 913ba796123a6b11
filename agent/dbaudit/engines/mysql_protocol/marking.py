"""How the agent's own sessions are known in a log: their first statement says so.

The protocol of MySQL carries the name of the application, and the general log does not write it.
"""

from __future__ import annotations


def marking_statement(application_name: str) -> str:
    """The statement that marks a session, exactly as in the log.

    >>> marking_statement("dbaudit-agent")
    "SET @application_name = 'dbaudit-agent'"
    """
    name = "".join(c if c.isascii() and (c.isalnum() or c in "-_. ") else "?" for c in application_name)
    return f"SET @application_name = '{name}'"
