"""Messages of a server or a driver, prepared for an error that is shown."""

from __future__ import annotations

from dbaudit.core.database import Target
from dbaudit.core.secret import HIDDEN

_LONGEST = 500


def one_line(words: str, target: Target) -> str:
    """``words`` in one printable line of 500 characters at most, without the password of ``target``."""
    # Before the line is cut: what is left of a password at its end would not be found any more.
    line = _without_password(" ".join(_without_password(words, target).split()), target)
    return "".join(c if c.isprintable() else "?" for c in line)[:_LONGEST]


def _without_password(words: str, target: Target) -> str:
    password = target.password.reveal()
    return words.replace(password, HIDDEN) if password else words
