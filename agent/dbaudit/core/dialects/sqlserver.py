"""SQL Server: the lexical rules are those of the Transact-SQL reference ("Constants", "Database identifiers",
"Comment", "Backslash line continuation").

- ``"..."`` is a name, or a literal with QUOTED_IDENTIFIER OFF: it is masked. Names in brackets are kept.
- The procedures that take passwords take them without quotes as well, so that all that they are called with
  is masked.
"""

from __future__ import annotations

import re

from dbaudit.core.dialects.lexing import MASK, REST_OF_NUMBER, TEXT, Rules, end_of_nested_comment
from dbaudit.core.dialects.passwords import Form
from dbaudit.core.secret import HIDDEN

# No currency sign but $ can stand in a name, and £5 is a literal.
_IN_NAME = r"\w@#$"
_NOT_IN_NAME = rf"(?<![{_IN_NAME}][0-9])"
_TEXT_IN_DOUBLE_QUOTES = TEXT.replace("'", '"')
_MONEY = rf"[-+]?\.?[0-9]{REST_OF_NUMBER}"

_PLAIN_LITERAL = re.compile(
    rf"""['"0-9$]{_NOT_IN_NAME}(?:(?<=')(?:{TEXT})|(?<=")(?:{_TEXT_IN_DOUBLE_QUOTES})"""
    rf"|(?<=\$)(?<![{_IN_NAME}]\$){_MONEY}|(?<=[0-9]){REST_OF_NUMBER})"
)
_NATIONAL = re.compile(rf"(?<![{_IN_NAME}])[nN]\?")

_LOGIN_PROCEDURE = (
    r"\bsp_(?:addlogin|password|addapprole|setapprole|approlepassword|addlinkedsrvlogin|addremotelogin"
    r"|change_users_login|xp_cmdshell_proxy_account)\b\]?"
)
_LOGIN_PROCEDURE_MARKS = ("sp_add", "sp_password", "approle", "sp_change_users", "sp_xp_cmdshell")
_ARGUMENTS = r"""(?:[^;'"]|'(?:[^']|'')*+'?|"(?:[^"]|"")*+"?)*+"""

_TOKEN = re.compile(
    rf"""
      (?P<procedure> \[?{_LOGIN_PROCEDURE} )(?P<arguments> {_ARGUMENTS} )
    | (?P<name>    \[[^\]]*+(?:\]\][^\]]*+)*+\] )
    | \[[^\]]*+(?:\]\][^\]]*+)*+\Z
    | (?P<comment> --[^\n]* | /\* )
    | (?:(?<![{_IN_NAME}])[nN])?(?:'(?:[^']|'')*+'?|"(?:[^"]|"")*+"?|\?)
    | (?<![{_IN_NAME}])\${_MONEY}(?:\\\r?\n[\w.]*)*+
    | [0-9]{_NOT_IN_NAME}{REST_OF_NUMBER}(?:\\\r?\n[\w.]*)*+
    """,
    re.VERBOSE | re.IGNORECASE,
)


def mask_lexically(statement: str) -> str:
    parts: list[str] = []
    position = 0
    while token := _TOKEN.search(statement, position):
        parts.append(statement[position : token.start()])
        position = token.end()
        if token["name"]:
            parts.append(token.group())
        elif token["comment"]:
            parts.append(" ")
            if token["comment"] == "/*":
                position = end_of_nested_comment(statement, token.start())
        elif token["procedure"]:
            parts.append(token["procedure"] + (" ?" if token["arguments"].strip() else ""))
        else:
            parts.append(MASK)
    parts.append(statement[position:])
    return "".join(parts)


def _without_prefix(masked: str) -> str:
    return _NATIONAL.sub(MASK, masked) if "N?" in masked or "n?" in masked else masked


RULES = Rules(
    plain_literal=_PLAIN_LITERAL,
    name_quote="[",
    name_left_alone=re.compile(r"\[[^\[\]'\"?\0]*\](?!\])"),
    marks=("'", '"', "[", "--", "/*", "\\\n", "\\\r"),
    lower_marks=_LOGIN_PROCEDURE_MARKS,
    lexically=mask_lexically,
    afterwards=_without_prefix,
)

_QUOTED = r"n?(?:'(?:[^']|'')*+'?)"

PASSWORD_FORMS = (
    Form(
        _LOGIN_PROCEDURE_MARKS,
        re.compile(rf"({_LOGIN_PROCEDURE})(?=\s*[^\s;]){_ARGUMENTS}", re.IGNORECASE),
        rf"\1 {HIDDEN}",
    ),
    Form(
        ("passphrase",),
        re.compile(rf"(\b(?:en|de)cryptbypassphrase\s*\(\s*)(?:{_QUOTED}|0x[0-9a-f]++)", re.IGNORECASE),
        rf"\1'{HIDDEN}'",
    ),
    Form(
        ("key_source",),
        re.compile(rf"(\bkey_source\s*=\s*){_QUOTED}", re.IGNORECASE),
        rf"\1'{HIDDEN}'",
    ),
    Form(
        ("openrowset",),
        re.compile(
            rf"(\bopenrowset\s*\(\s*{_QUOTED}\s*,\s*{_QUOTED}\s*;\s*{_QUOTED}\s*;\s*){_QUOTED}", re.IGNORECASE
        ),
        rf"\1'{HIDDEN}'",
    ),
)
