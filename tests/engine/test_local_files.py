"""Following a log on the disk while another program writes and rotates it, with real files."""

import gzip
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.engine.circles import Trail
from dbaudit.engine.local_files import KEPT_BYTES, Borders, FilePosition, LocalLog, Loss, Portion

REMEDY = "chmod o+r"
XML_END = b"</AUDIT_RECORD>"


class Writer:
    """A server that writes numbered records, and everything that happens to its file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written: list[bytes] = []
        self._file = path.open("ab", buffering=0)
        self._begun = b""

    def write(self, count: int = 1, size: int = 30) -> None:
        for _number in range(count):
            self.begin(size)
            self.end()

    def begin(self, size: int = 30) -> None:
        """The first half of a record."""
        self._begun = f"{len(self.written):06d} {'x' * size}\n".encode()
        self._file.write(self._begun[: len(self._begun) // 2])

    def end(self) -> None:
        self._file.write(self._begun[len(self._begun) // 2 :])
        self.written.append(self._begun)

    def reopen(self) -> None:
        self._file.close()
        self._file = self.path.open("ab", buffering=0)

    def rotate_numbered(self, keep: int = 9) -> None:
        """As server_audit does: the oldest is overwritten."""
        width = len(str(keep))
        names = [self.path.with_name(f"{self.path.name}.{n:0{width}d}") for n in range(1, keep + 1)]
        for newer, older in zip(reversed(names[:-1]), reversed(names[1:]), strict=True):
            if newer.exists():
                newer.rename(older)
        self.path.rename(names[0])
        self.reopen()

    def rotate_to(self, name: str) -> Path:
        self.path.rename(self.path.with_name(name))
        self.reopen()
        return self.path.with_name(name)

    def copy_and_truncate(self, name: str) -> None:
        shutil.copyfile(self.path, self.path.with_name(name))
        os.truncate(self.path, 0)


class Reader:
    """Reads to the end, as a collector does; may be stopped and started again."""

    def __init__(self, log: Callable[[], LocalLog], limit: int = 200, *, beginning: bool = False) -> None:
        self._make = log
        self._limit = limit
        self.log = log()
        self.position = self.log.first_position(beginning=beginning)
        self.records: list[bytes] = []
        self.broken: list[bytes] = []
        self.losses: list[Loss] = []

    def read(self) -> Portion:
        portion = self.log.read(self.position, self._limit)
        assert portion.after != self.position or not portion.more, "more of the same is a busy loop"
        self.position = msgspec.json.decode(msgspec.json.encode(portion.after), type=FilePosition)
        self.losses += portion.losses
        if portion.whole:
            self.records += portion.data.splitlines(keepends=True)
        else:
            self.broken.append(portion.data)
        return portion

    def drain(self) -> list[bytes]:
        """Everything that is waiting."""
        for _number in range(10_000):
            if not self.read().more:
                break
        else:
            raise AssertionError("there is always more")
        assert self.read().data == b""
        return self.records

    def start_again(self) -> None:
        self.log.close()
        self.log = self._make()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "server_audit.log"


@pytest.fixture
def writer(path: Path) -> Writer:
    return Writer(path)


@pytest.fixture
def log(path: Path) -> Iterator[Callable[[], LocalLog]]:
    made: list[LocalLog] = []

    def make(**options: int) -> LocalLog:
        made.append(LocalLog(path, remedy=REMEDY, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def reader(log: Callable[[], LocalLog], writer: Writer) -> Reader:
    return Reader(log)


def test_reading_begins_at_the_end_of_what_is_there(writer: Writer, log: Callable[[], LocalLog]) -> None:
    writer.write(5)
    writer.begin()
    reader = Reader(log)
    assert reader.drain() == []
    writer.end()
    writer.write(2)
    assert reader.drain() == writer.written[5:]


def test_reading_begins_at_the_oldest_file_where_that_is_wanted(
    writer: Writer, log: Callable[[], LocalLog]
) -> None:
    for _number in range(3):
        writer.write(5)
        writer.rotate_numbered()
    writer.write(2)
    assert Reader(log, beginning=True).drain() == writer.written


def test_a_record_is_given_once_it_is_whole(reader: Reader, writer: Writer) -> None:
    writer.begin()
    assert reader.drain() == []
    writer.end()
    assert reader.drain() == writer.written


def test_a_record_longer_than_the_limit_is_given_whole(reader: Reader, writer: Writer) -> None:
    writer.write(size=5000)
    writer.write()
    assert reader.drain() == writer.written


def test_a_record_longer_than_any_can_be_is_put_aside_and_the_next_one_is_read(
    log: Callable[..., LocalLog], writer: Writer
) -> None:
    reader = Reader(lambda: log(largest_record_bytes=100_000))
    writer.write(size=350_000)
    writer.write(3)
    assert reader.drain() == writer.written[1:]
    assert reader.broken == [writer.written[0][:KEPT_BYTES]]
    assert reader.losses == []


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    "rotate",
    [
        lambda writer: writer.rotate_numbered(),
        lambda writer: writer.rotate_numbered(keep=99),
        lambda writer: writer.rotate_numbered(keep=999),
        lambda writer: writer.rotate_to("server_audit.log.2026-11-22T10-00-00"),
        lambda writer: writer.rotate_to("server_audit.20261122T100000.log"),
        lambda writer: writer.rotate_to("server_audit.20261122T100000-1.log"),
        lambda writer: writer.rotate_to("server_audit.log-20261122"),
        lambda writer: writer.rotate_to("server_audit-20261122.log"),
        lambda writer: writer.rotate_to("server_audit.1.log"),
        lambda writer: writer.copy_and_truncate("server_audit.log.1"),
    ],
)
def test_a_rotated_file_is_read_to_its_end_before_the_next(
    reader: Reader, writer: Writer, rotate: Callable[[Writer], None], restart: bool
) -> None:
    writer.write(3)
    reader.drain()
    writer.write(20)
    reader.read()
    rotate(writer)
    if restart:
        reader.start_again()
    writer.write(4)
    assert reader.drain() == writer.written
    assert reader.losses == []


def test_time_stamps_are_put_in_order_by_their_numbers(writer: Writer, log: Callable[[], LocalLog]) -> None:
    reader = Reader(log)
    for stamp in ("", "-1", "-2", "-9", "-10", "-11"):
        writer.write(3)
        writer.rotate_to(f"server_audit.20261122T100000{stamp}.log")
    writer.write(2)
    assert reader.drain() == writer.written
    assert reader.losses == []


def test_a_file_renamed_while_its_writer_still_writes_to_it_is_read_to_its_real_end(
    reader: Reader, writer: Writer, path: Path
) -> None:
    writer.write(3)
    reader.drain()
    path.rename(path.with_name("server_audit.log.1"))
    path.touch()  # as logrotate's "create"
    writer.write(5)
    assert reader.drain() == writer.written
    writer.reopen()
    writer.write(5)
    assert reader.drain() == writer.written
    assert reader.losses == []


@pytest.mark.parametrize("compressed", [True, False])
def test_a_file_compressed_or_removed_before_its_end_was_read_is_read_all_the_same(
    reader: Reader, writer: Writer, path: Path, compressed: bool
) -> None:
    writer.write(3)
    reader.drain()
    writer.write(50)
    old = writer.rotate_to("server_audit.log.1")
    if compressed:
        with gzip.open(path.with_name("server_audit.log.1.gz"), "wb") as file:
            file.write(old.read_bytes())
    old.unlink()
    writer.write(5)
    assert reader.drain() == writer.written
    assert reader.losses == []


def test_a_file_removed_while_nobody_read_is_told_with_what_was_known_of_its_size(
    reader: Reader, writer: Writer
) -> None:
    writer.write(3)
    reader.drain()
    writer.write(7)
    reader.read()
    read = len(reader.records)
    reader.start_again()
    writer.rotate_to("server_audit.log.1").unlink()
    writer.write(2)
    assert reader.drain() == writer.written[:read] + writer.written[10:]
    detail = reader.losses[0].event().detail or {}
    assert len(reader.losses) == 1
    assert detail["known_unread_bytes"] == sum(map(len, writer.written[read:10]))
    assert "removed" in detail["reason"]


@pytest.mark.parametrize("restart", [False, True])
def test_a_ring_that_was_overrun_is_told_once_and_reading_goes_on_at_the_oldest_file(
    reader: Reader, writer: Writer, restart: bool
) -> None:
    writer.write(3)
    reader.drain()
    if restart:
        reader.start_again()
    for _number in range(6):
        writer.write(3)
        writer.rotate_numbered(keep=2)
    writer.write(1)
    records = reader.drain()
    assert records[-7:] == writer.written[-7:]
    assert len(reader.losses) == 1


def test_files_missing_between_are_told(reader: Reader, writer: Writer, path: Path) -> None:
    writer.write(3)
    reader.drain()
    for _number in range(3):
        writer.write(3)
        writer.rotate_numbered()
    path.with_name("server_audit.log.2").unlink()
    writer.write(1)
    assert reader.drain() == writer.written[:6] + writer.written[9:]
    assert [loss.reason for loss in reader.losses] == [
        "Log files were removed or overwritten before they were read."
    ]


def test_a_truncated_file_is_told_and_read_from_its_beginning(
    reader: Reader, writer: Writer, path: Path
) -> None:
    writer.write(10)
    reader.drain()
    os.truncate(path, 0)
    writer.write(3)
    assert reader.drain() == writer.written
    assert ["truncated" in loss.reason for loss in reader.losses] == [True]


def test_a_file_replaced_by_a_larger_one_of_the_same_name_is_told(
    reader: Reader, writer: Writer, path: Path
) -> None:
    writer.write(3)
    reader.drain()
    os.truncate(path, 0)
    writer.write(30)
    assert reader.drain() == writer.written
    assert len(reader.losses) == 1


def test_a_name_made_anew_after_everything_was_read_is_followed_without_a_loss(
    reader: Reader, writer: Writer, path: Path
) -> None:
    writer.write(3)
    reader.drain()
    path.unlink()
    assert reader.drain() == writer.written
    writer.reopen()
    writer.write(3)
    assert reader.drain() == writer.written
    assert reader.losses == []


def test_a_record_without_an_end_in_a_finished_file_is_put_aside(reader: Reader, writer: Writer) -> None:
    writer.write(2)
    writer.begin()
    writer.rotate_numbered()
    writer.write(2)
    assert reader.drain() == writer.written
    assert reader.broken == [b"000002 xxxxxxxxxxxx"]


def test_a_file_that_appears_later_is_read_from_its_beginning(path: Path) -> None:
    reader = Reader(lambda: LocalLog(path, remedy=REMEDY))
    assert reader.drain() == []
    writer = Writer(path)
    writer.write(3)
    assert reader.drain() == writer.written
    reader.log.close()


def test_files_of_others_in_the_same_folder_are_not_read(
    path: Path, writer: Writer, log: Callable[[], LocalLog]
) -> None:
    for name in (
        *("server_audit.log.bak", "server_audit.log.1.gz", "server_audit.log.old", "server_audit2.log"),
        *("server_audit.logs", "server_audit.conf.1", "other.log.1", "server_audit_report_1.log"),
    ):
        path.with_name(name).write_bytes(b"not ours\n")
    path.with_name("server_audit.log.2").mkdir()
    writer.write(3)
    assert Reader(log, beginning=True).drain() == writer.written


def test_an_inode_used_again_is_not_taken_for_the_file_that_had_it(
    reader: Reader, writer: Writer, path: Path
) -> None:
    writer.write(10)
    reader.drain()
    reader.log.close()
    content = path.read_bytes().replace(b"0000", b"1111")
    path.write_bytes(content)  # the same inode, another content
    assert reader.drain() == [*writer.written, *content.splitlines(keepends=True)]
    assert len(reader.losses) == 1


def test_keys_of_records_do_not_depend_on_how_much_is_read_at_once(
    writer: Writer, log: Callable[[], LocalLog]
) -> None:
    writer.write(30)
    writer.rotate_numbered()
    writer.write(30)

    def keys(limit: int) -> list[str]:
        reader = Reader(log, limit, beginning=True)
        found = []
        more = True
        while more:
            portion = reader.read()
            offset = portion.start.offset
            for record in portion.data.splitlines(keepends=True):
                found.append(f"{portion.start.head}:{offset}")
                offset += len(record)
            more = portion.more
        return found

    assert len(set(keys(40))) == 60
    assert keys(40) == keys(333) == keys(1 << 20)


def test_records_that_are_no_lines_are_cut_where_they_end(path: Path) -> None:
    xml = Borders(
        lambda data: (data.find(XML_END) + 1) and data.find(XML_END) + len(XML_END),
        lambda data: (data.rfind(XML_END) + 1) and data.rfind(XML_END) + len(XML_END),
    )
    path.write_bytes(b"<?xml?>\n<AUDIT>\n<AUDIT_RECORD>\n<A/>\n</AUDIT_RECORD>\n<AUDIT_RECORD>\n<B/>")
    log = LocalLog(path, xml, remedy=REMEDY)
    portion = log.read(log.first_position(beginning=True), 1 << 20)
    assert portion.data.endswith(b"<A/>\n</AUDIT_RECORD>")
    with path.open("ab") as file:
        file.write(b"\n</AUDIT_RECORD>\n")
    assert log.read(portion.after, 1 << 20).data == b"\n<AUDIT_RECORD>\n<B/>\n</AUDIT_RECORD>"
    log.close()


def test_a_folder_that_is_not_there_names_the_file_and_the_remedy(tmp_path: Path) -> None:
    log = LocalLog(tmp_path / "nowhere" / "audit.log", remedy=REMEDY)
    with pytest.raises(ConfigurationError) as raised:
        log.first_position()
    assert raised.value.code is ErrorCode.AUDIT_SOURCE_MISSING
    assert raised.value.remedy == REMEDY
    assert "nowhere/audit.log" in raised.value.message


def test_an_idle_log_costs_no_listing(
    reader: Reader, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.write(3)
    reader.drain()
    monkeypatch.setattr(os, "scandir", None)
    assert reader.read().data == b""


@pytest.mark.parametrize("seed", range(30))
def test_whatever_happens_to_the_files_every_record_comes_once_and_in_order(
    seed: int, path: Path, log: Callable[[], LocalLog]
) -> None:
    chance = random.Random(seed)
    writer = Writer(path)
    reader = Reader(log, limit=chance.choice([50, 300, 5000]))
    stamps = iter(range(100_000, 200_000))
    numbered = chance.random() < 0.5
    for _step in range(150):
        action = chance.randrange(10)
        if action < 4:
            writer.write(chance.randrange(6), size=chance.choice([3, 30, 400]))
        elif action < 7:
            reader.read()
        elif action < 8:
            reader.start_again()
        elif numbered:
            if len(reader.records) == len(writer.written) or chance.random() < 0.2:
                writer.rotate_numbered(keep=999)
        else:
            writer.rotate_to(f"server_audit.log.{next(stamps)}")
    writer.write(1)
    assert reader.drain() == writer.written
    assert reader.losses == []
    assert reader.broken == []


@pytest.mark.parametrize("seed", range(10))
def test_numbers_of_any_number_of_digits_beside_each_other_do_not_change_the_order(
    seed: int, path: Path
) -> None:
    chance = random.Random(seed)
    writer = Writer(path)
    reader = Reader(
        lambda: LocalLog(path, remedy=REMEDY, begun=lambda data: data[:6].decode()),
        limit=chance.choice([50, 900]),
    )
    unread = 0
    for _step in range(80):
        action = chance.randrange(8)
        if action < 4:
            writer.write(1 + chance.randrange(5), size=chance.choice([3, 30, 400]))
        elif action < 5:
            reader.read()
        elif action < 6:
            reader.start_again()
        elif unread < 8:
            writer.write(1)
            writer.rotate_numbered(keep=chance.choice([9, 60, 999]))
            unread += 1
        elif reader.drain():
            unread = 0
    writer.write(1)
    assert reader.drain() == writer.written
    assert reader.losses == []
    reader.log.close()


def test_more_files_than_the_writer_is_known_to_keep_are_no_loss(path: Path) -> None:
    """Two programs may number the same files: the server keeps 9, and logrotate 30."""
    writer = Writer(path)
    for number in range(14, 0, -1):
        writer.write(2)
        writer.rotate_to(f"server_audit.log.{number}")
    writer.write(2)
    reader = Reader(lambda: LocalLog(path, remedy=REMEDY, kept=lambda: 9), beginning=True)
    assert reader.drain() == writer.written
    assert reader.losses == []
    reader.log.close()


def test_files_that_send_reading_in_circles_are_an_error_with_a_reason(path: Path) -> None:
    """Whatever brings it about: here each file that was read comes back as the live one."""
    path.write_bytes(b"one\n")
    path.with_name("server_audit.log.1").write_bytes(b"two\n")
    reader = Reader(lambda: LocalLog(path, remedy=REMEDY), beginning=True)

    def turn() -> None:
        reader.drain()
        path.rename(path.with_name("kept"))
        path.with_name("server_audit.log.1").rename(path)
        path.with_name("kept").rename(path.with_name("server_audit.log.1"))

    with pytest.raises(ConfigurationError) as raised:
        [turn() for _turn in range(40)]
    assert raised.value.code is ErrorCode.AUDIT_SOURCE_MISSING
    assert "goes in circles" in raised.value.message
    assert "another folder" in (raised.value.remedy or "")


@pytest.mark.parametrize("length", [1, 2, 3, 7, 60, 999])
def test_a_circle_of_any_length_is_seen_after_a_few_rounds(length: int) -> None:
    trail = Trail()
    for number in range(5000):
        trail = trail.with_file(f"read once {number}")
    assert not trail.is_circle
    turns = 0
    while not trail.is_circle:
        trail = msgspec.json.decode(msgspec.json.encode(trail.with_file(f"{turns % length}")), type=Trail)
        turns += 1
    assert turns < 10 * max(length, 500)
