"""Words of servers in errors: no password, no line break, no end."""

import msgspec
import pytest
from dbaudit.core.database import SslMode, Target
from dbaudit.core.secret import Secret
from dbaudit.engine.words import HIDDEN_WORDS, one_line

TARGET = Target(
    database_id="db_test",
    host="127.0.0.1",
    port=1,
    database="shop",
    username="dbaudit",
    password=Secret("s3cret word\tof mine"),
    ssl_mode=SslMode.DISABLE,
)


@pytest.mark.parametrize("before", [*range(470, 505), 0])
def test_no_part_of_the_password_is_left_where_the_line_is_cut(before: int) -> None:
    line = one_line("x" * before + "s3cret word\tof mine", TARGET)
    assert len(line) <= 500
    assert "s3" not in line
    assert "mine" not in line


def test_password_whose_spaces_the_server_changed_is_found() -> None:
    spaced = msgspec.structs.replace(TARGET, password=Secret("s3cret word"))
    assert "s3cret" not in one_line("login failed with s3cret\n  word", spaced)


@pytest.mark.parametrize("password", ["p", "port", "Access denied", "denied for user"])
def test_a_password_that_is_a_word_of_the_server_leaves_no_gap_that_shows_it(password: str) -> None:
    weak = msgspec.structs.replace(TARGET, password=Secret(password))
    said = "Access denied for user 'x' on this port"
    assert one_line(said, weak) == HIDDEN_WORDS


def test_line_breaks_and_control_characters_do_not_reach_a_log() -> None:
    assert one_line("first\r\nsecond\x1b[31m \x00", TARGET) == "first second?[31m ?"


def test_words_are_whole_where_there_is_no_password() -> None:
    assert one_line("as it is", msgspec.structs.replace(TARGET, password=Secret(""))) == "as it is"
