"""Hostile input: bytes, and values of any shape, changed in the ways that break parsers."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import msgspec

_SPECIAL = (
    b"\x00",
    b"\xff",
    b"\xfe\xff",
    b"\xc3",  # the first half of a character in UTF-8
    b"\xed\xa0\x80",  # a surrogate
    b'"',
    b"'",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"\n",
    b"\r\n",
    b",",
    b";",
    b"{",
    b"}]",
    b"[" * 200,
    b"<",
    b"&#0;",
    b"&bomb;",
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"NaN",
    b"99999999999999999999999999",
    b"0000-00-00T99:99:99Z",
    b"9999-12-31T23:59:59.999999+23:59",
    b"%s",
    b" " * 100,
)
_NUMBERS = (0, -1, 1, 2**31, -(2**31), 2**63 - 1, 2**63, -(2**63) - 1, 10**30)


def mutate_bytes(data: bytes, chance: random.Random) -> bytes:
    """``data`` with one to four changes: bits turned, parts cut out, put elsewhere, repeated, or replaced by
    what has a meaning in some format.
    """
    changed = bytearray(data)
    for _change in range(chance.randint(1, 4)):
        begin = chance.randint(0, len(changed))
        end = min(len(changed), begin + chance.choice((1, 1, 2, 8, 64, 4096)))
        way = chance.randrange(6)
        if way == 0 and begin < len(changed):
            changed[begin] ^= 1 << chance.randrange(8)
        elif way == 1:
            del changed[begin:end]
        elif way == 2:
            changed[begin:begin] = chance.choice(_SPECIAL)
        elif way == 3:
            changed[begin:end] = chance.choice(_SPECIAL)
        elif way == 4:
            changed[begin:begin] = changed[begin:end] * 2
        else:
            del changed[begin:]
    return bytes(changed)


def mutated(value: Any, mutate: Callable[[bytes], bytes], chance: random.Random) -> Any:
    """``value`` with one part of it changed; a value of a kind that no server can choose stays as it is."""
    match value:
        case Enum():
            return value
        case bytes():
            return mutate(value)
        case str():
            return mutate(value.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")
        case bool() | None:
            return chance.choice((None, value))
        case int():
            return chance.choice((None, *_NUMBERS))
        case float():
            return chance.choice((None, 0.0, -1.0, 1e300, float("inf"), float("nan")))
        case tuple() if hasattr(value, "_fields"):
            return type(value)(*_one_mutated(list(value), mutate, chance))
        case tuple():
            return tuple(_one_mutated(list(value), mutate, chance))
        case list():
            return _one_mutated(list(value), mutate, chance)
        case Mapping():
            return _mutated_mapping(dict(value), mutate, chance)
    names = _fields(value)
    texts = [name for name in names if _is_raw(getattr(value, name))]
    if not texts:
        return value
    name = chance.choice(texts)
    change = {name: mutated(getattr(value, name), mutate, chance)}
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(value, **change)
    return dataclasses.replace(value, **change)


def _is_raw(value: Any) -> bool:
    return isinstance(value, bytes | str | list | tuple | Mapping) and not isinstance(value, Enum)


def _fields(value: Any) -> tuple[str, ...]:
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    if dataclasses.is_dataclass(value):
        return tuple(field.name for field in dataclasses.fields(value))
    return ()


def _one_mutated(values: list[Any], mutate: Callable[[bytes], bytes], chance: random.Random) -> list[Any]:
    if values:
        place = chance.randrange(len(values))
        values[place] = mutated(values[place], mutate, chance)
    return values


def _mutated_mapping(
    values: dict[Any, Any], mutate: Callable[[bytes], bytes], chance: random.Random
) -> dict[Any, Any]:
    if values:
        key = chance.choice(list(values))
        if chance.random() < 0.2:
            del values[key]
        else:
            values[key] = mutated(values[key], mutate, chance)
    return values
