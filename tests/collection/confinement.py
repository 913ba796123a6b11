"""Runs what a systemd unit runs, under the unit's own restrictions: system calls, address families, memory.

They are taken from the unit's lines SystemCallFilter, RestrictAddressFamilies and MemoryDenyWriteExecute, and
enforced by the kernel as systemd has it do. What systemd does with mounts is left out. Needs libseccomp and
systemd-analyze, which knows the groups of system calls. Run as ``python -c SOURCE UNIT``: the account of the
service need not be able to read this folder.
"""

import ctypes
import errno
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

ALLOW = 0x7FFF0000
REFUSE = 0x00050000 | errno.EPERM
EQUAL = 4
PR_SET_MDWE, MDWE_REFUSE_EXEC_GAIN = 65, 1


class Comparison(ctypes.Structure):
    """struct scmp_arg_cmp"""

    _fields_ = [
        ("argument", ctypes.c_uint),
        ("operation", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    ]


def main() -> None:
    lines: dict[str, list[str]] = {}
    for line in Path(sys.argv[1]).read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals:
            lines.setdefault(name, []).append(value)
    families = [getattr(socket, name) for name in lines["RestrictAddressFamilies"][0].split()]
    allowed = allowed_calls(lines["SystemCallFilter"])
    assert "socket" in allowed
    assert "mount" not in allowed
    restrict(allowed - {"socket"}, families)
    if lines["MemoryDenyWriteExecute"] == ["true"]:
        libc = ctypes.CDLL(None, use_errno=True)
        if (
            libc.prctl(PR_SET_MDWE, MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) != 0
            and ctypes.get_errno() != errno.EINVAL
        ):
            raise OSError(ctypes.get_errno(), "prctl")  # EINVAL: a kernel before 6.3
    command = shlex.split(lines["ExecStart"][0])
    os.execv(command[0], command)


def allowed_calls(filters: list[str]) -> set[str]:
    """The names of the system calls: the first list allows, those that begin with ~ take away."""
    text = subprocess.run(["systemd-analyze", "syscall-filter"], capture_output=True, text=True, check=True)
    groups: dict[str, list[str]] = {}
    for line in text.stdout.splitlines():
        word = line.strip()
        if line.startswith("@"):
            current = groups.setdefault(word, [])
        elif word and not word.startswith("#"):
            current.append(word)

    def expanded(words: list[str]) -> set[str]:
        found = set()
        for word in words:
            found |= expanded(groups[word]) if word.startswith("@") else {word}
        return found

    allowed = expanded([*filters[0].split(), "@default"])
    for line in filters[1:]:
        allowed -= expanded(line.removeprefix("~").split())
    return allowed


def restrict(calls: set[str], families: list[int]) -> None:
    """Have the kernel refuse every other system call, and sockets of every other family."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(REFUSE)))

    def allow(name: str, *comparisons: Comparison) -> None:
        number = library.seccomp_syscall_resolve_name(name.encode())
        array = (Comparison * len(comparisons))(*comparisons)
        # Negative numbers are of other architectures.
        if number >= 0 and library.seccomp_rule_add_array(
            context, ctypes.c_uint32(ALLOW), number, len(comparisons), array
        ):
            raise OSError(f"seccomp_rule_add({name})")

    for name in calls:
        allow(name)
    for family in families:
        allow("socket", Comparison(0, EQUAL, family, 0))
    if library.seccomp_load(context) != 0:
        raise OSError("seccomp_load")


if __name__ == "__main__":
    main()
