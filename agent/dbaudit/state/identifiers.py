"""Identifiers that the state gives out: a prefix for people, and random letters that cannot be guessed."""

from __future__ import annotations

import base64
import secrets


def new_id(prefix: str) -> str:
    """A new identifier such as ``db_k3v9xq2m7d4tw8ya``: 80 random bits in lower case letters and digits."""
    return f"{prefix}_{base64.b32encode(secrets.token_bytes(10)).decode().lower()}"
