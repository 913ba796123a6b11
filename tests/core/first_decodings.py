"""Ends with a crash if a type that one thread is building can be seen by another one.

Fifty threads use hundreds of types for the first time, all at once, and change places as often as they can.
"""

from __future__ import annotations

import sys
import threading
from types import ModuleType

import msgspec
from dbaudit.core import typed

TYPES = 300
THREADS = 50
PART = {f"field_{number}": {"a": (1, "b")} for number in range(20)}
VALUE = {"must": 1, "part": PART, **PART}
JSON = msgspec.json.encode(VALUE)
FIELDS = "".join(f"    field_{number}: dict[str, tuple[int, str | None]] = {{}}\n" for number in range(20))


def some_type(number: int) -> type[msgspec.Struct]:
    module = ModuleType(f"types_{number}")
    sys.modules[module.__name__] = module  # msgspec looks there for the names in annotations
    source = (
        "from __future__ import annotations\nimport msgspec\n"
        f"class Part(msgspec.Struct):\n{FIELDS}"
        f"class Whole(msgspec.Struct):\n    must: int\n    part: Part | None = None\n{FIELDS}"
    )
    exec(source, module.__dict__)
    return module.Whole  # type: ignore[no-any-return]  # a module made here has no types


def use_all(types: list[type[msgspec.Struct]], start: threading.Event) -> None:
    start.wait()
    for kind in types:
        typed.convert(VALUE, kind)
        typed.decode(JSON, kind)


def main() -> None:
    types = [some_type(number) for number in range(TYPES)]
    start = threading.Event()
    threads = [threading.Thread(target=use_all, args=(types, start)) for _thread in range(THREADS)]
    for thread in threads:
        thread.start()
    sys.setswitchinterval(1e-6)
    start.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
