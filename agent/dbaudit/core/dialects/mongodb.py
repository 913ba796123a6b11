"""MongoDB: a command as JSON text, whole or cut off (MongoDB Extended JSON v2; the lexical rules are those of
RFC 8259).

Every value is masked; keys and names of operators are kept, and so are the names in ``{"find": "t"`` and its
like and in ``"$db"``. Whatever is no key is a value, so that a text of any other form shows nothing but its
brackets.
"""

from __future__ import annotations

import re

from dbaudit.core.dialects.lexing import BETWEEN, MASK
from dbaudit.core.dialects.passwords import Form
from dbaudit.core.secret import HIDDEN

_STRING = r'"(?:[^"\\\0]|\\[^\0])*+'
_OF_COLLECTIONS = (
    "aggregate|analyze|clone|cloneCollectionAsCapped|collMod|collStats|compact|convertToCapped|count|create"
    "|createIndexes|createSearchIndexes|delete|deleteIndexes|distinct|drop|dropIndexes|dropSearchIndex|explain"
    "|find|findAndModify|findandmodify|geoNear|geoSearch|group|insert|killCursors|listIndexes|mapReduce|mapreduce"
    "|parallelCollectionScan|planCacheClear|planCacheListFilters|reIndex|renameCollection|shardCollection"
    "|refineCollectionShardKey|reshardCollection|update|updateSearchIndex|validate"
)
_KEEPING_A_NAME = frozenset(_OF_COLLECTIONS.split("|"))
_NAME_OF_COLLECTION = rf'(?:(?<=\0)|\A)\s*\{{\s*"(?:{_OF_COLLECTIONS})"\s*:\s*"[^"\\\0]*+"'
_KEPT = "\x01"

# What is kept is followed by this mark, and what is not becomes it: the marks behind a quote go away, the
# others become the mask. So one pass without a function called for each token does it.
_TOKEN = re.compile(
    rf'({_NAME_OF_COLLECTION}|"\$db"\s*+:\s*+"[^"\\\0]*+"|{_STRING}"(?=\s*+:))'
    rf'|{_STRING}(?:"|\\)?|[^\s{{}}\[\]():,"?\0]++'
)
_OF_A_TYPE = (
    "binary|code|date|dbPointer|maxKey|minKey|numberDecimal|numberDouble|numberInt|numberLong|oid"
    "|regularExpression|symbol|timestamp|undefined|uuid"
)
_TYPED_VALUE = re.compile(rf'\{{\s*"\$(?:{_OF_A_TYPE})"\s*:\s*(?:\?|\{{[^{{}}\0]*\}})\s*\}}')


# Compact JSON is masked in a few searches for constant replacements, each far faster than a look at every
# token. What is left must be keys, brackets and marks alone; what a key must not hold there keeps a text from
# being read in two ways.
_PLAIN_KEY = r'[^"\\\0\x01,:\[]*+'
_PLAIN_STRING = r'"[^"\\\0]*+(?:\\[^\0][^"\\\0]*+)*+"'
_FIRST_KEY = re.compile(r'\0\{"(\w+)":"')
_PLAIN_VALUE = rf'(?:{_PLAIN_STRING}|[^\s{{}}\[\]():,"?\0\x01]++)'
_AFTER_KEY = re.compile(f":{_PLAIN_VALUE}")
_IN_LIST = re.compile(rf"(?<=[\[,]){_PLAIN_VALUE}(?!:)")
_PLAIN = re.compile(rf'(?:"{_PLAIN_KEY}":(?:\x01{_PLAIN_KEY}")?|[{{}}\[\],?\0])*+')


def mask_joined(joined: str) -> str:
    """Mask commands that are joined with NUL between them."""
    if _KEPT in joined:
        return _mask_lexically(joined)
    masked = BETWEEN + joined
    # What begins with the mark is kept; replacing a constant is faster than a search that keeps a part.
    for name in _KEEPING_A_NAME.intersection(_FIRST_KEY.findall(masked)):
        masked = masked.replace(f'{BETWEEN}{{"{name}":"', f'{BETWEEN}{{"{name}":{_KEPT}')
    masked = masked.replace('"$db":"', f'"$db":{_KEPT}')
    masked = _AFTER_KEY.sub(f":{MASK}", _IN_LIST.sub(MASK, masked))
    if _is_plain(masked):
        return _finished(masked[len(BETWEEN) :])
    return BETWEEN.join(
        _finished(part) if _is_plain(BETWEEN + part) else _mask_lexically(statement)
        for statement, part in zip(joined.split(BETWEEN), masked.split(BETWEEN)[1:], strict=True)
    )


def _finished(masked: str) -> str:
    masked = masked.replace(_KEPT, '"')
    return _TYPED_VALUE.sub(MASK, masked) if '"$' in masked else masked


def _is_plain(masked: str) -> bool:
    """Whether nothing but values was masked in commands that each begin with NUL, and no value is left."""
    return _PLAIN.fullmatch(masked) is not None


def _mask_lexically(joined: str) -> str:
    if _KEPT in joined:
        joined = joined.replace(_KEPT, " ")
    masked = _TOKEN.sub(rf"\1{_KEPT}", joined).replace(f'"{_KEPT}', '"').replace(_KEPT, MASK)
    if '"$' in masked:
        masked = _TYPED_VALUE.sub(MASK, masked)
    return masked


_KEYS_OF_LOGINS = "payload|pwd|key|nonce|authenticationInfo"
_KEYS_OF_KEYS = (
    "passphrase|secretAccessKey|sessionToken|privateKey|clientSecret|keyMaterial|accessToken|credentials?"
)
_VALUE = (
    rf'(?:{_STRING}(?:"|\\)?'
    r"|\{[^{}]*+(?:\{[^{}]*+\}?[^{}]*+)*+\}?"
    r'|\w++\([^()]*+\)?|[^\s{}\[\],"]++[^{}\[\],"]*+)'
)

PASSWORD_FORMS = (
    Form(
        ("payload", "nonce", "pwd"),
        re.compile(rf'("(?:{_KEYS_OF_LOGINS})"\s*+:\s*+){_VALUE}'),
        rf'\1"{HIDDEN}"',
    ),
    Form(
        ("passphrase", "secret", "token", "private", "material", "credential"),
        re.compile(rf'("(?:{_KEYS_OF_KEYS})"\s*+:\s*+){_VALUE}', re.IGNORECASE),
        rf'\1"{HIDDEN}"',
    ),
)
