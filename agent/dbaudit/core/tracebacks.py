"""Tracebacks that may be logged: the way through the code and the error, without the secrets in play."""

from __future__ import annotations

import traceback
from collections.abc import Iterable

from dbaudit.core.secret import HIDDEN, Secret


def safe_traceback(error: BaseException, secrets: Iterable[Secret | None]) -> str:
    """The traceback of ``error`` with every occurrence of ``secrets`` replaced; locals are never shown."""
    text = "".join(traceback.format_exception(error))
    for secret in secrets:
        if secret:
            for form in (secret.reveal(), repr(secret.reveal())[1:-1]):
                text = text.replace(form, HIDDEN)
    return text
