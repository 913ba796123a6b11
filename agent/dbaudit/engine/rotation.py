"""The files of one rotating log: which is the live one, and in which order the others were written."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip", ".enc", ".tmp")
_NUMBER = re.compile(r"\d{1,4}\Z")
_STAMP = re.compile(r"\d[\dTZ:._+-]*\Z")
_STAMP_DIGITS = 6
_DIGITS = re.compile(r"(\d+)")
_LISTINGS = 8


class RotatedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the log. ``number`` is that of a numbered suffix, ``stamp`` a time stamp in the name; the
    live file has neither.
    """

    name: str
    device: int
    inode: int
    size: int
    modified_us: int
    number: int | None = None
    stamp: str | None = None

    @property
    def live(self) -> bool:
        """Whether it is the file that is written now."""
        return self.number is None and self.stamp is None

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode: the file itself, whatever its name."""
        return self.device, self.inode


def rotated_files(live: Path) -> list[RotatedFile] | None:
    """The files of the log whose live file has this path, oldest first; None while they are being renamed.

    A folder is listed name by name, not at one instant: a listing holds when the next one is the same.
    Compressed files are not listed. Raises OSError.
    """
    listed = _list(live)
    for _attempt in range(_LISTINGS):
        again = _list(live)
        if _places(again) == _places(listed):
            return sorted(again, key=_age)
        listed = again
    return None


class Successor(msgspec.Struct, frozen=True):
    """The file after another one; ``missing``: there were others between that are not there any more."""

    file: RotatedFile
    missing: bool = False


def successor(files: Sequence[RotatedFile], identity: tuple[int, int], modified_us: int) -> Successor | None:
    """The file that was written after the one with this identity, last written at ``modified_us``; None while
    there is none.
    """
    here = next((file for file in files if file.identity == identity), None)
    if here is None:
        later = written_since(files, modified_us)
        return Successor(later[0], missing=not later[0].live) if later else None
    if here.live:
        return None
    live = next((file for file in files if file.live), None)
    if here.number is not None:
        later = [file for file in files if file.number is not None and file.number < here.number]
        expected = here.number - 1
        if later:
            return Successor(later[0], missing=later[0].number != expected)
        return Successor(live, missing=expected > 0) if live else None
    later = [file for file in files if file.stamp is not None and _age(file) > _age(here)]
    following = later[0] if later else live
    return Successor(following) if following else None


def written_since(files: Sequence[RotatedFile], modified_us: int) -> list[RotatedFile]:
    """Those that were written to at or after a moment."""
    return [file for file in files if file.modified_us >= modified_us]


def _list(live: Path) -> list[RotatedFile]:
    files = []
    with os.scandir(live.parent) as entries:
        for entry in entries:
            if not entry.name.startswith(live.stem):
                continue
            suffix = _suffix(entry.name, live)
            if suffix is None:
                continue
            try:
                status = entry.stat()
            except FileNotFoundError:
                continue  # removed or renamed meanwhile: the next listing differs
            if not entry.is_file():
                continue
            numbered = _NUMBER.match(suffix) is not None
            files.append(
                RotatedFile(
                    name=entry.name,
                    device=status.st_dev,
                    inode=status.st_ino,
                    size=status.st_size,
                    modified_us=status.st_mtime_ns // 1000,
                    number=int(suffix) if numbered else None,
                    stamp=suffix if suffix and not numbered else None,
                )
            )
    return files


def _suffix(entry: str, live: Path) -> str | None:
    """What rotation put into the name; empty for the live file, None for a file that is not of the log."""
    if entry == live.name:
        return ""
    if entry.endswith(_COMPRESSED):
        return None
    if entry.startswith(live.name):
        added = entry[len(live.name) :]
    elif live.suffix and entry.endswith(live.suffix):
        added = entry[len(live.stem) : -len(live.suffix)]
    else:
        return None
    if added[:1] not in (".", "-", "_"):
        return None
    suffix = added[1:]
    if _NUMBER.match(suffix):
        return suffix
    digits = sum(character.isdigit() for character in suffix)
    return suffix if _STAMP.match(suffix) and digits >= _STAMP_DIGITS else None


def _places(files: Sequence[RotatedFile]) -> set[tuple[str, int, int]]:
    return {(file.name, *file.identity) for file in files}


def _age(file: RotatedFile) -> tuple[int, list[tuple[int, int, str]]]:
    """Oldest first: by time stamp, then by falling number, then the live file."""
    if file.live:
        return 2, []
    if file.number is not None:
        return 1, [(0, -file.number, "")]
    parts = _DIGITS.split(file.stamp or "")
    return 0, [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
