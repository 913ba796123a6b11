"""Types are built once, before two threads can see half of one."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from dbaudit.core import typed

from tests.core import first_decodings


class Point(msgspec.Struct):
    x: int
    y: int = 0


def test_first_decodings_of_fifty_threads_at_once_do_not_crash_the_process() -> None:
    process = subprocess.run(
        [sys.executable, "-m", first_decodings.__name__],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=False,
    )
    assert (process.returncode, process.stderr) == (0, b"")


def test_what_is_not_of_the_form_is_refused() -> None:
    assert typed.decode(b'{"x": 1}', Point) == typed.convert({"x": 1}, Point) == Point(1)
    for wrong in (lambda: typed.decode(b'{"x": "1"}', Point), lambda: typed.convert({}, Point)):
        with pytest.raises(msgspec.ValidationError):
            wrong()


def test_texts_are_taken_for_numbers_only_where_that_is_asked_for() -> None:
    assert typed.decode(b'{"x": "1"}', Point, strict=False) == Point(1)
    assert typed.convert({"x": "1"}, Point, strict=False) == Point(1)
    assert typed.decoder(Point, strict=False)(b'{"x": "1"}') == Point(1)
    with pytest.raises(msgspec.ValidationError):
        typed.decoder(Point)(b'{"x": "1"}')


def test_lines_are_decoded_one_by_one() -> None:
    assert typed.lines_decoder(Point)(b'{"x": 1}\n{"x": 2, "y": 3}\n') == [Point(1), Point(2, 3)]
