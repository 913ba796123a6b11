"""Encryption keys in memory: one copy for the cipher, and no other that was needed on the way to it."""

from __future__ import annotations

import base64
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from dbaudit.state.key_material import KEY_BYTES, listed, new_key, parse, wipe

from tests.servers.processes import PROC

USES_KEYS = """
import sys
from pathlib import Path
from dbaudit.state.encryption import add_key, keyring_from_file
path = Path(sys.argv[1])
keys = keyring_from_file(path, create=True)
for turn in range(50):
    value = keys.encrypt(b"tiger", "record")
    assert keys.decrypt(value, "record") == b"tiger"
    keys.reload()
add_key(path)
keys.reload()
keys.decrypt(keys.encrypt(b"tiger", "record"), "record")
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/PID/mem")
def test_memory_holds_each_key_once_and_never_as_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    command = [sys.executable, "-c", USES_KEYS, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        memory = _memory(process.pid)
        process.communicate()
    assert memory.count(b"dbaudit.state.encryption") > 0, "the memory was not read"
    encoded = [line.partition(":")[2] for line in path.read_text().split()]
    assert len(encoded) == 2
    for text in encoded:
        assert memory.count(base64.b64decode(text)) == 1
        assert memory.count(text.encode()[:-4]) == 0
        assert memory.count(text[:-4].encode("utf-16-le")) == 0


def _memory(process_id: int) -> bytes:
    found = []
    with (PROC / str(process_id) / "mem").open("rb", buffering=0) as memory:
        for line in (PROC / str(process_id) / "maps").read_text().splitlines():
            addresses, rights, *_rest = line.split()
            start, end = (int(address, 16) for address in addresses.split("-"))
            if "w" in rights and "[v" not in line:
                memory.seek(start)
                found.append(memory.read(end - start))
    return b"".join(found)


def test_what_is_written_is_read_again() -> None:
    keys = {f"k{number}": new_key() for number in range(20)}
    content = listed(keys)
    assert content == b"".join(b"%s:%s\n" % (i.encode(), base64.b64encode(k)) for i, k in keys.items())
    assert parse(content) == keys
    assert parse(bytearray(b",".join(content.split()))) == keys


@pytest.mark.parametrize(
    "flaw", ["short", "long", "unpadded", "sign", "twice", "nameless", "colonless", "none"]
)
def test_what_is_no_list_of_keys_is_none(flaw: str) -> None:
    good = f"one:{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}"
    flawed = {
        "short": f"{good} two:{base64.b64encode(bytes(31)).decode()}",
        "long": f"{good} two:{base64.b64encode(bytes(33)).decode()}",
        "unpadded": f"{good} two:{base64.b64encode(bytes(32)).decode()[:-1]}",
        "sign": f"{good} two:{'-' * 43}=",
        "twice": f"{good} {good}",
        "nameless": f"{good} :{good.partition(':')[2]}",
        "colonless": f"{good} {good.partition(':')[2]}",
        "none": " ,\n",
    }[flaw]
    assert parse(bytearray(flawed.encode())) is None


def test_wiped_is_zero() -> None:
    key = new_key()
    assert any(key)
    wipe(key)
    assert key == bytearray(KEY_BYTES)
