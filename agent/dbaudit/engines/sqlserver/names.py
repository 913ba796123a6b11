"""Names in statements of Transact-SQL."""

from __future__ import annotations


def quoted(name: str) -> str:
    """A name as an identifier of Transact-SQL, as QUOTENAME writes it.

    >>> quoted("odd]name")
    '[odd]]name]'
    """
    return f"[{name.replace(']', ']]')}]"
