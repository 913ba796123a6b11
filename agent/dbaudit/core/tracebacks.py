"""Texts that may be logged and stored: errors and tracebacks without the secrets in play."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from dbaudit.core.secret import HIDDEN, Secret

_SHORTEST_LINE = 16


def without_secrets(text: str, secrets: Iterable[Secret | None]) -> str:
    """``text`` with every occurrence of ``secrets`` replaced: plain, quoted by Python or JSON, or in a URL.

    Of a secret of several lines (a key in PEM) each long line is a secret too.
    """
    for secret in secrets:
        if not secret:
            continue
        value = secret.reveal()
        lines = [line for line in value.splitlines() if len(line) >= _SHORTEST_LINE]
        for part in (value, *lines):
            forms = (part, repr(part)[1:-1], json.dumps(part)[1:-1], quote(part, safe=""), quote_plus(part))
            for form in forms:
                text = text.replace(form, HIDDEN)
    return text


def safe_traceback(error: BaseException, secrets: Iterable[Secret | None]) -> str:
    """The traceback of ``error`` with every occurrence of ``secrets`` replaced; locals are never shown."""
    return without_secrets("".join(traceback.format_exception(error)), secrets)
