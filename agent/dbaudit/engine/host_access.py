"""The only way to this host's files and drivers: what a declaration, or a server, names is checked here.

A server is not to be believed either: an API key may point a declaration at a server of its own, which names
/etc/shadow as its log.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from dbaudit.core.database import Target
from dbaudit.core.host_limits import KEYWORD, HostLimits, HostUse, form_problem

_OPTIONS = "/audit_options/engine"


def within(target: Target, options_schema: Mapping[str, Any], limits: HostLimits) -> Target:
    """``target`` for a session that stays within ``limits``.

    ``options_schema`` is the engine's: what it marks with `x-host` is checked now, and what the server names
    whenever it is opened. Raises ConfigurationError (`host_access_refused`) naming the option, what would be
    right, and the setting of the agent that allows more.
    """
    if target.host.startswith("/"):
        _check(HostUse.PATH, target.host, "/host", limits)

    def marked(validator: Any, use: str, value: Any, schema: Mapping[str, Any]) -> Iterator[ValidationError]:
        if isinstance(value, str):
            yield ValidationError(value)
        elif isinstance(value, Mapping) and use == HostUse.ADDRESS:
            yield ValidationError("")

    validator: Any = extend(Draft202012Validator, {KEYWORD: marked})  # type: ignore[no-untyped-call]  # jsonschema has no types
    for error in _all(validator(dict(options_schema)).iter_errors(dict(target.options))):
        if error.validator != KEYWORD:
            continue
        if isinstance(error.instance, str):
            pointer = "".join(f"/{part}" for part in (*_OPTIONS.split("/")[1:], *error.absolute_path))
            _check(HostUse(str(error.validator_value)), error.instance, pointer, limits)
        else:
            _check(HostUse.ADDRESS, target.host, "/host", limits)
    return msgspec.structs.replace(target, limits=limits)


def settled(limits: HostLimits) -> HostLimits:
    """``limits`` with the real paths that its folders have now: who replaces one of them by a symbolic link
    later gains nothing.
    """
    return msgspec.structs.replace(limits, local_paths=tuple(map(os.path.realpath, limits.local_paths)))


def problems_of_marks(options_schema: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the marks `x-host` of an engine's schema."""
    for schema in _schemas(options_schema):
        if KEYWORD in schema and schema[KEYWORD] not in set(HostUse):
            yield f"{KEYWORD} is {schema[KEYWORD]!r}, not one of {', '.join(HostUse)}"


def real_path(path: str | os.PathLike[str], limits: HostLimits | None) -> str:
    """The path without symbolic links. Raises ConfigurationError where it is not below ``local_paths``.

    ``limits`` None sets no limit: no agent opens the session.
    """
    if "\0" in (given := os.fspath(path)):
        raise (limits or HostLimits()).refused(HostUse.PATH, given)
    real = os.path.realpath(path)
    if limits is not None and not _is_below(real, limits):
        raise limits.refused(HostUse.PATH, os.fspath(path))
    return real


def open_local(path: str | os.PathLike[str], limits: HostLimits | None, flags: int = 0) -> int:
    """Open a file of this host to read it, and return its descriptor.

    ``flags`` are those of os.open beyond O_RDONLY, O_NONBLOCK, O_CLOEXEC. Raises ConfigurationError where it
    is not below ``local_paths``, and OSError.
    """
    real = real_path(path, limits)
    descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | flags)
    try:
        # A folder may have become a symbolic link since: what counts is what was opened.
        if limits is not None and not _is_below(str(Path(f"/proc/self/fd/{descriptor}").readlink()), limits):
            raise limits.refused(HostUse.PATH, os.fspath(path))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def reading(path: str | os.PathLike[str], limits: HostLimits | None) -> Iterator[BinaryIO]:
    """A file of this host, open to be read. Raises as ``open_local``."""
    with os.fdopen(open_local(path, limits), "rb") as file:
        yield file


@contextmanager
def listed(folder: str | os.PathLike[str], limits: HostLimits | None) -> Iterator[Iterator[os.DirEntry[str]]]:
    """The entries of a folder of this host; ask them within the context. Raises as ``open_local``."""
    descriptor = open_local(folder, limits, os.O_DIRECTORY)
    try:
        with os.scandir(descriptor) as entries:
            yield entries
    finally:
        os.close(descriptor)


def may_read(path: str | os.PathLike[str] | None, limits: HostLimits | None, mode: int = os.R_OK) -> bool:
    """Whether a file of this host is there, allowed by ``limits``, and open to the account by ``mode``."""
    if path is None or "\0" in os.fspath(path):
        return False
    real = os.path.realpath(path)
    allowed = limits is None or _is_below(real, limits)
    return allowed and bool(os.access(real, mode, effective_ids=True))


def driver(name: str, limits: HostLimits | None) -> str:
    """The path of an ODBC driver that the agent's configuration names, else its own name."""
    return name if limits is None else limits.drivers().get(name, name)


def _check(use: HostUse, value: str, pointer: str, limits: HostLimits) -> None:
    match use:
        case HostUse.PATH:
            allowed = form_problem(use, value) is None and _is_below(os.path.realpath(value), limits)
        case HostUse.DRIVER:
            drivers = limits.drivers()
            # The path is what an older declaration has.
            allowed = form_problem(use, value) is None or value in (*drivers, *drivers.values())
        case HostUse.ADDRESS:
            allowed = limits.allows_listening(value)
    if not allowed:
        raise limits.refused(use, value, pointer)


def _is_below(real: str, limits: HostLimits) -> bool:
    return any(real == folder or real.startswith(f"{folder.rstrip('/')}/") for folder in limits.local_paths)


def _all(errors: Iterator[ValidationError]) -> Iterator[ValidationError]:
    for error in errors:
        yield error
        yield from _all(iter(error.context or ()))


def _schemas(schema: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(schema, Mapping):
        yield schema
        for part in schema.values():
            yield from _schemas(part)
    elif isinstance(schema, list | tuple):
        for part in schema:
            yield from _schemas(part)
