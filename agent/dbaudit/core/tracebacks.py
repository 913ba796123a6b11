"""Texts that may be logged and stored: errors and tracebacks without the secrets in play."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from urllib.parse import quote, quote_plus

import dbaudit
from dbaudit.core.secret import HIDDEN, Secret

_SHORTEST_LINE = 16
_SHORTEST_SECRET = 8
_JOINED_TEXTS = re.compile(r'"\s*\n\s*[fr]?"')


def without_secrets(text: str, secrets: Iterable[Secret | None]) -> str:
    """``text`` with every occurrence of ``secrets`` replaced: plain, quoted by Python or JSON, or in a URL.

    Of a secret of several lines (a key in PEM) each long line is a secret too. A secret that stands in such
    texts anyway (`port`) is left: a gap in words that everybody knows would show it.
    """
    for secret in secrets:
        forms = _forms_in(text, secret)
        if secret and forms and not _is_ordinary(secret.reveal()):
            for form in forms:
                text = text.replace(form, HIDDEN)
    return text


def safe_traceback(error: BaseException, secrets: Iterable[Secret | None]) -> str:
    """The traceback of ``error`` without ``secrets``; locals are never shown. A message with a secret that
    stands in texts anyway is hidden as a whole.
    """
    known = list(secrets)
    text = "".join(traceback.format_exception(error))
    for each in _chain(error, set()):
        if any(_forms_in(str(each), secret) and _is_ordinary(secret.reveal()) for secret in known if secret):
            said = "".join(traceback.format_exception_only(each))
            text = text.replace(said, f"{said.partition(':')[0]}: {HIDDEN}\n")
    return without_secrets(text, known)


def _forms_in(text: str, secret: Secret | None) -> list[str]:
    if not secret:
        return []
    value = secret.reveal()
    parts = (value, *(line for line in value.splitlines() if len(line) >= _SHORTEST_LINE))
    forms = [
        form
        for part in parts
        for form in (part, repr(part)[1:-1], json.dumps(part)[1:-1], quote(part, safe=""), quote_plus(part))
    ]
    return [form for form in forms if form in text]


def _is_ordinary(value: str) -> bool:
    """Whether texts of dbaudit contain ``value`` although they do not contain the secret."""
    return len(value) < _SHORTEST_SECRET or value in _own_words()


@cache
def _own_words() -> str:
    """All words that a message of dbaudit can be made of."""
    files = sorted(Path(dbaudit.__file__).parent.rglob("*.py"))
    return _JOINED_TEXTS.sub("", "\n".join(file.read_text(encoding="utf-8") for file in files))


def _chain(error: BaseException | None, seen: set[int]) -> Iterator[BaseException]:
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield error
    for other in (error.__cause__, error.__context__, *getattr(error, "exceptions", ())):
        yield from _chain(other, seen)
