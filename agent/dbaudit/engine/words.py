"""Messages of a server or a driver, prepared for an error that is shown."""

from __future__ import annotations

from dbaudit.core.database import Target

HIDDEN_WORDS = "(its words are hidden, because they contain the password)"
_LONGEST = 500


def one_line(words: str, target: Target) -> str:
    """``words`` in one printable line of 500 characters at most; HIDDEN_WORDS where they contain the password
    of ``target``: with a gap in known words everybody would see what is missing.
    """
    password = target.password.reveal()
    line = " ".join(words.split())
    # Before the line is cut: what is left of a password at its end would not be found any more.
    if password and (password in words or password in line or " ".join(password.split()) in line):
        return HIDDEN_WORDS
    return "".join(c if c.isprintable() else "?" for c in line)[:_LONGEST]
