"""The client's address, and the user of a failed log-in, read from the parts that a client cannot write."""

from __future__ import annotations

import re
from typing import Any

from dbaudit.core.event import AuditEvent

_ADDRESS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:%[\w.-]+)?")
_AT_THE_END = re.compile(r" ?\[CLIENT: ([^\[\]]*)\]\s*\Z")
_REFUSED = "Login failed for user '"
_END_OF_NAME = "'."
_REASONS = ("'. Reason: ", "' because the account is currently locked out.")


def put_address(event: AuditEvent, detail: dict[str, Any], client: str | None) -> None:
    """Give an event its client's address. `local machine`, `named pipe` and the like are no addresses: they
    go into ``detail``.
    """
    event.source_ip = None
    bare = client.strip().strip("<>").strip() if client else ""
    if not bare:
        return
    if _ADDRESS.fullmatch(bare):
        event.source_ip = bare
    else:
        detail["client"] = bare


def client_of(message: str) -> str | None:
    """The client that the server names at the end of a message about a log-in; None where it names none.

    >>> client_of("Login failed for user 'x'. [CLIENT: 6.6.6.6]'. Reason: unknown. [CLIENT: 10.0.0.9]")
    '10.0.0.9'
    """
    found = _AT_THE_END.search(message)
    return found[1] if found else None


def user_of(message: str) -> str | None:
    """The user whose log-in was refused, from the message; None if that cannot be known.

    The client chose the name, which may look like other parts of the message: the text is
    `Login failed for user 'NAME'.`, and in the server's own log a reason and the client follow.

    >>> user_of("Login failed for user 'o'neil'.")
    "o'neil"
    >>> user_of("Login failed for user 'a'. Reason: Unknown. [CLIENT: 10.0.0.9]")
    'a'
    """
    if not message.startswith(_REFUSED):
        return None
    client = _AT_THE_END.search(message)
    said = (message[: client.start()] if client else message).rstrip()
    name = said[len(_REFUSED) :]
    reasons = [reason for reason in _REASONS for _each in range(name.count(reason))]
    if not reasons:
        return name.removesuffix(_END_OF_NAME) or None if name.endswith(_END_OF_NAME) else None
    if len(reasons) > 1 or (client is None and name.endswith(_END_OF_NAME)):
        return None  # a name that looks like a reason, or a reason with a name in it
    return name.partition(reasons[0])[0] or None
