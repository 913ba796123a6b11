"""Transact-SQL on tables in memory: a statement is parsed, and run by SQLite on tables that have the columns
of the documentation. What is not there fails as on a server: a column (207), an object (208), a function
(195).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlglot
from sqlglot import expressions as exp

from tests.engines.sqlserver.columns import VIEWS, Columns
from tests.engines.sqlserver.tds_server import SqlError
from tests.engines.sqlserver.tds_tokens import Column, Result

_LARGEST_INT = 2**31
_PRIVATE = 0xF0000
_HALF = re.compile("[\ud800-\udfff]")
_STORED_HALF = re.compile(f"[{chr(_PRIVATE + 0xD800)}-{chr(_PRIVATE + 0xDFFF)}]")
# How a type of the documentation is sent; all others as nvarchar.
_SENT_AS = {
    **{kind: kind for kind in ("bigint", "int", "smallint", "bit", "varbinary", "max")},
    "tinyint": "smallint",
}


@dataclass(frozen=True)
class Table:
    """Rows of an object of the schema sys; columns that a row lacks are NULL."""

    columns: Columns
    rows: Sequence[Mapping[str, Any]]


Objects = Callable[[str, list[Any]], Table]
"""Gives an object by its name in small letters and, of a function, its arguments. Raises SqlError."""
Functions = Mapping[str, tuple[str, int, Callable[..., Any]]]
"""By name: the type of what it returns, how many arguments it takes, and what it does."""


def run(sql: str, values: Sequence[Any], objects: Objects, functions: Functions) -> Result:
    """The answer to a SELECT whose variables are @P1 and so on. Raises SqlError for what a server refuses."""
    statement = _understood(sql)
    named = {f"P{number}": value for number, value in enumerate(values, start=1)}
    database = sqlite3.connect(":memory:")
    try:
        for name, (_kind, count, function) in functions.items():
            database.create_function(name.replace("@@", "TSQL_"), count, function)
        for name, count, function in _OWN:
            database.create_function(name, count, function)
        kinds: dict[str, str] = {}
        for table in statement.tables:
            found = objects(table.name, [named.get(each, each) if each else None for each in table.arguments])
            _make(database, table.name, found)
            kinds |= found.columns
        if statement.star:
            columns = [Column(name, _SENT_AS.get(kind, "nvarchar")) for name, kind in kinds.items()]
        else:
            columns = [Column(name, _sent(kind, kinds, functions)) for name, kind in statement.outputs]
        try:
            rows = database.execute(statement.text, {name: named[name] for name in statement.variables})
            return Result(columns, [[_given(value) for value in row] for row in rows.fetchall()])
        except sqlite3.OperationalError as error:
            raise _meaning(str(error)) from None
    finally:
        database.close()


def _make(database: sqlite3.Connection, name: str, table: Table) -> None:
    listed = ", ".join(f"[{column}]" for column in table.columns)
    database.execute(f"CREATE TABLE [{name}] ({listed})")
    marks = ", ".join("?" for _column in table.columns)
    database.executemany(
        f"INSERT INTO [{name}] VALUES ({marks})",
        [[_stored(row.get(column)) for column in table.columns] for row in table.rows],
    )


def _sent(kind: Kind, kinds: Mapping[str, str], functions: Functions) -> str:
    """How the values of a type, of a column or of a function are sent."""
    what, name = kind
    if what == "column":
        if name not in kinds:
            raise SqlError(207, f"Invalid column name '{name}'.")
        name = kinds[name]
    elif what == "function":
        if name.upper() not in functions:
            raise SqlError(195, f"'{name}' is not a recognized built-in function name.", 15)
        name = functions[name.upper()][0]
    return _SENT_AS.get(name, "nvarchar")


Kind = tuple[str, str]
"""``type``, ``column`` or ``function``, with the name of it."""


@dataclass(frozen=True)
class Named:
    """An object that a statement names; of a function each argument: a variable, a text, or none."""

    name: str
    arguments: tuple[str | None, ...] = ()


@dataclass(frozen=True)
class Statement:
    """A SELECT in words of SQLite."""

    text: str
    tables: tuple[Named, ...]
    outputs: tuple[tuple[str, Kind], ...]
    variables: frozenset[str]
    star: bool


@lru_cache(maxsize=200)
def _understood(sql: str) -> Statement:
    refused = SqlError(102, f"Incorrect syntax near '{sql.split()[0]}'.", 15)
    try:
        statement = sqlglot.parse_one(sql, read="tsql")
    except sqlglot.errors.ParseError:
        raise refused from None
    if not isinstance(statement, exp.Select):
        raise refused
    tables = [_table(table) for table in list(statement.find_all(exp.Table))]
    tables += [_applied(lateral) for lateral in list(statement.find_all(exp.Lateral))]
    parameters = [each for each in statement.find_all(exp.Parameter) if isinstance(each.this, exp.Var)]
    star = bool(statement.is_star)
    outputs = [] if star else [(each.alias_or_name, _kind(each.unalias())) for each in statement.selects]
    statement.set("options", None)
    return Statement(
        text=_in_words_of_sqlite(statement).sql("sqlite"),
        tables=tuple(tables),
        outputs=tuple(outputs),
        variables=frozenset(each.name for each in parameters if each.name.startswith("P")),
        star=star,
    )


def _table(table: exp.Table) -> Named:
    """What a table is called here; the statement names it so from now on."""
    if table.db != "sys":
        raise SqlError(208, f"Invalid object name '{table.sql('tsql')}'.")
    inner: Any = table.this
    of_function = isinstance(inner, exp.Anonymous)
    name = (str(inner.this) if of_function else table.name).lower()
    arguments = [_argument(each) for each in inner.expressions] if of_function else []
    table.replace(exp.Table(this=exp.to_identifier(name, quoted=True), alias=table.args.get("alias")))
    return Named(name, tuple(arguments))


def _applied(lateral: Any) -> Named:
    """CROSS APPLY of a function that is given columns of the table before it, its own first ones."""
    function = lateral.this.expression
    name = str(function.this).lower()
    plain = exp.Table(this=exp.to_identifier(name, quoted=True), alias=lateral.args["alias"])
    same = [
        exp.EQ(this=exp.column(column, table=plain.alias), expression=argument.copy())
        for column, argument in zip(VIEWS[name], function.expressions, strict=False)
    ]
    lateral.parent.replace(exp.Join(this=plain, on=exp.and_(*same)))
    return Named(name)


def _argument(argument: Any) -> str | None:
    if isinstance(argument, exp.Parameter):
        return str(argument.name)
    if isinstance(argument, exp.National | exp.Literal):
        return str(argument.this)
    if isinstance(argument, exp.Null) or argument.sql().upper() == "DEFAULT":
        return None
    raise SqlError(102, f"Incorrect syntax near '{argument.sql()}'.", 15)


def _kind(expression: Any) -> Kind:
    """The type of an expression, by the rules that are needed here."""
    if isinstance(expression, exp.Column):
        return "column", expression.name
    if isinstance(expression, exp.Convert | exp.Cast):
        kind = expression.to if isinstance(expression, exp.Cast) else expression.this
        text = kind.sql("tsql").lower()
        return "type", "max" if "max" in text else text.partition("(")[0].replace("integer", "int")
    if isinstance(expression, exp.Anonymous):
        return "function", str(expression.this)
    if isinstance(expression, exp.Trim | exp.Paren):
        return _kind(expression.this)
    if isinstance(expression, exp.Binary):
        both = [_kind(side) for side in (expression.left, expression.right)]
        return "type", "bigint" if ("type", "bigint") in both else "int"
    if isinstance(expression, exp.DateDiff | exp.Extract | exp.Count | exp.Literal):
        return "type", "int"
    return "function", type(expression).__name__


def _in_words_of_sqlite(node: Any) -> Any:
    return node.transform(_word_of_sqlite)


def _word_of_sqlite(node: Any) -> Any:
    """What stands for a node; nodes below a replaced one are not visited by themselves."""
    if isinstance(node, exp.TimeStrToTime):
        return _in_words_of_sqlite(node.this)
    if isinstance(node, exp.National):
        return exp.Literal.string(node.this)
    if isinstance(node, exp.Parameter) and isinstance(node.this, exp.Parameter):
        return exp.Anonymous(this=f"TSQL_{node.this.name.upper()}")
    if isinstance(node, exp.DateDiff):
        unit = exp.Literal.string(str(node.args["unit"]).upper())
        return exp.Anonymous(
            this="TSQL_DATEDIFF", expressions=[unit, *map(_in_words_of_sqlite, (node.expression, node.this))]
        )
    if isinstance(node, exp.Extract):
        part = exp.Literal.string(node.this.name.upper())
        return exp.Anonymous(this="TSQL_DATEPART", expressions=[part, _in_words_of_sqlite(node.expression)])
    if isinstance(node, exp.Convert):
        kind = exp.Literal.string(node.this.sql("tsql").lower())
        return exp.Anonymous(this="TSQL_CONVERT", expressions=[kind, _in_words_of_sqlite(node.expression)])
    return node


def _meaning(said: str) -> SqlError:
    name = said.rpartition(": ")[2].rpartition(".")[2]
    if "no such column" in said:
        return SqlError(207, f"Invalid column name '{name}'.")
    if "no such function" in said:
        return SqlError(195, f"'{name}' is not a recognized built-in function name.", 15)
    if said.startswith("user-defined function"):
        return SqlError(535, "The datediff function resulted in an overflow, or a conversion failed.")
    return SqlError(102, f"Incorrect syntax ({said}).", 15)


def _stored(value: Any) -> Any:
    """As SQLite keeps it: a time as a text that sorts as it does, half of a character as a private one."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(" ", "microseconds")
    if isinstance(value, str) and not value.isascii():
        return _HALF.sub(lambda found: chr(ord(found[0]) + _PRIVATE), value)
    return value


def _given(value: Any) -> Any:
    if isinstance(value, str) and not value.isascii():
        return _STORED_HALF.sub(lambda found: chr(ord(found[0]) - _PRIVATE), value)
    return value


def _convert(kind: str, value: Any) -> Any:
    """CONVERT."""
    if value is None:
        return None
    base, _bracket, length = kind.rstrip(")").partition("(")
    if base in ("bigint", "int", "integer"):
        return int(value)
    if base == "date":
        return str(value)[:10]
    if base in ("nvarchar", "varchar"):
        return str(value) if length in ("", "max") else str(value)[: int(length)]
    if base == "datetime2":
        text = str(value)
        return text if " " in text else f"{text} 00:00:00.000000"
    raise ValueError(kind)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _datediff(unit: str, begin: str | None, end: str | None) -> int | None:
    """DATEDIFF: an int, of the boundaries that lie between; an overflow is an error."""
    if begin is None or end is None:
        return None
    first, second = _moment(begin), _moment(end)
    if unit == "DAY":
        return (second.date() - first.date()).days
    if unit != "SECOND":
        raise ValueError(unit)
    passed = second.replace(microsecond=0) - first.replace(microsecond=0)
    seconds = passed.days * 86400 + passed.seconds
    if abs(seconds) >= _LARGEST_INT:
        raise ValueError("overflow")
    return seconds


def _datepart(part: str, value: str | None) -> int | None:
    if value is None:
        return None
    if part != "MICROSECOND":
        raise ValueError(part)
    return _moment(value).microsecond


_OWN: list[tuple[str, int, Callable[..., Any]]] = [
    ("TSQL_CONVERT", 2, _convert),
    ("TSQL_DATEDIFF", 3, _datediff),
    ("TSQL_DATEPART", 2, _datepart),
]
