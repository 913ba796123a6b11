"""The server's log through getLog: the last thousand lines or so, out of the server's memory."""

from __future__ import annotations

from typing import NamedTuple

from dbaudit.core.clock import now_us
from dbaudit.core.event import AuditEvent, gap
from dbaudit.engines.mongodb.connection import MemberConnection
from dbaudit.engines.mongodb.position import RingPosition


class RingRead(NamedTuple):
    """The lines that are new, the first of them the ``first``-th of the process, and what was lost before."""

    lines: list[str]
    first: int
    after: RingPosition
    gaps: tuple[AuditEvent, ...] = ()


def read_ring(connection: MemberConnection, process: str, position: RingPosition | None) -> RingRead:
    """The lines after ``position``; all that are there where it is None."""
    reply = connection.command({"getLog": "global"})
    lines = [str(line).removesuffix("\n") for line in reply.get("log") or []]
    written = max(int(reply.get("totalLinesWritten", len(lines))), len(lines))
    after = RingPosition(process=process, lines=written)
    if position is None:
        return RingRead(lines, written - len(lines), after)
    if position.process != process:
        return _of_a_new_process(connection.place, lines, position, after)
    new = written - position.lines
    if new < 0:
        lost = _gap(connection.place, position, "The log in the server's memory was emptied.", None)
        return RingRead(lines, written - len(lines), after, (lost,))
    if new > len(lines):
        reason = "The server wrote more lines to its log than it keeps in memory between two readings."
        lost = _gap(connection.place, position, reason, new - len(lines))
        return RingRead(lines, written - len(lines), after, (lost,))
    return RingRead(lines[len(lines) - new :], position.lines, after)


def _of_a_new_process(place: str, lines: list[str], position: RingPosition, after: RingPosition) -> RingRead:
    reason = "The server was started again: what it had logged last is not in its memory any more."
    gaps = [_gap(place, position, reason, None)]
    missing = after.lines - len(lines)
    if missing:
        beginning = RingPosition(process=after.process, lines=0)
        reason = "The server wrote more lines to its log since its start than it keeps in memory."
        gaps.append(_gap(place, beginning, reason, missing))
    return RingRead(lines, missing, after, tuple(gaps))


def _gap(place: str, position: RingPosition, reason: str, lost: int | None) -> AuditEvent:
    return gap(
        key=f"gap:ring:{place}:{position.process}:{position.lines}",
        time_us=now_us(),
        reason=reason,
        source=f"getLog of {place}",
        lost_records=lost,
    )
