"""The formats of audit files, and where a record of each begins and ends."""

from __future__ import annotations

import re
from enum import StrEnum

from dbaudit.engine.file_kinds import unreadable_kind
from dbaudit.engine.local_files import Borders
from dbaudit.engines.mysql import json_elements

XML_START = re.compile(rb"<AUDIT_RECORD[\s>]")
XML_END = re.compile(rb'</AUDIT_RECORD>\s{0,8}|"\s{0,8}/>\s{0,8}')
CSV_START = re.compile(rb'(?:\A|(?<=\n))"[A-Za-z ]{1,30}","\d{1,20}_\d{4}-\d\d-\d\dT')
_REMEDIES = {
    "compressed": "Set audit_log_compression (or audit_log_filter.compression) = NONE",
    "encrypted": "Set audit_log_encryption (or audit_log_filter.encryption) = NONE",
}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLANKS = b" \t\r\n"


class AuditFormat(StrEnum):
    """How an audit file is written."""

    JSON = "json"
    XML = "xml"
    CSV = "csv"


class UnreadableFormatError(ValueError):
    """The file has a format that cannot be read; the text says which, and what to do."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.remedy = remedy


def format_of(beginning: bytes) -> AuditFormat | None:
    """The format of a file, by its beginning; None for an empty file.

    Raises:
        UnreadableFormatError: it is compressed, encrypted, or no audit file.
    """
    kind = unreadable_kind(beginning)
    if kind is not None:
        raise UnreadableFormatError(f"is {kind}", _REMEDIES[kind.partition(" ")[0]])
    text = beginning.lstrip(_BYTE_ORDER_MARK + _BLANKS)
    if not text:
        return None
    if text.startswith(b"<"):
        return AuditFormat.XML
    if text.startswith(b'"'):
        return AuditFormat.CSV
    if text[:1] in (b"[", b"{", b",") or json_elements.begin_in(text):
        return AuditFormat.JSON
    raise UnreadableFormatError("is neither JSON nor XML nor CSV", "Give the file of an audit plugin")


def _xml_first(data: bytes) -> int:
    found = XML_END.search(data)
    return found.end() if found else 0


def _xml_last(data: bytes) -> int:
    end = 0
    for found in XML_END.finditer(data):
        end = found.end()
    return end


def _csv_first(data: bytes) -> int:
    found = CSV_START.search(data, 1)
    return found.start() if found else 0


def _csv_last(data: bytes) -> int:
    start = 0
    for found in CSV_START.finditer(data):
        start = found.start()
    # The line breaks of a statement stand inside of quotes.
    rest = data[start:]
    return len(data) if rest.endswith(b"\n") and rest.count(b'"') % 2 == 0 else start


BORDERS = {
    AuditFormat.JSON: Borders(json_elements.first_border, json_elements.last_border),
    AuditFormat.XML: Borders(_xml_first, _xml_last),
    AuditFormat.CSV: Borders(_csv_first, _csv_last),
}
