"""What happens to an event before it is stored: masking, hashing, and leaving out what was not asked for."""

from __future__ import annotations

from collections.abc import Sequence

from dbaudit.core.database import AuditOptions
from dbaudit.core.event import AuditEvent
from dbaudit.core.statements import MASK, Fingerprints, mask_all, remove_passwords


def protect(events: Sequence[AuditEvent], options: AuditOptions, fingerprints: Fingerprints) -> None:
    """Change ``events`` in place to what ``options`` allow to be stored.

    The hash is that of the masked statement whatever the options say, so that it stays the same when they
    change.
    """
    with_query = [event for event in events if event.query is not None]
    masked = mask_all([event.query or "" for event in with_query])
    fingerprint = fingerprints.of
    if options.mask_sensitive_data and options.capture_queries:
        for event, text in zip(with_query, masked, strict=True):
            event.query = text
            event.query_hash = fingerprint(text)
    else:
        for event, text in zip(with_query, masked, strict=True):
            event.query = remove_passwords(event.query or "") if options.capture_queries else None
            event.query_hash = fingerprint(text)
    for event in events:
        if event.parameters is not None:
            if not options.capture_queries:
                event.parameters = None
            elif options.mask_sensitive_data:
                event.parameters = tuple(None if value is None else MASK for value in event.parameters)
        if not options.capture_results:
            event.rows_affected = None
