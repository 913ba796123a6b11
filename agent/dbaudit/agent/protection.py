"""What happens to an event before it is stored: masking, hashing, and leaving out what was not asked for."""

from __future__ import annotations

from collections.abc import Sequence

from dbaudit.core.database import AuditOptions
from dbaudit.core.event import AuditEvent
from dbaudit.core.messages import protect_detail
from dbaudit.core.statements import MASK, Dialect, Fingerprints, mask_all, remove_passwords


def strictest(options: Sequence[AuditOptions]) -> AuditOptions:
    """What all of ``options`` allow, for events that are stored once for several declarations."""
    return AuditOptions(
        capture_queries=all(one.capture_queries for one in options),
        capture_results=all(one.capture_results for one in options),
        mask_sensitive_data=any(one.mask_sensitive_data for one in options),
    )


def protect(
    events: Sequence[AuditEvent],
    options: AuditOptions,
    fingerprints: Fingerprints,
    dialect: Dialect = Dialect.POSTGRESQL,
) -> None:
    """Change ``events`` in place to what ``options`` allow to be stored; ``dialect`` is that of their engine.

    The hash is that of the masked statement whatever the options say, so that it stays the same when they
    change.
    """
    with_query = [event for event in events if event.query is not None]
    _add_hashes(with_query, fingerprints, dialect, keep_texts=not options.mask_sensitive_data)
    if not options.capture_queries:
        for event in with_query:
            event.query = None
    elif not options.mask_sensitive_data:
        for event in with_query:
            event.query = remove_passwords(event.query or "", dialect)
    for event in events:
        if event.parameters is not None:
            if not options.capture_queries:
                event.parameters = None
            elif options.mask_sensitive_data:
                event.parameters = tuple(None if value is None else MASK for value in event.parameters)
        if event.detail is not None:
            masked = options.mask_sensitive_data or not options.capture_queries
            event.detail = protect_detail(event.detail, event.type, dialect, masked=masked)
        if not options.capture_results:
            event.rows_affected = None


def _add_hashes(
    events: Sequence[AuditEvent], fingerprints: Fingerprints, dialect: Dialect, *, keep_texts: bool
) -> None:
    """Add the hash of the masked statement to each event, and mask the statement itself."""
    new = []
    for event, known in zip(
        events, fingerprints.of_bare([event.query or "" for event in events]), strict=True
    ):
        event.query_hash = known
        if known is None:
            new.append(event)
    masked = mask_all([event.query or "" for event in new], dialect)
    for event, text, added in zip(new, masked, fingerprints.of_all(masked), strict=True):
        event.query_hash = added
        if text == event.query:
            fingerprints.remember_bare(text, added)
        elif not keep_texts:
            event.query = text
