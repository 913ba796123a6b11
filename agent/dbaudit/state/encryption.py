"""Encryption of secrets at rest: AES-256-GCM, with the key's id and the record's id bound into every value.

The keys come from a file (made with mode 0600 on first start), from the environment variable
``DBAUDIT_ENCRYPTION_KEYS``, or from a command. All three give the same form: ``id:base64``, separated by
commas or line breaks, the active key first.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import stat
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.state.key_material import content_of, listed, new_key, parse, wipe

_NONCE_BYTES = 12
_COMMAND_TIMEOUT_SECONDS = 30


class Encrypted(msgspec.Struct, frozen=True):
    """An encrypted value: which key, the nonce, and the text with its authentication tag."""

    key_id: str
    nonce: bytes
    ciphertext: bytes


class Keyring:
    """The encryption keys by their id; the first one encrypts, all of them decrypt."""

    def __init__(self, load: Callable[[], Mapping[str, bytearray]], file: Path | None = None) -> None:
        self._load = load
        self._keys = dict(load())
        self.file = file

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self._keys)})"

    @property
    def active_id(self) -> str:
        """The id of the key that encrypts."""
        return next(iter(self._keys))

    def reload(self) -> None:
        """Read the keys again: another process may have rotated them.

        Keys that were known stay known in this process: a transaction may see secrets as they were before.
        """
        keys = dict(self._load())
        for key_id, known in self._keys.items():
            loaded = keys.get(key_id)
            if loaded is None or loaded == known:
                keys[key_id] = known  # other threads may be using it
            if loaded is not None and loaded == known:
                wipe(loaded)
        self._keys = keys

    def encrypt(self, value: bytes, record_id: str, key_id: str | None = None) -> Encrypted:
        """Encrypt ``value`` for the record ``record_id``; it cannot be moved to another record."""
        key_id = key_id or self.active_id
        nonce = os.urandom(_NONCE_BYTES)
        return Encrypted(
            key_id, nonce, AESGCM(self._key(key_id)).encrypt(nonce, value, _bound(key_id, record_id))
        )

    def decrypt(self, value: Encrypted, record_id: str) -> bytes:
        """The value again. Raises ConfigurationError when its key is missing or it was changed."""
        try:
            return AESGCM(self._key(value.key_id)).decrypt(
                value.nonce, value.ciphertext, _bound(value.key_id, record_id)
            )
        except (InvalidTag, ValueError):  # ValueError: a nonce of another length
            raise ConfigurationError(
                ErrorCode.ENCRYPTION_KEY_INVALID,
                f"The secret {record_id} cannot be decrypted: the key {value.key_id} is another one, or the "
                "value was changed.",
                remedy="Bring back the encryption keys that belong to this state, or set the password again.",
            ) from None

    def _key(self, key_id: str) -> bytearray:
        if key_id not in self._keys:
            self.reload()
        try:
            return self._keys[key_id]
        except KeyError:
            raise ConfigurationError(
                ErrorCode.ENCRYPTION_KEY_MISSING,
                f"The encryption key {key_id} is not there.",
                remedy="Bring back the encryption keys that belong to this state.",
            ) from None


def _bound(key_id: str, record_id: str) -> bytes:
    return f"dbaudit\0{key_id}\0{record_id}".encode()


def keyring_from_file(path: Path, *, create: bool) -> Keyring:
    """The keys of a file; ``create`` makes the file, with one new key, if it does not exist.

    A file that others may read is refused with the command that mends it.
    """
    if create and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):  # another process of this installation was first
            _write_keys(path, {_new_key_id(): new_key()}, exclusive=True)
    return Keyring(lambda: _read_keys(path), file=path)


def keyring_from_text(text: str, source: str) -> Keyring:
    """The keys of an environment variable; ``source`` names it in errors."""
    keys = _parsed(bytearray(text.encode()), source)
    return Keyring(lambda: {key_id: key[:] for key_id, key in keys.items()})


def keyring_from_command(command: str) -> Keyring:
    """The keys that ``command`` (split like a shell would, run without one) prints."""

    def load() -> Mapping[str, bytearray]:
        try:
            done = subprocess.run(  # noqa: S603  # the operator's own command
                shlex.split(command),
                capture_output=True,
                timeout=_COMMAND_TIMEOUT_SECONDS,
                check=True,
            )
        except (OSError, ValueError, IndexError, subprocess.SubprocessError) as error:
            raise ConfigurationError(
                ErrorCode.ENCRYPTION_KEY_MISSING,
                f"The encryption key command failed: {type(error).__name__}.",
            ) from None
        return _parsed(bytearray(done.stdout), "the encryption key command")

    return Keyring(load)


def add_key(path: Path) -> str:
    """Put a new key in front of those in the file, and return its id."""
    keys = dict(_read_keys(path))
    key_id = _new_key_id()
    _write_keys(path, {key_id: new_key(), **keys}, exclusive=False)
    return key_id


def retire_keys(path: Path, kept_id: str) -> None:
    """Remove every key but ``kept_id`` from the file."""
    _write_keys(path, {kept_id: _read_keys(path)[kept_id]}, exclusive=False)


def _new_key_id() -> str:
    return f"k{secrets.token_hex(4)}"


def _read_keys(path: Path) -> Mapping[str, bytearray]:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise ConfigurationError(
            ErrorCode.ENCRYPTION_KEY_MISSING,
            f"The key file {path} is not there.",
            remedy="Bring back the key file that belongs to this state.",
        ) from None
    except OSError as error:
        raise _unreadable(path, error) from None
    try:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode & 0o077:
            raise ConfigurationError(
                ErrorCode.ENCRYPTION_KEY_INVALID,
                f"The key file {path} can be read by others (mode {mode:04o}).",
                remedy=f"chmod 600 {shlex.quote(str(path))}",
            )
        with content_of(descriptor) as content:
            return _parsed(content, f"the key file {path}")
    except OSError as error:
        raise _unreadable(path, error) from None
    finally:
        os.close(descriptor)


def _unreadable(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        ErrorCode.ENCRYPTION_KEY_INVALID,
        f"The key file {path} cannot be read: {error.strerror}.",
        remedy="Bring back the key file that belongs to this state, readable for this user alone.",
    )


def _write_keys(path: Path, keys: Mapping[str, bytearray], *, exclusive: bool) -> None:
    """Write ``keys`` and wipe them."""
    content = listed(keys)
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            file.write(content)
            os.fsync(file.fileno())
        if exclusive:
            os.link(draft, path)
        else:
            draft.replace(path)
    finally:
        for material in (content, *keys.values()):
            wipe(material)
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _parsed(content: bytearray, source: str) -> Mapping[str, bytearray]:
    keys = parse(content)
    if keys is None:
        raise ConfigurationError(
            ErrorCode.ENCRYPTION_KEY_INVALID,
            f"There is no list of encryption keys in {source}.",
            remedy="Give id:base64 of 32 random bytes for each key, separated by commas, active first.",
        )
    return keys
