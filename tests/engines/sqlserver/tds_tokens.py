"""What stands in TDS messages ([MS-TDS] 2.2): log-ins, calls with parameters, the tokens of an answer."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

COLLATION = bytes.fromhex("0904d00034")
_NVARCHAR, _INTN, _BITN, _VARBINARY, _FLTN = 0xE7, 0x26, 0x68, 0xA5, 0x6D
_MAX = 0xFFFF


@dataclass(frozen=True)
class Login:
    user: str
    password: str
    host: str
    application: str
    database: str


@dataclass(frozen=True)
class Column:
    """``kind`` is nvarchar, max (nvarchar(max)), bigint, int, smallint, bit, float or varbinary."""

    name: str
    kind: str = "nvarchar"


@dataclass(frozen=True)
class Result:
    columns: Sequence[Column]
    rows: Iterable[Sequence[Any]]
    said: tuple[int, str] | None = None
    """The number and the text of a message that is no error."""


def b_varchar(text: str) -> bytes:
    return bytes([len(text)]) + text.encode("utf-16-le")


def us_varchar(text: str) -> bytes:
    return struct.pack("<H", len(text)) + text.encode("utf-16-le")


def prelogin(encryption: int, version: tuple[int, int, int]) -> bytes:
    """The server's answer to PRELOGIN: its version, and what it does about encryption."""
    options = [
        (0, struct.pack(">BBHH", *version, 0)),
        (1, bytes([encryption])),
        (2, b"\0"),
        (3, b""),
        (4, b"\0"),
    ]
    head, data = b"", b""
    start = 5 * len(options) + 1
    for token, value in options:
        head += struct.pack(">BHH", token, start + len(data), len(value))
        data += value
    return head + b"\xff" + data


def wanted_encryption(body: bytes) -> int:
    """What a client's PRELOGIN says of encryption: 0 off, 1 on, 2 not supported, 3 required."""
    place = 0
    while body[place] != 0xFF:
        token, offset, _length = struct.unpack_from(">BHH", body, place)
        if token == 1:
            return body[offset]
        place += 5
    return 2


def parse_login(body: bytes) -> Login:
    def text(index: int, *, hidden: bool = False) -> str:
        offset, length = struct.unpack_from("<HH", body, 36 + 4 * index)
        raw = body[offset : offset + 2 * length]
        if hidden:
            raw = bytes(((byte ^ 0xA5) << 4 & 0xF0) | ((byte ^ 0xA5) >> 4) for byte in raw)
        return raw.decode("utf-16-le")

    return Login(
        host=text(0), user=text(1), password=text(2, hidden=True), application=text(3), database=text(8)
    )


def parse_batch(body: bytes) -> str:
    return body[struct.unpack_from("<I", body)[0] :].decode("utf-16-le")


class CallReader:
    """The procedure of an RPC and the values of its parameters."""

    _IDENTIFIED: ClassVar = {
        10: "sp_executesql",
        11: "sp_prepare",
        12: "sp_execute",
        13: "sp_prepexec",
        15: "sp_unprepare",
    }

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._place = struct.unpack_from("<I", body)[0]

    def read(self) -> tuple[str, list[Any]]:
        length = self._number("<H")
        if length == 0xFFFF:
            number = self._number("<H")
            name = self._IDENTIFIED.get(number, f"procedure {number}")
        else:
            name = self._take(2 * length).decode("utf-16-le")
        self._number("<H")  # option flags
        values = []
        while self._place < len(self._body) and self._body[self._place] not in (0x80, 0xFF):
            self._take(2 * self._number("B"))  # the parameter's name
            self._number("B")  # status flags
            values.append(self._value())
        return name, values

    def _value(self) -> Any:
        kind = self._number("B")
        if kind in (0xE7, 0xEF, 0xA7, 0xAF):  # nvarchar, nchar, varchar, char
            longest = self._number("<H")
            self._take(5)  # collation
            raw = self._plp() if longest == _MAX else self._short()
            encoding = "utf-16-le" if kind in (0xE7, 0xEF) else "cp1252"
            return None if raw is None else raw.decode(encoding)
        if kind in (0xA5, 0xAD):  # varbinary, binary
            return self._plp() if self._number("<H") == _MAX else self._short()
        if kind in (0x26, 0x68, 0x6D):  # integers, bit, floating point; each may be null
            self._number("B")
            raw = self._take(self._number("B"))
            if kind == 0x6D:
                return struct.unpack("<d" if len(raw) == 8 else "<f", raw)[0] if raw else None
            return int.from_bytes(raw, "little", signed=kind == 0x26) if raw else None
        if kind == 0x63:  # ntext, which FreeTDS uses for texts of statements
            self._take(4 + 5)
            length = self._number("<i")
            return None if length < 0 else self._take(length).decode("utf-16-le")
        fixed = {0x30: 1, 0x32: 1, 0x34: 2, 0x38: 4, 0x7F: 8}.get(kind)
        if fixed is None:
            raise ValueError(f"a parameter of the type {kind:#x}")
        return int.from_bytes(self._take(fixed), "little", signed=True)

    def _short(self) -> bytes | None:
        length = self._number("<H")
        return None if length == 0xFFFF else self._take(length)

    def _plp(self) -> bytes | None:
        if self._number("<Q") == 0xFFFFFFFFFFFFFFFF:
            return None
        parts = bytearray()
        while length := self._number("<I"):
            parts += self._take(length)
        return bytes(parts)

    def _number(self, form: str) -> int:
        return int(struct.unpack(form, self._take(struct.calcsize(form)))[0])

    def _take(self, count: int) -> bytes:
        self._place += count
        if self._place > len(self._body):
            raise ValueError("the call ends too early")
        return self._body[self._place - count : self._place]


def login_accepted(database: str, version: tuple[int, int, int]) -> bytes:
    major, minor, build = version
    acknowledged = (
        b"\x01"
        + bytes([0x74, 0, 0, 4])
        + b_varchar("Microsoft SQL Server")
        + struct.pack(">BBH", major, minor, build)
    )
    return (
        environment(1, b_varchar(database), b_varchar("master"))
        + environment(7, b"\x05" + COLLATION, b"\0")
        + b"\xad"
        + struct.pack("<H", len(acknowledged))
        + acknowledged
        + environment(4, b_varchar("4096"), b_varchar("4096"))
        + done()
    )


def environment(kind: int, new: bytes, old: bytes) -> bytes:
    body = bytes([kind]) + new + old
    return b"\xe3" + struct.pack("<H", len(body)) + body


def done(status: int = 0, rows: int = 0, token: int = 0xFD) -> bytes:
    return bytes([token]) + struct.pack("<HHQ", status, 0xC1, rows)


DONE_ERROR, DONE_COUNT, DONE_ATTENTION = 0x02, 0x10, 0x20
DONE_PROC, DONE_IN_PROC = 0xFE, 0xFF


def error(number: int, severity: int, text: str, token: int = 0xAA) -> bytes:
    body = (
        struct.pack("<iBB", number, 1, severity) + us_varchar(text) + b_varchar("DOUBLE") + b_varchar("")
    ) + struct.pack("<i", 1)
    return bytes([token]) + struct.pack("<H", len(body)) + body


def information(number: int, text: str) -> bytes:
    return error(number, 10, text, 0xAB)


def return_status(status: int = 0) -> bytes:
    return b"\x79" + struct.pack("<i", status)


def return_handle(handle: int) -> bytes:
    """The first output parameter of sp_prepexec and sp_prepare."""
    value = struct.pack("<IHB", 0, 1, _INTN) + b"\x04\x04" + struct.pack("<i", handle)
    return b"\xac" + struct.pack("<H", 0) + b_varchar("") + b"\x01" + value


_WIDTHS = {"bigint": 8, "int": 4, "smallint": 2}


def metadata(columns: Sequence[Column]) -> bytes:
    out = bytearray(b"\x81" + struct.pack("<H", len(columns)))
    for column in columns:
        out += struct.pack("<IH", 0, 9)
        match column.kind:
            case "nvarchar":
                out += struct.pack("<BH", _NVARCHAR, 8000) + COLLATION
            case "max":
                out += struct.pack("<BH", _NVARCHAR, _MAX) + COLLATION
            case "varbinary":
                out += struct.pack("<BH", _VARBINARY, 128)
            case "bit":
                out += bytes([_BITN, 1])
            case "float":
                out += bytes([_FLTN, 8])
            case kind:
                out += bytes([_INTN, _WIDTHS[kind]])
        out += b_varchar(column.name)
    return bytes(out)


def row(columns: Sequence[Column], values: Sequence[Any]) -> bytes:
    return b"\xd1" + b"".join(
        _cell(column.kind, value) for column, value in zip(columns, values, strict=True)
    )


def _cell(kind: str, value: Any) -> bytes:
    if kind == "max":
        if value is None:
            return b"\xff" * 8
        raw = _utf16(value)
        chunk = struct.pack("<I", len(raw)) + raw if raw else b""
        return struct.pack("<Q", len(raw)) + chunk + struct.pack("<I", 0)
    if kind in ("nvarchar", "varbinary"):
        if value is None:
            return b"\xff\xff"
        raw = _utf16(value) if kind == "nvarchar" else bytes(value)
        return struct.pack("<H", len(raw)) + raw
    if value is None:
        return b"\0"
    if kind == "bit":
        return bytes([1, bool(value)])
    if kind == "float":
        return b"\x08" + struct.pack("<d", value)
    return bytes([_WIDTHS[kind]]) + int(value).to_bytes(_WIDTHS[kind], "little", signed=True)


def _utf16(text: str) -> bytes:
    return text.encode("utf-16-le", "surrogatepass")
