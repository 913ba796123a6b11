"""Decoding into types: JSON and plain values become the Struct, tuple or number that is asked for.

msgspec (seen with 0.22) builds what it knows of a Struct at its first use, and other threads see it before it
is complete: two threads that decode their first value at once can end the process with a segmentation fault.
So all of dbaudit decodes through this module, which builds each type once, under a lock, before it is
used. The types of plugins, which cannot be listed at import, are covered too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

_Form = TypeVar("_Form")
_Hook = Callable[[Any, Any], Any]

_building = threading.Lock()
_built: set[Any] = set()


def decoder(form: type[_Form], *, strict: bool = True) -> Callable[[bytes | str], _Form]:
    """The function that decodes JSON into ``form``; faster than ``decode`` where the form is always the same.

    With ``strict`` unset, texts that hold a number or a boolean are taken for one. The function raises
    msgspec.DecodeError if the text is not JSON, and msgspec.ValidationError if the JSON is not of the form.
    """
    with _building:
        return msgspec.json.Decoder(form, strict=strict).decode


def lines_decoder(form: type[_Form]) -> Callable[[bytes | str], list[_Form]]:
    """The function that decodes lines of JSON, each into ``form``; raises like that of ``decoder``."""
    with _building:
        return msgspec.json.Decoder(form).decode_lines


def decode(
    data: bytes | str, form: type[_Form], *, strict: bool = True, dec_hook: _Hook | None = None
) -> _Form:
    """JSON as ``form``; ``dec_hook`` makes the types that msgspec does not know. Raises like ``decoder``."""
    _build(form)
    return msgspec.json.decode(data, type=form, strict=strict, dec_hook=dec_hook)


def convert(value: Any, form: type[_Form], *, strict: bool = True, dec_hook: _Hook | None = None) -> _Form:
    """A value of plain types (what JSON can say) as ``form``. Raises msgspec.ValidationError."""
    _build(form)
    return msgspec.convert(value, form, strict=strict, dec_hook=dec_hook)


def _build(form: Any) -> None:
    if form not in _built:
        with _building:
            msgspec.json.Decoder(form)
            _built.add(form)
