"""Statements as applications send them, and what pgaudit says of each."""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Template:
    """A statement with ``{n}``-like places for values; ``weight`` is how often it comes."""

    weight: int
    command_class: str
    command: str
    table: str
    text: str


_PLAIN = (
    Template(
        14,
        "READ",
        "SELECT",
        "public.orders",
        "select id, name, amount from orders where customer_id = {n} and status = 'OPEN' order by id",
    ),
    Template(
        10,
        "READ",
        "SELECT",
        "public.customers",
        "SELECT c.id, c.email, c.created_at, c.country FROM customers c WHERE c.id = $1",
    ),
    Template(
        10,
        "WRITE",
        "UPDATE",
        "public.accounts",
        "UPDATE pgbench_accounts SET abalance = abalance + {n} WHERE aid = {m};",
    ),
    Template(
        8,
        "WRITE",
        "INSERT",
        "public.orders",
        "INSERT INTO orders (customer_id, sku, quantity, price, note, created_at) "
        "VALUES ({n}, 'SKU-{m}', 3, 19.99, 'Express {n}', '2026-11-20 10:{two}:00+00') RETURNING id",
    ),
    Template(8, "WRITE", "INSERT", "public.log", "insert into log (at, level, text) values (now(), $1, $2)"),
    Template(6, "WRITE", "DELETE", "public.sessions", "delete from sessions where id = {n}"),
    Template(
        6,
        "READ",
        "SELECT",
        "pay.cards",
        "select count(*) from cards where pan like '4{two}%' and id > {n}",
    ),
    Template(
        5,
        "READ",
        "SELECT",
        "public.orders",
        "SELECT o.id, o.customer_id, o.status, o.total, i.sku, i.quantity, i.price, p.title, p.weight_grams, "
        "c.name, c.country FROM orders o JOIN items i ON i.order_id = o.id JOIN products p ON p.sku = i.sku "
        "JOIN customers c ON c.id = o.customer_id WHERE o.created_at >= '2026-11-{day} 00:00:00' "
        "AND o.status IN ('PAID', 'SHIPPED', 'RETURNED') AND c.country = 'DE' AND o.total > {n}.50 "
        "ORDER BY o.created_at DESC LIMIT 50 OFFSET {m}",
    ),
    Template(5, "READ", "SELECT", "hr.salaries", "select amount from hr.salaries where emp_id in ({list})"),
    Template(
        4, "WRITE", "UPDATE", "hr.salaries", "update salaries set amount = amount * 1.01 where emp_id = {n}"
    ),
    Template(9, "MISC", "BEGIN", "", "BEGIN"),
    Template(9, "MISC", "COMMIT", "", "COMMIT"),
    Template(4, "MISC", "SET", "", "SET search_path = app, public"),
    Template(
        1,
        "DDL",
        "CREATE TABLE",
        "pg_temp.t",
        "create temp table batch_{n} as select * from orders where id between {n} and {m}",
    ),
    Template(1, "DDL", "CREATE INDEX", "", "create index concurrently idx_{n} on orders(customer_id)"),
)
_QUOTES_AND_LETTERS = (
    Template(
        3,
        "WRITE",
        "INSERT",
        "public.customers",
        "insert into customers (id,name,note) values ({n},'O''Brien','says \"hi\", naïve café №{m}')",
    ),
    Template(
        3,
        "READ",
        "SELECT",
        "public.customers",
        'SELECT "customers"."id", "customers"."name" FROM "customers" '
        'WHERE "customers"."name" = \'Müller {n}\' AND "customers"."city" = \'北京\'',
    ),
    Template(
        2,
        "WRITE",
        "UPDATE",
        "public.products",
        'UPDATE "products" SET "title" = \'Größe "XL", {n} €\', "übersetzt" = true WHERE "sku" = \'SKU-{m}\'',
    ),
)
_BREAKS = (
    " where ",
    " values ",
    " from ",
    " set ",
    " on ",
    " WHERE ",
    " VALUES ",
    " FROM ",
    " SET ",
    " AND ",
)


class Statements:
    """Draws statements; ``several_lines`` and ``quotes_and_letters`` are the shares that have such."""

    def __init__(self, random: Random, several_lines: float, quotes_and_letters: float) -> None:
        self._random = random
        self._several_lines = several_lines
        self._quotes_and_letters = quotes_and_letters
        self._plain = [template for template in _PLAIN for ignored in range(template.weight)]
        self._special = [template for template in _QUOTES_AND_LETTERS for ignored in range(template.weight)]

    def draw(self) -> tuple[Template, str]:
        """A template and its text, filled in."""
        random = self._random
        special = random.random() < self._quotes_and_letters
        several_lines = random.random() < self._several_lines
        while True:
            template = random.choice(self._special if special else self._plain)
            text = template.text
            if not several_lines or any(word in text for word in _BREAKS):
                break
        if "{" in text:
            text = text.format(
                n=random.randrange(1, 1_000_000),
                m=random.randrange(1, 100_000),
                two=random.randrange(10, 60),
                day=random.randrange(10, 30),
                list=", ".join(
                    str(random.randrange(1, 99_999)) for ignored in range(random.randrange(1, 20))
                ),
            )
        if several_lines:
            for word in _BREAKS:
                text = text.replace(word, "\n  " + word[1:])
        return template, text
