# Copyright (c) 2026, The dbaudit authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: it can change with every release.

"""Passwords as database servers store them: whether one is the right one, and how PostgreSQL's looks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import stringprep
import unicodedata
from typing import Optional

_SCRAM = re.compile(r"SCRAM-SHA-256\$(\d+):([^$]+)\$([^:]+):(.+)")
_ITERATIONS = 4096
_SALT_BYTES = 16
_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# The order in which SHA-256 crypt writes the bytes of its digest, three at a time.
_CRYPT_ORDER = (
    ((0, 10, 20), (21, 1, 11), (12, 22, 2), (3, 13, 23), (24, 4, 14))
    + ((15, 25, 5), (6, 16, 26), (27, 7, 17), (18, 28, 8), (9, 19, 29))
)


def scram_verifier(password: str, salt: Optional[bytes] = None, iterations: int = _ITERATIONS) -> str:
    """What PostgreSQL stores for a password (RFC 5803), so that the password itself is never sent, nor logged."""
    salt = os.urandom(_SALT_BYTES) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", _prepared(password), salt, iterations)
    stored = hashlib.sha256(hmac.new(salted, b"Client Key", "sha256").digest()).digest()
    server = hmac.new(salted, b"Server Key", "sha256").digest()
    parts = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return "SCRAM-SHA-256$%d:%s$%s:%s" % (iterations, *parts)


def is_postgresql_password(password: str, user: str, stored: Optional[str]) -> bool:
    """Whether ``pg_authid.rolpassword`` is that of the password."""
    found = _SCRAM.fullmatch(stored or "")
    if found is None:
        digest = hashlib.md5((password + user).encode()).hexdigest()  # the server's own choice
        return stored == "md5" + digest
    return hmac.compare_digest(stored or "", scram_verifier(password, base64.b64decode(found.group(2)), int(found.group(1))))


def is_mysql_password(password: str, plugin: str, stored: bytes) -> Optional[bool]:
    """Whether ``mysql.user.authentication_string`` is that of the password; None for a plugin that is not known here."""
    if plugin in ("mysql_native_password", ""):
        twice = hashlib.sha1(hashlib.sha1(password.encode()).digest()).hexdigest()
        return stored.decode(errors="replace").upper() == "*" + twice.upper()
    if plugin == "caching_sha2_password":
        # $A$005$ and the thousands of rounds, 20 bytes of salt, and the hash.
        parts = stored.split(b"$", 3)
        if len(parts) != 4 or parts[1] != b"A" or len(parts[3]) <= 20:
            return False
        salt, wanted = parts[3][:20], parts[3][20:]
        return hmac.compare_digest(sha256_crypt(password.encode(), salt, int(parts[2], 16) * 1000).encode(), wanted)
    return None


def sha256_crypt(password: bytes, salt: bytes, rounds: int) -> str:
    """The hash of crypt(3) with SHA-256, which Python's own ``crypt`` gave until 3.12, for a salt of any length."""
    second = hashlib.sha256(password + salt + password).digest()
    first = hashlib.sha256(password + salt + _repeated(second, len(password)))
    length = len(password)
    while length:
        first.update(second if length & 1 else password)
        length >>= 1
    digest = first.digest()
    p_bytes = _repeated(hashlib.sha256(password * len(password)).digest(), len(password))
    s_bytes = _repeated(hashlib.sha256(salt * (16 + digest[0])).digest(), len(salt))
    for number in range(rounds):
        odd = number & 1
        parts = [p_bytes if odd else digest]
        if number % 3:
            parts.append(s_bytes)
        if number % 7:
            parts.append(p_bytes)
        parts.append(digest if odd else p_bytes)
        digest = hashlib.sha256(b"".join(parts)).digest()
    text = "".join(_letters(digest[a] << 16 | digest[b] << 8 | digest[c], 4) for a, b, c in _CRYPT_ORDER)
    return text + _letters(digest[31] << 8 | digest[30], 3)


def _repeated(block: bytes, length: int) -> bytes:
    return (block * (length // len(block) + 1))[:length]


def _letters(value: int, count: int) -> str:
    return "".join(_ALPHABET[value >> 6 * place & 63] for place in range(count))


def _prepared(password: str) -> bytes:
    """SASLprep as PostgreSQL has it: a password that it refuses is taken as it is."""
    mapped = "".join(
        " " if stringprep.in_table_c12(letter) else letter for letter in password if not stringprep.in_table_b1(letter)
    )
    prepared = unicodedata.normalize("NFKC", mapped)
    tables = (
        *(stringprep.in_table_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3, stringprep.in_table_c4),
        *(stringprep.in_table_c5, stringprep.in_table_c6, stringprep.in_table_c7, stringprep.in_table_c8, stringprep.in_table_c9),
        stringprep.in_table_a1,
    )
    refused = not prepared or [letter for letter in prepared if [table for table in tables if table(letter)]]
    right_to_left = [stringprep.in_table_d1(letter) for letter in prepared]
    if True in right_to_left:
        mixed = [letter for letter in prepared if stringprep.in_table_d2(letter)]
        refused = refused or mixed or not (right_to_left[0] and right_to_left[-1])
    return (password if refused else prepared).encode()
