"""An engine's own audit options (`audit_options.engine`): reading them, and options that engines share."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from dbaudit.core import typed
from dbaudit.core.errors import ConfigurationError, ErrorCode, FieldError

_Options = TypeVar("_Options")


class StartFrom(StrEnum):
    """The option ``start_from``: what is read of a database that is new to the agent."""

    NOW = "now"
    BEGINNING = "beginning"


def start_from_schema(now: str, beginning: str) -> Mapping[str, Any]:
    """JSON Schema of ``start_from``; the arguments say what the two mean for the engine's sources."""
    return {
        "enum": [start.value for start in StartFrom],
        "default": StartFrom.NOW.value,
        "description": (
            f"What is read of a database that is new to the agent: `now` only {now} from now on, "
            f"`beginning` {beginning}."
        ),
    }


def read_options(given: Mapping[str, Any], form: type[_Options]) -> _Options:
    """The options in ``form``, a msgspec.Struct. Raises ConfigurationError saying what is wrong."""
    try:
        return typed.convert(dict(given), form)
    except msgspec.ValidationError as error:
        raise wrong_option("", str(error)) from None


def wrong_option(pointer: str, message: str) -> ConfigurationError:
    """The error that the option at ``pointer``, such as ``/log_path``, is wrong; empty for all of them."""
    return ConfigurationError(
        ErrorCode.VALIDATION_FAILED,
        f"The engine's options are wrong: {pointer.lstrip('/')} {message}".replace(":  ", ": "),
        details=[FieldError(f"/audit_options/engine{pointer}", message)],
    )
