"""Which operations a text of SQL holds, in its order.

PostgreSQL and MySQL end a statement with a semicolon. Transact-SQL needs none: a statement begins at a
reserved word that can stand nowhere else there. The blocks of PL/SQL and of MariaDB are read in that way too.
"""

from __future__ import annotations

import re

from dbaudit.core.dialects.names import Dialect
from dbaudit.core.grammar import END, OF_DIALECT, Grammar, Tokens, is_text, is_word
from dbaudit.core.operation_classes import CommandClass, class_of, class_of_procedure

Found = list[tuple[str, CommandClass]]

_DEEPEST = 3  # texts that run texts
_ON_A_KIND = frozenset({"CREATE", "ALTER", "DROP"})
_QUERIES = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "VALUES", "TABLE"})
_CHANGES = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE"})
_ROUTINES = frozenset(
    {
        *("CREATE PROCEDURE", "CREATE FUNCTION", "CREATE TRIGGER", "CREATE EVENT", "CREATE PACKAGE"),
        *("CREATE PACKAGE BODY", "CREATE TYPE BODY", "ALTER EVENT", "ALTER PROCEDURE", "ALTER FUNCTION"),
        *("ALTER TRIGGER",),
    }
)
_OFF = frozenset({"FALSE", "OFF", "0"})


def operations_in(text: str, dialect: Dialect, depth: int = 0) -> Found:
    """The operations in ``text`` and the class of each; empty where it begins with no word.

    ``depth`` counts the texts that run texts.
    """
    grammar = OF_DIALECT[dialect]
    reading = _Reading(Tokens(text, grammar), grammar, depth)
    if dialect is Dialect.SQLSERVER:
        reading.batch()
    else:
        reading.sequence()
    return reading.found


class _Reading:
    """One reading of one text."""

    def __init__(self, tokens: Tokens, grammar: Grammar, depth: int) -> None:
        self.found: Found = []
        self._tokens = tokens
        self._grammar = grammar
        self._dialect = grammar.dialect
        self._depth = depth

    # -- PostgreSQL, MySQL, Oracle: statements with semicolons between them

    def sequence(self) -> None:
        tokens = self._tokens
        while (part := tokens.take()) != END:
            if is_word(part):
                self._statement(part)
                if self._dialect is Dialect.ORACLE:
                    return  # a semicolon ends no statement of it, but those of a block
            elif part not in _BEFORE_A_STATEMENT:
                self._tokens.take_statement()

    def _statement(self, first: str) -> None:
        tokens = self._tokens
        if first == "WITH":
            self._with()
        elif first in ("EXPLAIN", "DESCRIBE", "DESC", "ANALYZE"):
            self._explained(first)
        elif first in ("BEGIN", "DECLARE") and (
            self._dialect is Dialect.ORACLE or (tokens.peek() == "NOT" and tokens.peek(1) == "ATOMIC")
        ):
            self._block(first)
        else:
            self._named(first)

    def _named(self, first: str) -> None:
        """A statement that begins with the word of its operation."""
        tokens = self._tokens
        operation = self._head(first)
        place = len(self.found)
        self._add(operation)
        if operation == "EXECUTE IMMEDIATE":
            self._run(tokens.peek())
        elif operation == "SET" and tokens.peek() == "STATEMENT" and self._dialect is Dialect.MYSQL:
            while (part := tokens.take()) not in ("FOR", ";", END):
                pass
            if part == "FOR" and is_word(tokens.peek()) and tokens.peek() != "SET":
                self._statement(tokens.take())
            return
        elif operation == "CREATE RULE":
            self._skip_brackets()
            return
        elif operation in _ROUTINES:
            self._skip_routine()
            return
        if operation == "COPY":
            self._copy(place)
        elif self._dialect is Dialect.POSTGRESQL and (operation == "SELECT" or operation in _CHANGES):
            self._query(place)
        else:
            self._tokens.take_statement()

    def _with(self) -> None:
        """The queries of a WITH come first, as they do in the text; the server runs all of them."""
        operation = None
        depth = 0
        before = ""
        tokens = self._tokens
        while operation is None and (part := tokens.take()) not in _ENDS:
            if part == "(":
                depth += 1
                self._change_in_brackets(before)
            elif part == ")":
                depth -= 1
            elif depth <= 0 and part in _QUERIES and before != "AS":
                operation = part
            before = part
        place = len(self.found)
        self._add(operation or "WITH")
        if operation is None:
            return
        self._query(place)

    def _change_in_brackets(self, before: str) -> None:
        """PostgreSQL: `AS (DELETE ...`, `COPY (DELETE ...`."""
        first, second = self._tokens.peek(), self._tokens.peek(1)
        if (
            self._dialect is Dialect.POSTGRESQL
            and first in _CHANGES
            and before in ("AS", "MATERIALIZED", "COPY")
            and (second in ("FROM", "INTO") or (first == "UPDATE" and second not in _MARKS))
        ):
            self._add(first)

    def _query(self, place: int) -> None:
        """Up to the end of a query, whose operation was found at ``place``."""
        depth = 0
        before = ""
        tokens = self._tokens
        while (part := tokens.take()) != END and (part != ";" or depth > 0):
            if part == "(":
                depth += 1
                self._change_in_brackets(before)
            elif part == ")":
                depth -= 1
            elif part == "INTO" and before != "." and depth <= 0:
                self._write_into(place)
            before = part

    def _write_into(self, place: int) -> None:
        """`SELECT ... INTO t` creates a table, but where INTO is followed by a variable or by a file."""
        if self.found[place][0] == "SELECT" and self._dialect in (Dialect.POSTGRESQL, Dialect.SQLSERVER):
            self.found[place] = ("SELECT INTO", class_of("SELECT INTO", self._dialect))

    def _copy(self, place: int) -> None:
        depth = 0
        before = "COPY"
        tokens = self._tokens
        while (part := tokens.take()) not in _ENDS:
            if part == "(":
                depth += 1
                self._change_in_brackets(before)
            elif part == ")":
                depth -= 1
            elif depth <= 0 and part == "TO":
                self.found[place] = ("COPY", CommandClass.READ)
            before = part

    def _explained(self, first: str) -> None:
        """`EXPLAIN ANALYZE DELETE` and MariaDB's `ANALYZE DELETE` delete."""
        tokens = self._tokens
        mysql = self._dialect is Dialect.MYSQL
        runs = False
        self._add(first)
        if first == "EXPLAIN" and tokens.peek() == "(" and not mysql:
            tokens.take()
            options = tokens.take_brackets()
            for place, option in enumerate(options):
                if option in ("ANALYZE", "ANALYSE"):
                    value = options[place + 1] if place + 1 < len(options) else ""
                    runs = value.strip("'\"").upper() not in _OFF
        elif first == "ANALYZE":
            runs = mysql
            if mysql and tokens.peek() == "FORMAT":
                tokens.take_phrase((("FORMAT", "="),))
                tokens.take()
        else:
            while tokens.peek() in _EXPLAINING:
                word = tokens.take()
                runs = runs or word in ("ANALYZE", "ANALYSE")
                if tokens.peek() == "=":
                    tokens.take()
                    tokens.take()
        while runs and tokens.peek() == "(":
            tokens.take()
        if runs and tokens.peek() in _EXPLAINED and not (first == "ANALYZE" and tokens.peek() == "TABLE"):
            self._statement(tokens.take())
        else:
            self._tokens.take_statement()

    def _skip_brackets(self) -> None:
        """Up to the end of a statement that holds statements in brackets."""
        depth = 0
        tokens = self._tokens
        while (part := tokens.take()) != END and (part != ";" or depth > 0):
            depth += 1 if part == "(" else -1 if part == ")" else 0

    def _skip_routine(self) -> None:
        """Up to the end of a routine, whose body holds semicolons."""
        open_parts = depth = 0
        condition = before = ""
        tokens = self._tokens
        while (part := tokens.take()) != END and (part != ";" or open_parts > 0 or depth > 0):
            depth += 1 if part == "(" else -1 if part == ")" else 0
            if part == "END":
                open_parts -= 1
                if tokens.peek() in _PARTS:
                    tokens.take()
            elif part in ("IF", "ELSEIF", "WHEN"):
                condition = part
            elif part == "THEN":
                open_parts += condition == "IF"
                condition = ""
            elif part == "BEGIN":
                open_parts += self._dialect is not Dialect.POSTGRESQL or tokens.peek() == "ATOMIC"
            elif part in _PARTS and before != "." and tokens.peek() not in ("(", "EACH"):
                open_parts += 1
            before = part

    # -- Transact-SQL and blocks: statements that need no semicolon

    def _block(self, first: str) -> None:
        place = len(self.found)
        self.batch()
        if len(self.found) == place:
            self._add(first)

    def batch(self) -> None:
        tokens = self._tokens
        dialect = self._dialect
        at_start, whole = True, True
        current = before = control = ""
        while (part := tokens.take()) != END:
            was_start, at_start = at_start, False
            if part == "(":
                at_start = was_start and tokens.peek().startswith("@")
                tokens.take_brackets()
                part = ")"
            elif part == ";":
                at_start, current = True, ""
            elif not is_word(part):
                at_start = was_start and part in _BEFORE_A_STATEMENT
            elif part in _CONTROL and not self._is_transaction(part) and current != "MERGE":
                at_start, whole, current, control = part in _OPENING, False, "", control or part
            elif was_start and tokens.peek() == ":":
                tokens.take()
                at_start = True
            elif part == "VALUES" and current == "INSERT":
                current = ""
            elif self._begins(part, before, current, at_start=was_start):
                current = self._head(part)
                whole = False
                if current == "EXECUTE":
                    self._execute()
                elif current == "EXECUTE IMMEDIATE":
                    self._add(current)
                    self._run(tokens.peek())
                elif current == "WITH":
                    current = ""
                else:
                    self._add(current)
                    if current in _ROUTINES and dialect is Dialect.SQLSERVER:
                        return  # all the rest is its body
            elif (current in _GRANTS and part in ("TO", "FROM")) or (current, part) == ("INSERT", "SELECT"):
                current = ""
            elif (current, part) == ("SELECT", "INTO"):
                self._write_into(-1)
            elif was_start and whole and dialect is Dialect.SQLSERVER and part[0] != "@":
                whole = False
                self._call(part)
            before = part
        if not self.found and control and dialect is Dialect.SQLSERVER:
            self._add(control)

    def _is_transaction(self, part: str) -> bool:
        return part == "BEGIN" and self._tokens.peek() in _TRANSACTIONS

    def _begins(self, word: str, before: str, current: str, *, at_start: bool) -> bool:
        """Whether a statement begins with ``word``."""
        following = self._tokens.peek()
        if at_start and word in _AT_START:
            return True
        if word not in _RESERVED[self._dialect] or current in _GRANTS:
            return False
        if before in _NOT_BEFORE and not (before == "ON" and current == "SET"):
            return False
        if before == "THEN" and current == "MERGE":
            return False
        if word in _ON_A_KIND:
            if not at_start and following not in _KINDS:
                return False
            return not (current.startswith("ALTER ") and following in ("CREDENTIAL", "MEMBER"))
        if word == "SELECT" and (current == "INSERT" or before in _BEFORE_A_PART):
            return False
        if word == "GRANT":
            return current != "ALTER AVAILABILITY GROUP"
        if word == "UPDATE":
            return following != "("
        if word == "EXECUTE" and self._dialect is not Dialect.SQLSERVER:
            return following == "IMMEDIATE"
        return True

    def _execute(self) -> None:
        """EXEC of Transact-SQL: a procedure, a text, or somebody else's name."""
        tokens = self._tokens
        if tokens.peek() == "AS":
            self._add("EXECUTE AS")
            return
        if tokens.peek().startswith("@") and tokens.peek(1) == "=":
            tokens.take()
            tokens.take()
        if tokens.peek() == "(":
            tokens.take()
            self._add("EXECUTE")
            self._run(tokens.peek())
            tokens.take_brackets()
            return
        if is_word(tokens.peek()) or tokens.peek().startswith('"'):
            self._call(tokens.take())
        else:
            self._add("EXECUTE")

    def _call(self, name: str) -> None:
        """A call of the procedure whose name begins with ``name``."""
        tokens = self._tokens
        while tokens.peek() == ".":
            tokens.take()
            name = tokens.take() if tokens.peek() != "." else name
        name = name.strip('"[]').upper()
        self.found.append(("EXECUTE", class_of_procedure(name, self._dialect)))
        if name == "SP_EXECUTESQL":
            tokens.take_phrase((("@STMT", "="), ("@STATEMENT", "=")))
            self._run(tokens.peek())

    # -- of both

    def _head(self, first: str) -> str:
        """The operation of a statement whose first word was taken."""
        grammar = self._grammar
        if first not in _ON_A_KIND:
            operation = " ".join((first, *self._tokens.take_phrase(grammar.further.get(first, ()))))
            return grammar.synonyms.get(operation, operation)
        tokens = self._tokens
        while (word := tokens.peek()) != END:
            phrase = tokens.take_phrase(grammar.kinds)
            if phrase:
                return self._spelt(f"{first} {' '.join(phrase)}")
            if word in grammar.between:
                tokens.take()
            elif self._dialect is Dialect.MYSQL and word in ("DEFINER", "ALGORITHM", "SQL"):
                self._skip_attribute()
            else:
                break
        return self._spelt(f"{first} {tokens.take()}") if is_word(word) else first

    def _spelt(self, operation: str) -> str:
        return self._grammar.synonyms.get(operation, operation)

    def _skip_attribute(self) -> None:
        """`DEFINER = 'a'@'b'`, `ALGORITHM = MERGE`, `SQL SECURITY INVOKER`."""
        tokens = self._tokens
        tokens.take()
        tokens.take_phrase((("=",), ("SECURITY",)))
        tokens.take()
        if tokens.peek() == "(":
            tokens.take()
            tokens.take_brackets()
        if tokens.peek() == "@":
            tokens.take()
            tokens.take()

    def _add(self, operation: str) -> None:
        self.found.append((operation, class_of(operation, self._dialect)))

    def _run(self, part: str) -> None:
        """The operations of a text that the statement runs."""
        if is_text(part) and self._depth < _DEEPEST:
            self.found += operations_in(_unquoted(part[1:], self._dialect), self._dialect, self._depth + 1)


_QUOTE = re.compile(r"""(?:[nN]?[qQ]'(.)|[A-Za-z]{0,2}(['"]))""", re.DOTALL)


def _unquoted(literal: str, dialect: Dialect) -> str:
    """What stands in a literal, as far as it matters for words."""
    opening = _QUOTE.match(literal)
    if opening is None:
        return ""
    if opening[1] is not None:
        return literal[opening.end() : -2]
    quote = opening[2]
    inner = literal[opening.end() :].removesuffix(quote).replace(quote * 2, quote)
    return inner.replace("\\" + quote, quote) if dialect is Dialect.MYSQL else inner


_MARKS = frozenset({END, ";", ")", "(", ",", "=", ":", ".", "<", ">", "-", "&"})
_ENDS = frozenset({END, ";"})
_BEFORE_A_STATEMENT = frozenset({"(", "{", "?", "=", ";", "<", ">"})
_EXPLAINING = frozenset({"ANALYZE", "ANALYSE", "VERBOSE", "EXTENDED", "PARTITIONS", "FORMAT"})
_EXPLAINED = _QUERIES | {"WITH", "REPLACE", "CREATE", "EXECUTE", "DECLARE", "REFRESH"}
_PARTS = frozenset({"IF", "LOOP", "WHILE", "REPEAT", "CASE"})
_TRANSACTIONS = frozenset({"TRAN", "TRANSACTION", "DISTRIBUTED", "DIALOG", "CONVERSATION"})
_GRANTS = frozenset({"GRANT", "DENY", "REVOKE"})
_CONTROL = frozenset(
    {
        *("BEGIN", "END", "IF", "ELSE", "ELSIF", "ELSEIF", "WHILE", "THEN", "LOOP", "CASE", "WHEN", "TRY"),
        *("CATCH", "RETURN", "GOTO", "BREAK", "CONTINUE", "EXCEPTION", "NOT", "ATOMIC", "REPEAT"),
    }
)
_OPENING = frozenset({"BEGIN", "ELSE", "THEN", "LOOP", "TRY", "CATCH", "ATOMIC", "REPEAT", "END"})
_BEFORE_A_PART = frozenset({"UNION", "ALL", "EXCEPT", "INTERSECT", "MINUS"})
_NOT_BEFORE = frozenset({"FOR", "ON", "AFTER", "OF", ",", ".", "WITH", "INSTEAD"})
_RESERVED = {
    Dialect.SQLSERVER: frozenset(
        {
            *("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE", "CREATE", "ALTER", "DROP"),
            *("GRANT", "DENY", "REVOKE", "EXEC", "EXECUTE", "BULK", "WRITETEXT", "UPDATETEXT", "READTEXT"),
            *("BACKUP", "RESTORE", "DBCC", "DECLARE", "PRINT", "KILL", "SHUTDOWN", "REVERT", "SETUSER"),
            *("RECONFIGURE", "RAISERROR", "WAITFOR"),
        }
    ),
    Dialect.ORACLE: frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "EXECUTE"}),
    Dialect.MYSQL: frozenset(
        {
            *("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "CREATE", "ALTER", "DROP", "GRANT"),
            *("REVOKE", "EXECUTE", "CALL", "LOAD"),
        }
    ),
}
_AT_START = frozenset(
    {
        *(
            "SET",
            "USE",
            "WITH",
            "OPEN",
            "FETCH",
            "CLOSE",
            "DEALLOCATE",
            "COMMIT",
            "ROLLBACK",
            "SAVE",
            "BEGIN",
        ),
        *(
            "CHECKPOINT",
            "THROW",
            "ENABLE",
            "DISABLE",
            "ADD",
            "SEND",
            "RECEIVE",
            "MOVE",
            "GET",
            "CALL",
            "LOCK",
        ),
        *("REPLACE", "SAVEPOINT"),
    }
)
_KINDS = frozenset(
    {
        *("OR", "TABLE", "VIEW", "PROCEDURE", "PROC", "FUNCTION", "TRIGGER", "INDEX", "UNIQUE", "CLUSTERED"),
        *("NONCLUSTERED", "COLUMNSTORE", "SPATIAL", "XML", "FULLTEXT", "DATABASE", "LOGIN", "USER", "ROLE"),
        *("SCHEMA", "SEQUENCE", "SYNONYM", "TYPE", "STATISTICS", "SERVER", "APPLICATION", "AUTHORIZATION"),
        *("CERTIFICATE", "CREDENTIAL", "SYMMETRIC", "ASYMMETRIC", "MASTER", "ASSEMBLY", "AGGREGATE", "RULE"),
        *("DEFAULT", "ENDPOINT", "EVENT", "EXTERNAL", "PARTITION", "QUEUE", "SERVICE", "CONTRACT", "MESSAGE"),
        *(
            "ROUTE",
            "SECURITY",
            "RESOURCE",
            "WORKLOAD",
            "AVAILABILITY",
            "TEMPORARY",
            "DEFINER",
            "CRYPTOGRAPHIC",
        ),
        *("REMOTE", "BROKER", "SEARCH", "PRIMARY", "COLUMN_", "SIGNATURE", "SENSITIVITY", "MATERIALIZED"),
    }
)
