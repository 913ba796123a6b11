"""Settings of an installation: where each value comes from, and what is wrong with one.

Later sources win: the default, the file ``dbaudit.toml``, the environment variable ``DBAUDIT_<NAME>``, the
option of the command line.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints
from urllib.parse import quote

import msgspec
from msgspec import Meta

from dbaudit.core import typed
from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.core.host_limits import HostLimits, is_listen_address
from dbaudit.core.secret import HIDDEN, Secret

FILE_NAME = "dbaudit.toml"
PREFIX = "DBAUDIT_"
CONFIG_VARIABLE = "DBAUDIT_CONFIG"

_LIMITS = HostLimits()

_PASSWORD_IN_URL = re.compile(r"(://[^/@:\s]*:)\S*(@)|([?&]password=)[^&\s]*", re.IGNORECASE)


def _setting(description: str, expected: str, **limits: Any) -> Meta:
    return Meta(description=description, extra={"expected": expected}, **limits)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting with its type, its bounds and its default; None if it has no default or is derived."""

    home: Annotated[Path, _setting("Folder of the embedded state, the key file and api.url.", "a path")]
    host: Annotated[
        str, _setting("Address that the API listens on.", "a host name or an address", min_length=1)
    ] = "127.0.0.1"
    port: Annotated[
        int,
        _setting("Port of the API; 0 takes a free one.", "a whole number from 0 to 65535", ge=0, le=65535),
    ] = 8080
    state_url: Annotated[
        str,
        _setting(
            "Where the state is kept.",
            "sqlite:////absolute/path/state.db or postgresql://user:password@host/database",
            pattern="^(sqlite|postgresql)(\\+\\w+)?://",
        ),
    ]
    encryption_key_file: Annotated[
        Path, _setting("File of the keys that encrypt the secrets in the state; mode 0600.", "a path")
    ]
    encryption_keys: Annotated[
        Secret | None, _setting("The encryption keys themselves, in place of the file.", "id:base64,...")
    ] = None
    encryption_key_command: Annotated[
        str | None, _setting("Command that prints the encryption keys, in place of the file.", "a command")
    ] = None
    tls_cert: Annotated[
        Path | None, _setting("PEM certificate chain of the API; with it the API speaks TLS.", "a path")
    ] = None
    tls_key: Annotated[Path | None, _setting("PEM private key of tls_cert.", "a path")] = None
    threads: Annotated[
        int,
        _setting("Threads that answer requests.", "a whole number from 4 to 1000", ge=4, le=1000),
    ] = 32
    rate_limit_per_minute: Annotated[
        int,
        _setting("Requests a minute of each API key; 0 sets no limit.", "a whole number from 0 on", ge=0),
    ] = 10_000
    open_metrics: Annotated[bool, _setting("Whether /metrics needs no API key.", "true or false")] = False
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        _setting("The least level that is logged.", "debug, info, warning or error"),
    ] = "info"
    log_format: Annotated[Literal["text", "json"], _setting("Form of a line of the log.", "text or json")] = (
        "text"
    )
    node_name: Annotated[
        str,
        _setting(
            "What people call this agent.", "a name of 1 to 200 characters", min_length=1, max_length=200
        ),
    ]
    poll_interval_seconds: Annotated[
        float,
        _setting(
            "Pause between two reads of a database that had nothing new.",
            "a number of seconds from 0.01 to 3600",
            ge=0.01,
            le=3600,
        ),
    ] = 0.1
    lease_seconds: Annotated[
        float,
        _setting(
            "How long an agent that is silent keeps its databases.",
            "a number of seconds from 1 to 3600",
            ge=1,
            le=3600,
        ),
    ] = 10.0
    api_event_retention_days: Annotated[
        int,
        _setting(
            "How many days the events on changes and readings through the API are kept.",
            "a whole number from 1 to 3650",
            ge=1,
            le=3650,
        ),
    ] = 365
    local_paths: Annotated[
        tuple[Annotated[str, Meta(pattern="^/")], ...],
        _setting(
            "Folders below which declarations may name files and sockets of the agent's host.",
            "a list of absolute paths",
        ),
    ] = _LIMITS.local_paths
    odbc_drivers: Annotated[
        tuple[Annotated[str, Meta(pattern="^[^=/]+=/.")], ...],
        _setting(
            "ODBC drivers that declarations may name beside those of odbcinst.ini.",
            "a list of NAME=/absolute/path/of/the/library",
        ),
    ] = _LIMITS.odbc_drivers
    listen_addresses: Annotated[
        tuple[str, ...],
        _setting(
            "Addresses on which a declaration of redis_enterprise may let the agent listen.",
            "a list of addresses, CIDRs and host names",
        ),
    ] = _LIMITS.listen_addresses
    api_url: Annotated[
        Annotated[str, Meta(pattern="^https?://[^/@]+(/[^@]*)?$")] | None,
        _setting("Address of the API, for client commands.", "http://host:port or https://host"),
    ] = None
    api_key: Annotated[Secret | None, _setting("API key of client commands.", "dbaudit_live_...")] = None

    @property
    def host_limits(self) -> HostLimits:
        """What declarations may use of the agent's host."""
        return HostLimits(
            local_paths=self.local_paths,
            odbc_drivers=self.odbc_drivers,
            listen_addresses=self.listen_addresses,
        )


NAMES = Settings.__struct_fields__
LISTS = frozenset({"local_paths", "odbc_drivers", "listen_addresses"})
SECRETS = frozenset({"encryption_keys", "api_key"})
_TYPES: Mapping[str, Any] = get_type_hints(Settings, include_extras=True)


def description(name: str) -> str:
    """What the setting ``name`` is for."""
    return str(_meta(name).description)


def expected(name: str) -> str:
    """What a value of the setting ``name`` looks like."""
    return str((_meta(name).extra or {})["expected"])


def variable(name: str) -> str:
    """The environment variable of the setting ``name``."""
    return PREFIX + name.upper()


@dataclass(frozen=True)
class Configuration:
    """The settings, and where each of them comes from in words.

    ``file`` is the file that was read, if there was one. ``unknown_variables`` are environment variables that
    look like settings but are not.
    """

    settings: Settings
    sources: Mapping[str, str]
    file: Path | None
    unknown_variables: tuple[str, ...]

    def shown(self, name: str) -> Any:
        """The value of a setting as JSON, with secrets hidden."""
        value = getattr(self.settings, name)
        if isinstance(value, Secret):
            return HIDDEN
        if name == "state_url":
            return hide_password(value)
        if name in LISTS:
            return list(value)
        if name == "encryption_key_command" and value:
            # Its arguments may hold a token.
            return f"{value.split()[0]} {HIDDEN}"
        return str(value) if isinstance(value, Path) else value


def hide_password(url: str) -> str:
    """The URL with ``********`` in place of its password."""
    return _PASSWORD_IN_URL.sub(rf"\1\3{HIDDEN}\2", url)


def load(
    options: Mapping[str, Any], environment: Mapping[str, str], *, config_file: Path | None = None
) -> Configuration:
    """Put the settings together.

    ``options`` are those given on the command line, by the name of the setting; ``environment`` is normally
    os.environ; ``config_file`` is the option ``--config``. Raises ConfigurationError
    (`configuration_invalid`) that names the setting, its source and what would be right.
    """
    given: dict[str, tuple[Any, str, Path]] = {}
    here = Path.cwd()
    for name in NAMES:
        if name in options:
            given[name] = (options[name], f"option --{name.replace('_', '-')}", here)
        elif environment.get(variable(name)):
            given[name] = (environment[variable(name)], f"variable {variable(name)}", here)
    home = _value("home", *given["home"]) if "home" in given else default_home(environment)
    file = _file(config_file, environment, home)
    if file is not None:
        for name, value in _read(file).items():
            if name == "home" and file == home / FILE_NAME:
                raise _error(
                    f"The setting home cannot stand in {file}, which is found by it.",
                    f"Remove it there; give --home or {variable('home')}.",
                )
            given.setdefault(name, (value, f"file {file}", file.parent))
    values = {name: _value(name, *found) for name, found in given.items()}
    home = values.setdefault("home", home)
    values.setdefault("state_url", f"sqlite:///{quote(str(home / 'state.db'))}")
    values.setdefault("encryption_key_file", home / "encryption.keys")
    values.setdefault("node_name", socket.gethostname() or "dbaudit")
    settings = Settings(**values)
    _check_combinations(settings, given)
    return Configuration(
        settings=settings,
        sources={name: given[name][1] if name in given else "default" for name in NAMES},
        file=file,
        unknown_variables=tuple(sorted(_unknown(environment))),
    )


def default_home(environment: Mapping[str, str]) -> Path:
    """/var/lib/dbaudit for root, else $XDG_STATE_HOME/dbaudit or ~/.local/state/dbaudit."""
    if os.geteuid() == 0:
        return Path("/var/lib/dbaudit")
    state = environment.get("XDG_STATE_HOME")
    base = Path(state) if state and Path(state).is_absolute() else Path.home() / ".local" / "state"
    return base / "dbaudit"


def _meta(name: str) -> Meta:
    meta = _TYPES[name].__metadata__[0]
    assert isinstance(meta, Meta)
    return meta


def _file(option: Path | None, environment: Mapping[str, str], home: Path) -> Path | None:
    if option is not None:
        path, source = option.absolute(), "the option --config"
    elif environment.get(CONFIG_VARIABLE):
        path, source = Path(environment[CONFIG_VARIABLE]).absolute(), f"the variable {CONFIG_VARIABLE}"
    else:
        path = home / FILE_NAME
        return path if path.exists() else None
    if not path.is_file():
        raise _error(f"The configuration file {path}, given by {source}, is not there.", "Give another path.")
    return path


def _read(file: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(file.read_text("utf-8"))
        mode = stat.S_IMODE(file.stat().st_mode)
    except OSError as error:
        raise _error(
            f"The configuration file {file} cannot be read: {error.strerror}.", "Mend its permissions."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _error(f"The configuration file {file} is not TOML: {error}.", "Mend that line.") from None
    unknown = sorted(found.keys() - set(NAMES))
    if unknown:
        raise _error(
            f"There is no setting {', '.join(unknown)} (file {file}).",
            f"The settings are {', '.join(NAMES)}.",
        )
    if mode & 0o077 and any(_holds_secret(name, value) for name, value in found.items()):
        raise _error(
            f"The configuration file {file} holds a secret and can be read by others (mode {mode:04o}).",
            f"chmod 600 {shlex.quote(str(file))}",
        )
    return found


def _holds_secret(name: str, value: Any) -> bool:
    if name == "state_url":
        return isinstance(value, str) and _PASSWORD_IN_URL.search(value) is not None
    return name in SECRETS


def _value(name: str, value: Any, source: str, folder: Path) -> Any:
    if name in LISTS and isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    try:
        converted = typed.convert(value, _TYPES[name], strict=not isinstance(value, str), dec_hook=_decode)
    except msgspec.ValidationError:
        shown = "" if name in SECRETS or name == "state_url" else f", not {value!r}"
        raise _error(
            f"The setting {name} ({source}) must be {expected(name)}{shown}.",
            f"Correct it there. What it sets: {description(name)}",
        ) from None
    if isinstance(converted, Path):
        return folder / converted.expanduser()
    return converted


def _decode(kind: Any, value: Any) -> Any:
    if not isinstance(value, str) or not value:
        raise ValueError("must be a text")
    return kind(value)


def _check_combinations(settings: Settings, given: Mapping[str, tuple[Any, str, Path]]) -> None:
    for one, other in (("tls_cert", "tls_key"), ("tls_key", "tls_cert")):
        if getattr(settings, one) is not None and getattr(settings, other) is None:
            raise _error(
                f"The setting {one} ({given[one][1]}) needs {other}.", f"Give {other} too, or neither."
            )
    wrong = [entry for entry in settings.listen_addresses if not is_listen_address(entry)]
    if wrong:
        raise _error(
            f"The setting listen_addresses ({given['listen_addresses'][1]}) must be "
            f"{expected('listen_addresses')}, not {', '.join(wrong)}.",
            "Correct it there. A CIDR has no bits behind its mask, such as 10.0.0.0/24.",
        )
    keys = [n for n in ("encryption_keys", "encryption_key_command", "encryption_key_file") if n in given]
    if len(keys) > 1:
        named = " and ".join(f"{name} ({given[name][1]})" for name in keys)
        raise _error(f"There are several sources of encryption keys: {named}.", "Keep one of them.")


def _unknown(environment: Mapping[str, str]) -> set[str]:
    known = {variable(name) for name in NAMES} | {CONFIG_VARIABLE}
    return {name for name in environment if name.startswith(PREFIX)} - known


def _error(message: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(ErrorCode.CONFIGURATION_INVALID, message, remedy=remedy)
