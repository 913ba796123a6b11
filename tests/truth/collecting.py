"""Collecting as an agent does: read, decode, protect; in chunks whose sizes are random."""

import random
from collections.abc import Callable
from functools import partial

from dbaudit.agent.protection import protect
from dbaudit.core.database import AuditOptions
from dbaudit.core.event import AuditEvent
from dbaudit.core.statements import Fingerprints
from dbaudit.testing import Collecting, Monitored

UNMASKED = AuditOptions(mask_sensitive_data=False, capture_results=True)
"""Texts and row counts as they were; passwords are removed all the same."""
SMALLEST_CHUNK, LARGEST_CHUNK = 512, 1 << 17


def collected(
    monitored: Monitored,
    begin: object,
    chance: random.Random,
    done: Callable[[list[AuditEvent]], bool],
    options: AuditOptions = UNMASKED,
) -> list[AuditEvent]:
    """The protected events of ``monitored`` from the cursor ``begin`` on, until they are ``done``.

    A good ``done`` looks for something that happened after everything else, such as the end of a session that
    was opened last. Fails where that does not come within the deadline of ``monitored``, where records were
    lost, and where some were put aside.
    """
    with Collecting(monitored, begin) as log:
        while not done(log.events):
            known = len(log.events)
            limit_bytes = chance.randint(SMALLEST_CHUNK, LARGEST_CHUNK)
            log.until(partial(_more, log.events, known), "the end of the work", limit_bytes)
        assert log.gaps == []
        assert log.rejected == []
        protect(log.events, options, Fingerprints(), monitored.engine.dialect)
        return log.events


def _more(events: list[AuditEvent], known: int) -> bool:
    return len(events) > known


def now(monitored: Monitored) -> object:
    """The cursor of what happens from now on: where ``collected`` begins."""
    with Collecting(monitored) as log:
        return log.cursor
