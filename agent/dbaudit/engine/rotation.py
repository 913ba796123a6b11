"""The files of one rotating log: which is the live one, and in which order the others were written.

A number alone does not say how old a file is. A program that was set to keep 9 files and is now set to keep
60 names them `.01`, `.02` ... from then on, and the files `.1` to `.9` stay. So files that were numbered in
one way are one chain, in which a higher number is older. Chains are merged by when their files were written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from dbaudit.core.host_limits import HostLimits
from dbaudit.engine.host_access import listed

_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip", ".enc", ".tmp")
_NUMBER = re.compile(r"\d{1,5}\Z")
_STAMP = re.compile(r"\d[\dTZ:._+-]*\Z")
_STAMP_DIGITS = 6
_DIGITS = re.compile(r"(\d+)")
_LISTINGS = 8
_STAMPED = -1
"""The chain of files with time stamps in their names."""


class RotatedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the log. ``number`` is that of a numbered suffix of so many ``digits``, ``stamp`` a time
    stamp in the name; the live file has neither. ``begun`` is when its first records were written, as text
    that sorts, where the format of the log says it; empty otherwise.
    """

    name: str
    device: int
    inode: int
    size: int
    modified_us: int
    number: int | None = None
    digits: int = 0
    stamp: str | None = None
    begun: str = ""

    @property
    def live(self) -> bool:
        """Whether it is the file that is written now."""
        return self.number is None and self.stamp is None

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode: the file itself, whatever its name."""
        return self.device, self.inode


Begun = Callable[[RotatedFile], str]
"""When the first records of a file were written, as text that sorts; empty where that is not known."""


def rotated_files(
    live: Path, begun: Begun | None = None, limits: HostLimits | None = None
) -> list[RotatedFile] | None:
    """The files of the log whose live file has this path, oldest first; None while they are being renamed.

    A folder is listed name by name, not at one instant: a listing is valid if the next one is the same.
    ``begun`` is called if the names do not say the order. Compressed files are not listed. Raises OSError,
    and ConfigurationError if ``limits`` do not allow the folder.
    """
    before = _list(live, limits)
    for _attempt in range(_LISTINGS):
        again = _list(live, limits)
        if _places(again) == _places(before):
            if begun is not None and len(_chains(again)) > 1:
                dated = [msgspec.structs.replace(file, begun=begun(file)) for file in again]
                # Renamed since: what was read may be of another file.
                return in_order(dated) if _places(_list(live, limits)) == _places(again) else None
            return in_order(again)
        before = again
    return None


def in_order(files: Iterable[RotatedFile], digits: int = 0) -> list[RotatedFile]:
    """The files, oldest first and the live one last.

    ``digits`` is the length of the numbers that are given to files now, 0 where that is not known.
    """
    files = list(files)
    dated = all(file.begun for file in files if file.size)
    chains = [(_written(chain, dated=dated), chain) for chain in _chains(files)]
    chains.sort(key=lambda chain: (chain[0][-1], chain[1][-1].digits == digits))
    keyed = [
        (time, rank, place, file)
        for rank, (times, chain) in enumerate(chains)
        for place, (time, file) in enumerate(zip(times, chain, strict=True))
    ]
    keyed.sort(key=lambda key: key[:3])
    return [file for *_key, file in keyed] + [file for file in files if file.live]


def _written(chain: Sequence[RotatedFile], *, dated: bool) -> list[tuple[str, int]]:
    """When each file of a chain was written, in their order."""
    times: list[tuple[str, int]] = []
    latest = None
    for file in reversed(chain):
        if file.begun or not dated:
            # A file that was touched or copied looks younger than the next one of its chain.
            written = (file.begun if dated else "", file.modified_us)
            latest = written if latest is None else min(latest, written)
        if latest is not None:
            times.append(latest)
    # Empty files at the end of the chain say nothing.
    newest = times[0] if times else ("", 0)
    return [*reversed(times), *[newest] * (len(chain) - len(times))]


class Successor(msgspec.Struct, frozen=True):
    """The file after another one; ``missing``: there were others between that are not there any more."""

    file: RotatedFile
    missing: bool = False


def successor(
    files: Sequence[RotatedFile],
    identity: tuple[int, int],
    modified_us: int,
    kept: Callable[[], int] = lambda: 0,
) -> Successor | None:
    """The file that was written after the one with this identity, last written at ``modified_us``; None while
    there is none. ``files`` are in the order in which they were written.

    ``kept`` returns how many rotated files the program keeps that numbers them, 0 if that is not known.
    """
    place = next((place for place, file in enumerate(files) if file.identity == identity), None)
    if place is None:
        later = written_since(files, modified_us)
        return Successor(later[0], missing=not later[0].live) if later else None
    if place + 1 == len(files):
        return None
    here, following = files[place], files[place + 1]
    return Successor(following, missing=_is_gap(files, here) or _is_overrun(files, place, kept))


def written_since(files: Sequence[RotatedFile], modified_us: int, begun: str = "") -> list[RotatedFile]:
    """The files written to at or after ``modified_us``, without those that begin before ``begun``."""
    return [file for file in files if file.modified_us >= modified_us and not _earlier(file, begun)]


def _earlier(file: RotatedFile, begun: str) -> bool:
    return bool(file.begun) and file.begun < begun


def _is_gap(files: Sequence[RotatedFile], here: RotatedFile) -> bool:
    """Whether the number that follows in the chain of a file is not there."""
    if here.number is None:
        return False
    chain = next(chain for chain in _chains(files) if here in chain)
    place = chain.index(here)
    expected = here.number - 1
    if place + 1 < len(chain):
        return chain[place + 1].number != expected
    return expected > 0


def _is_overrun(files: Sequence[RotatedFile], place: int, kept: Callable[[], int]) -> bool:
    """Whether all files that are overwritten in turn may have been overwritten since the one at ``place``,
    which is not one of them, was finished. Nothing shows how often.
    """
    here, following = files[place], files[place + 1]
    if following.number is None or following.number != (number := kept()):
        return False
    if following.digits != len(str(number)):
        return False
    if any(here in chain and following in chain for chain in _chains(files)):
        # Beside a program that keeps fewer, another may number the same files up to more digits.
        return here.digits == following.digits and (here.number or 0) > number
    return True


def _chains(files: Iterable[RotatedFile]) -> list[list[RotatedFile]]:
    """The files but for the live one, by how they are numbered; each chain oldest first."""
    rotated = [file for file in files if not file.live]
    padded = {file.digits for file in rotated if _is_padded(file)}
    chains: dict[int, list[RotatedFile]] = {}
    for file in rotated:
        # Without zeros before them, `.9` and `.10` are numbers of one chain.
        chain = _STAMPED if file.number is None else file.digits if file.digits in padded else 0
        chains.setdefault(chain, []).append(file)
    return [sorted(chain, key=_age) for chain in chains.values()]


def _is_padded(file: RotatedFile) -> bool:
    return file.number is not None and file.digits > len(str(file.number))


def _list(live: Path, limits: HostLimits | None) -> list[RotatedFile]:
    files = []
    with listed(live.parent, limits) as entries:
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
                    digits=len(suffix) if numbered else 0,
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


def _age(file: RotatedFile) -> list[tuple[int, int, str]]:
    """Oldest first: by falling number, or by time stamp."""
    if file.number is not None:
        return [(0, -file.number, "")]
    parts = _DIGITS.split(file.stamp or "")
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
