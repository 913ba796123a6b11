"""The form of a notification: what Redis Enterprise sends in both generations, and what later ones may send.

`new_conn` and `close_conn` are objects under the name of the event; `auth` and `command` are flat, with the
name under `action`. Unknown names come in either form.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from dbaudit.core import typed
from dbaudit.core.errors import RecordError

_LATEST_SECONDS = 253_402_300_800
"""The year 10000: no date beyond it can be shown."""
_MILLISECONDS_FROM = 100_000_000_000

SUCCEEDED = frozenset({2, 7, 8})
PENDING = frozenset({3, 5, 10})
AUTHENTICATION_STATUSES = {
    0: "AUTHENTICATION_FAILED",
    1: "AUTHENTICATION_FAILED_TOO_LONG",
    2: "AUTHENTICATION_NOT_REQUIRED",
    3: "AUTHENTICATION_DIRECTORY_PENDING",
    4: "AUTHENTICATION_DIRECTORY_ERROR",
    5: "AUTHENTICATION_SYNCER_IN_PROGRESS",
    6: "AUTHENTICATION_SYNCER_FAILED",
    7: "AUTHENTICATION_SYNCER_OK",
    8: "AUTHENTICATION_OK",
    9: "AUTHENTICATION_ENTRAID_ERROR",
    10: "AUTHENTICATION_CBA_PENDING",
}
COMMAND_OK = 9
COMMAND_FAILED = 10

_MENDABLE = re.compile(rb"\\u|[\x01-\x1f]")

_decode = msgspec.json.decode


class _Connection(msgspec.Struct, gc=False):
    id: int | None = None
    srcp: str | int | None = None
    bdb_uid: str | int | None = None


class Glance(msgspec.Struct, gc=False):
    """The part of a notification that reading needs: much faster to decode than the whole."""

    ts: int | float | None = None
    action: str | None = None
    id: int | None = None
    srcp: str | int | None = None
    bdb_uid: str | int | None = None
    status: int | None = None
    username: str | None = None
    new_conn: _Connection | None = None
    close_conn: _Connection | None = None
    audit_worker_id: int | None = None
    audit_seq: int | None = None


_glance = typed.decoder(Glance)


def glance(data: bytes) -> Glance | None:
    """The notification in ``data`` at a glance; None where it is not a single one."""
    try:
        return _glance(data)
    except (ValueError, RecursionError):
        try:
            return typed.convert(parse(data)[0], Glance, strict=False)
        except (RecordError, ValueError, RecursionError):
            return None


def parse(data: bytes) -> tuple[dict[str, Any], bool]:
    """The object in ``data``, and whether its text was not UTF-8 and had to be mended.

    A client chooses the names in a notification; malformed names must not hide it. Raises
    RecordError if the data are not a JSON object.
    """
    mended = False
    try:
        found = _decode(data)
    except RecursionError:
        raise RecordError("is nested too deeply") from None
    except ValueError as error:
        # More is taken here: bytes that are no UTF-8, halves of surrogate pairs, characters that should have
        # been escaped, numbers of any size.
        if not isinstance(error, UnicodeError | msgspec.ValidationError) and not _MENDABLE.search(data):
            raise RecordError("is not JSON") from None
        text = data.decode("utf-8", "replace")
        mended = "\ufffd" in text
        try:
            found = json.loads(text, strict=False)
        except ValueError:
            raise RecordError("is not JSON") from None
        except RecursionError:
            raise RecordError("is nested too deeply") from None
    if not isinstance(found, dict):
        raise RecordError("is not a JSON object")
    return found, mended


def time_us(ts: object) -> int | None:
    """The time stamp in microseconds since the epoch; None if it is malformed.

    The stamps are seconds; one manual promised milliseconds, so what is too large for seconds is taken as
    those.
    """
    if isinstance(ts, bool) or not isinstance(ts, int | float) or not 0 <= ts < _LATEST_SECONDS * 1000:
        return None
    return int(ts * 1000) if ts >= _MILLISECONDS_FROM else int(ts * 1_000_000)
