"""A value that must not be seen: passwords, private keys, API keys."""

from __future__ import annotations

import hmac
from typing import Final, NoReturn

HIDDEN: Final = "********"


class Secret:
    """Holds a secret text so that printing, logging, formatting or pickling it never shows it.

    >>> password = Secret("tiger")
    >>> f"{password!r} {password}"
    "Secret('********') ********"
    >>> password.reveal()
    'tiger'
    """

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        self.__value = value

    def reveal(self) -> str:
        """The secret itself, for the one call that needs it (a driver's connect, an encryption)."""
        return self.__value

    def __repr__(self) -> str:
        return f"Secret({HIDDEN!r})"

    def __str__(self) -> str:
        return HIDDEN

    def __format__(self, format_spec: str) -> str:
        return HIDDEN

    def __bool__(self) -> bool:
        return bool(self.__value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.__value.encode(), other.__value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self.__value))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled")
