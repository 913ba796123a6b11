"""JSON objects that cannot be changed."""

from __future__ import annotations

from typing import Any, NoReturn

import msgspec


class FrozenDict(dict[str, Any]):
    """A dictionary that cannot be changed, as results are; ``dict(it)`` is a copy that can."""

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("results of the API do not change; take dict(...) of it")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenDict, (dict(self),)


def frozen(value: Any) -> Any:
    """A copy of ``value`` in which no part can be changed."""
    if isinstance(value, dict):
        return FrozenDict({name: frozen(item) for name, item in value.items()})
    if isinstance(value, list | tuple):
        return tuple(frozen(item) for item in value)
    return value


def freeze(result: msgspec.Struct, *fields: str) -> None:
    """Freeze ``fields`` of a result that is being made."""
    for name in fields:
        value = getattr(result, name)
        if value is not None:
            msgspec.structs.force_setattr(result, name, frozen(value))
