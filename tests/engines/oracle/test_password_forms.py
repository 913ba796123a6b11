"""A server that gives no session key would read the password: the driver would encrypt with a known key."""

from __future__ import annotations

import contextlib
import importlib
import re
import socket
import struct
from collections.abc import Iterator
from typing import Any

import oracledb
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from dbaudit.core.errors import ConfigurationError, DbauditError, ErrorCode
from dbaudit.engines.oracle import OracleEngine

from tests.engines.oracle.recorded import PASSWORD, target_of
from tests.servers.listening import listening

_VERIFIER_12C, _VERIFIER_11G = 0x4815, 0xB152
_SALT = bytes(16)
_ROUNDS = 3


@pytest.mark.parametrize("verifier", [_VERIFIER_12C, _VERIFIER_11G])
@pytest.mark.parametrize("key_bytes", [0, 1, 16])
def test_a_rogue_server_without_a_session_key_gets_no_password(key_bytes: int, verifier: int) -> None:
    with _rogue(key_bytes, verifier) as (port, asked), pytest.raises(ConfigurationError) as raised:
        OracleEngine().open(target_of(port=port))
    assert raised.value.code is ErrorCode.AUTHENTICATION_FAILED
    assert "could read" in raised.value.message
    assert asked, "the server never got as far as the log-in"
    assert not [said for said in asked if b"AUTH_PASSWORD" in said]


def test_a_session_key_of_full_length_is_answered() -> None:
    with _rogue(32, _VERIFIER_12C) as (port, asked), pytest.raises(DbauditError):
        OracleEngine().open(target_of(port=port))
    (sent,) = [said for said in asked if b"AUTH_PASSWORD" in said]
    assert PASSWORD not in _read_with_known_key(sent)


def test_the_driver_alone_would_show_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should this fail, the driver was mended, and the guard can go."""
    driver: Any = importlib.import_module("oracledb.thin_impl")
    guarded = driver.decrypt_cbc
    original = guarded.__closure__[0].cell_contents if hasattr(guarded, "refuses_short_keys") else guarded
    monkeypatch.setattr(driver, "decrypt_cbc", original)
    with _rogue(0, _VERIFIER_12C) as (port, asked), contextlib.suppress(oracledb.Error):
        oracledb.connect(
            user="u", password=PASSWORD, host="127.0.0.1", port=port, service_name="s", retry_count=0
        )
    sent = next(said for said in asked if b"AUTH_PASSWORD" in said)
    assert PASSWORD in _read_with_known_key(sent)


def _read_with_known_key(sent: bytes) -> str:
    """What a server reads that gave an empty half of the session key."""
    encrypted = re.search(rb"AUTH_PASSWORD.{2,4}?([0-9A-F]{64,})", sent, re.DOTALL)
    assert encrypted
    key = PBKDF2HMAC(hashes.SHA512(), 32, _SALT, _ROUNDS).derive(b"")
    decryptor = Cipher(algorithms.AES(key), modes.CBC(bytes(16))).decryptor()
    return decryptor.update(bytes.fromhex(encrypted[1].decode()))[16:].decode("utf-8", "replace")


@contextlib.contextmanager
def _rogue(key_bytes: int, verifier: int) -> Iterator[tuple[int, list[bytes]]]:
    """A server that speaks TNS up to the log-in, with a session key of so many bytes."""
    asked: list[bytes] = []

    with listening(lambda connection: _serve(connection, key_bytes, verifier, asked)) as port:
        yield port, asked


def _serve(connection: socket.socket, key_bytes: int, verifier: int, asked: list[bytes]) -> None:
    with connection, contextlib.suppress(OSError, struct.error):
        connection.settimeout(5)
        if b"DESCRIPTION" not in _packet(connection, "H"):
            _packet(connection, "H")  # a long connect descriptor has a packet of its own
        # Version 319, no options; SDU; no further flags: each step of the log-in is a round trip.
        accepted = struct.pack(">HH", 319, 0) + bytes(20) + struct.pack(">I", 8192) + bytes(9)
        connection.sendall(struct.pack(">HHBBH", 8 + len(accepted), 0, 2, 0, 0) + accepted)
        _packet(connection, "I")
        connection.sendall(_data(_protocol()))
        _packet(connection, "I")
        connection.sendall(_data(b"\x02\0\0"))  # no data type is special
        asked.append(_packet(connection, "I"))
        answers = (
            ("AUTH_SESSKEY", "5A" * key_bytes, 0),
            ("AUTH_VFR_DATA", _SALT.hex(), verifier),
            ("AUTH_PBKDF2_CSK_SALT", _SALT.hex(), 0),
            ("AUTH_PBKDF2_VGEN_COUNT", "4096", 0),
            ("AUTH_PBKDF2_SDER_COUNT", str(_ROUNDS), 0),
        )
        pairs = b"".join(_text(name) + _text(value) + _number(flags) for name, value, flags in answers)
        connection.sendall(_data(b"\x08" + _number(len(answers)) + pairs + b"\x09\0\0"))
        asked.append(_packet(connection, "I"))


def _protocol() -> bytes:
    national = bytes(9) + (2000).to_bytes(2, "big") + bytes(9)  # AL16UTF16
    capabilities = bytes(7) + bytes([12]) + bytes(52), bytes(11)
    banner = b"\x01\x06\0x86_64/Linux\0" + struct.pack("<HBH", 873, 1, 0)
    return b"".join(
        (banner, struct.pack(">H", len(national)), national, *(bytes([len(c)]) + c for c in capabilities))
    )


def _packet(connection: socket.socket, length: str) -> bytes:
    head = connection.recv(8, socket.MSG_WAITALL)
    whole: int = struct.unpack_from(f">{length}", head)[0]
    return connection.recv(whole - 8, socket.MSG_WAITALL)


def _data(body: bytes) -> bytes:
    return struct.pack(">IBBH", len(body) + 10, 6, 0, 0) + b"\0\0" + body


def _number(value: int) -> bytes:
    raw = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return bytes([len(raw)]) + raw


def _text(text: str) -> bytes:
    raw = text.encode()
    return _number(len(raw)) + (bytes([len(raw)]) + raw if raw else b"")
