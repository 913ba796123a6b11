"""Texts without secrets: neither the secret nor a gap that shows it."""

from __future__ import annotations

import pytest
from dbaudit.core.secret import HIDDEN, Secret
from dbaudit.core.tracebacks import safe_traceback, without_secrets

OURS = "Nothing listens on db:5432, or a firewall refuses the connection. Check host and port, that it runs"
STRONG = "c0rrect-h0rse b@ttery"


@pytest.mark.parametrize(
    "password", ["p", "port", "connection", "a firewall refuses", "or a firewall", ".", " "]
)
def test_a_password_that_is_a_word_of_our_own_leaves_no_gap(password: str) -> None:
    assert without_secrets(OURS, [Secret(password)]) == OURS


def test_a_password_that_is_no_word_of_ours_is_hidden() -> None:
    assert without_secrets(f"{OURS} {STRONG}", [Secret(STRONG)]) == f"{OURS} {HIDDEN}"


@pytest.mark.parametrize("password", ["p", "port", "password", "ValueError"])
def test_of_a_weak_password_in_a_traceback_the_whole_message_is_hidden(password: str) -> None:
    message = " ".join(("cannot log", "in with", password, "at this port"))

    def inner() -> None:
        raise ValueError(message)

    def fails() -> None:
        try:
            inner()
        except ValueError as error:
            raise RuntimeError(password) from error

    with pytest.raises(RuntimeError) as raised:
        fails()
    text = safe_traceback(raised.value, [Secret(password)])
    assert "cannot log in with" not in text
    assert text.count(f"Error: {HIDDEN}\n") == text.count(HIDDEN) == 2
    assert "in inner" in text, "the way through the code stays"


def test_of_a_strong_password_only_the_password_is_hidden_in_a_traceback() -> None:
    text = safe_traceback(ValueError(f"cannot log in with {STRONG!r}"), [Secret(STRONG), Secret(""), None])
    assert f"ValueError: cannot log in with '{HIDDEN}'" in text


def test_a_message_without_a_secret_stays_whole() -> None:
    assert "ValueError: at this port" in safe_traceback(ValueError("at this port"), [Secret("secret")])
