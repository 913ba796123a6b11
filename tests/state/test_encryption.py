"""Encryption keys: their file, variable and command, and what they protect against."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

import pytest
from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.state.encryption import (
    Encrypted,
    add_key,
    keyring_from_command,
    keyring_from_file,
    keyring_from_text,
    retire_keys,
)

KEY_ONE = f"one:{base64.b64encode(b'1' * 32).decode()}"
KEY_TWO = f"two:{base64.b64encode(b'2' * 32).decode()}"


def test_the_key_file_is_made_for_its_owner_alone_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "keys"
    first = keyring_from_file(path, create=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = keyring_from_file(path, create=True)
    assert again.active_id == first.active_id
    assert again.decrypt(first.encrypt(b"tiger", "record"), "record") == b"tiger"
    assert [p.name for p in path.parent.iterdir()] == ["keys"]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o610])
def test_a_key_file_that_others_may_read_is_refused_with_the_command_that_mends_it(
    tmp_path: Path, mode: int
) -> None:
    path = tmp_path / "my keys"
    keyring_from_file(path, create=True)
    path.chmod(mode)
    with pytest.raises(ConfigurationError) as caught:
        keyring_from_file(path, create=True)
    assert caught.value.code is ErrorCode.ENCRYPTION_KEY_INVALID
    assert f"{mode:04o}" in caught.value.message
    assert caught.value.remedy == f"chmod 600 '{path}'"


def test_a_missing_key_file_is_not_made_where_it_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        keyring_from_file(tmp_path / "keys", create=False)
    assert caught.value.code is ErrorCode.ENCRYPTION_KEY_MISSING
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"one", b"one:", b":AAAA", b"one:short", b"one:####", b"\xff\xfe", KEY_ONE.encode() * 2,
     f"{KEY_ONE},{KEY_ONE}".encode()],
)  # fmt: skip
def test_a_file_that_holds_no_keys_is_refused_without_showing_its_content(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "keys"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        keyring_from_file(path, create=True)
    assert caught.value.code is ErrorCode.ENCRYPTION_KEY_INVALID
    assert str(path) in caught.value.message
    assert path.read_bytes() == content


def test_a_folder_in_place_of_the_key_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir(0o700)
    with pytest.raises(ConfigurationError) as caught:
        keyring_from_file(tmp_path / "keys", create=True)
    assert caught.value.code is ErrorCode.ENCRYPTION_KEY_INVALID


def test_keys_come_from_a_variable_or_a_command_just_as_well(tmp_path: Path) -> None:
    from_text = keyring_from_text(f"{KEY_ONE},{KEY_TWO}", "the variable")
    assert from_text.active_id == "one"
    file = tmp_path / "two keys"
    file.write_text(f"{KEY_TWO}\n{KEY_ONE}\n")
    from_command = keyring_from_command(f"cat '{file}'")
    assert from_command.active_id == "two"
    assert from_command.decrypt(from_text.encrypt(b"tiger", "r"), "r") == b"tiger"
    file.write_text(f"{KEY_ONE}\n")
    from_command.reload()
    assert from_command.active_id == "one"


@pytest.mark.parametrize(
    "command",
    ["", "/no/such/program", "false", "echo nothing", "echo 'open", "sh -c 'echo tiger >&2; exit 3'"],
)
def test_a_command_that_gives_no_keys_is_refused_without_its_output(command: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        keyring_from_command(command)
    assert caught.value.code in (ErrorCode.ENCRYPTION_KEY_MISSING, ErrorCode.ENCRYPTION_KEY_INVALID)
    assert "tiger" not in f"{caught.value} {caught.value.remedy} {caught.value.__cause__!r}"


def test_a_value_is_bound_to_its_record_and_its_key() -> None:
    keys = keyring_from_text(f"{KEY_ONE},{KEY_TWO}", "the variable")
    value = keys.encrypt(b"tiger", "db_1/password")
    assert keys.decrypt(value, "db_1/password") == b"tiger"
    tampered = [
        (value, "db_2/password"),
        (Encrypted("two", value.nonce, value.ciphertext), "db_1/password"),
        (Encrypted("one", os.urandom(12), value.ciphertext), "db_1/password"),
        (
            Encrypted("one", value.nonce, bytes([value.ciphertext[0] ^ 1]) + value.ciphertext[1:]),
            "db_1/password",
        ),
        (Encrypted("one", value.nonce, value.ciphertext[:-1]), "db_1/password"),
        (Encrypted("one", value.nonce, b""), "db_1/password"),
        (Encrypted("one", b"", value.ciphertext), "db_1/password"),
    ]
    for changed, record in tampered:
        with pytest.raises(ConfigurationError) as caught:
            keys.decrypt(changed, record)
        assert caught.value.code is ErrorCode.ENCRYPTION_KEY_INVALID


def test_equal_values_never_encrypt_to_equal_bytes() -> None:
    keys = keyring_from_text(KEY_ONE, "the variable")
    assert len({keys.encrypt(b"tiger", "r").ciphertext for turn in range(50)}) == 50


def test_a_key_that_is_gone_is_named_with_the_remedy() -> None:
    value = keyring_from_text(KEY_TWO, "v").encrypt(b"tiger", "r")
    with pytest.raises(ConfigurationError, match="key two is not there") as caught:
        keyring_from_text(KEY_ONE, "v").decrypt(value, "r")
    assert caught.value.code is ErrorCode.ENCRYPTION_KEY_MISSING
    assert "Bring back" in str(caught.value.remedy)


def test_a_keyring_never_shows_its_keys() -> None:
    keys = keyring_from_text(KEY_ONE, "v")
    assert repr(keys) == "Keyring(one)"
    assert KEY_ONE.partition(":")[2] not in f"{keys} {keys!r}"


def test_a_new_key_comes_first_and_the_old_ones_can_be_retired(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    keys = keyring_from_file(path, create=True)
    old = keys.encrypt(b"tiger", "r")
    new_id = add_key(path)
    keys.reload()
    assert keys.active_id == new_id != old.key_id
    assert keyring_from_file(path, create=False).decrypt(old, "r") == b"tiger"
    retire_keys(path, new_id)
    assert keys.decrypt(old, "r") == b"tiger", "a process that knew a key goes on reading with it"
    keys.reload()
    assert keys.decrypt(old, "r") == b"tiger"
    with pytest.raises(ConfigurationError):
        keyring_from_file(path, create=False).decrypt(old, "r")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
