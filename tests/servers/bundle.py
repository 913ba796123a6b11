"""A program of Debian with all of its libraries, so that it runs whatever the machine has."""

import shutil
import tempfile
from pathlib import Path

from tests.servers import debian


def bundle(
    folder: Path,
    program: str,
    *,
    suite: str,
    package: str,
    source: str,
    not_loaded: tuple[str, ...],
    options: str = "",
) -> None:
    """Make ``folder/program``, which runs ``source``, a path in ``package`` of a suite, with its libraries.

    ``not_loaded`` is what the names of packages begin with that the program depends on and does not load.
    ``options`` stand before the program's own; `$lib` is the folder of the libraries.

    Raises:
        EngineMissingError: it cannot be fetched.
    """
    libraries = folder / "lib"
    libraries.mkdir()
    with debian.suite(suite) as found, tempfile.TemporaryDirectory(prefix="dbaudit-bundle-") as unpacked:
        needed = [name for name in found.needed_by([package]) if not name.startswith(not_loaded)]
        found.unpack(needed, Path(unpacked))
        for library in sorted(Path(unpacked).rglob("*.so*")):
            if library.is_file() and not (libraries / library.name).exists():
                shutil.copy(library, libraries / library.name)
        shutil.copy(Path(unpacked) / source, libraries / program)
    loader = next(libraries.glob("ld-linux*"))
    (folder / program).write_text(
        "#!/bin/sh\n"
        'lib="$(dirname "$(readlink -f "$0")")/lib"\n'
        f'exec "$lib/{loader.name}" --library-path "$lib" --argv0 {program} "$lib/{program}" {options} "$@"\n'
    )
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
