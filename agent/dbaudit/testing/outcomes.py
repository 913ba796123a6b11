"""Checks of how a call into an engine ends: in time, with one of our errors, and without a secret in it."""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import TypeVar
from urllib.parse import quote

import pytest

from dbaudit.core.errors import DbauditError
from dbaudit.engine import ErrorCode, Target

_Result = TypeVar("_Result")


def within(seconds: float, what: str, call: Callable[[], _Result]) -> _Result:
    """What ``call`` returns or raises; fails where it has not returned after ``seconds``."""
    results: list[_Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001  # it is raised again, where the test is
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise AssertionError(f"{what} has not returned after {seconds:g} seconds")
    if errors:
        raise errors[0]
    return results[0]


def refusal(call: Callable[[], object], target: Target) -> DbauditError:
    """The error that ``call`` raises: one of ours, with its code, in one line, without a secret."""
    with pytest.raises(DbauditError) as raised:
        call()
    error = raised.value
    assert isinstance(error.code, ErrorCode), f"{error.code!r} is no ErrorCode"
    assert error.message.strip(), "the error says nothing"
    assert "\n" not in error.message, f"the message has several lines: {error.message!r}"
    for text in everything_shown(error):
        assert_no_secret(text, target)
    return error


def everything_shown(error: BaseException) -> Iterator[str]:
    """All text that a log or a user may see of an error: its traceback, and the parts of all its causes."""
    yield "".join(traceback.format_exception(error))
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        # The context too where it is suppressed: what collects errors, unlike a trace, shows it.
        pending += [one.__cause__, one.__context__]
        yield f"{one!r} {one} {one.args!r} {getattr(one, 'remedy', '')} {getattr(one, 'details', '')}"


def assert_no_secret(text: str, target: Target) -> None:
    """Fail, without showing it, where ``text`` holds a secret of ``target``, plain or quoted."""
    for name, secret in (("password", target.password), ("ssl_key", target.ssl_key)):
        plain = secret.reveal() if secret else ""
        if not plain:
            continue
        forms = {plain, repr(plain)[1:-1], json.dumps(plain)[1:-1], quote(plain, safe="")}
        shown = any(form in text for form in forms)
        assert not shown, f"the {name} is shown in what has {len(text)} characters"
