"""The operation of a statement is what it does, however it is written."""

import pytest
from dbaudit.core.operations import operation_of
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("statement", "operation"),
    [
        ("select 1", "SELECT"),
        ("  \n\tSeLeCt 1", "SELECT"),
        ("((select 1) union (select 2))", "SELECT"),
        ("-- note\nselect 1", "SELECT"),
        ("/* a */ /* b */ select 1", "SELECT"),
        ("/* outer /* inner */ still a comment */ drop table t", "DROP TABLE"),
        ("/* never closed select 1", None),
        ("drop/**/table t", "DROP TABLE"),
        ("drop -- now\n table t", "DROP TABLE"),
        ("create table t (a int)", "CREATE TABLE"),
        ("create table if not exists t (a int)", "CREATE TABLE"),
        ("create temporary table t (a int)", "CREATE TABLE"),
        ("create or replace view v as select 1", "CREATE VIEW"),
        ("create materialized view v as select 1", "CREATE MATERIALIZED VIEW"),
        ("create unique index concurrently i on t (a)", "CREATE INDEX"),
        ("create constraint trigger x after insert on t", "CREATE TRIGGER"),
        ("create event trigger x on ddl_command_start", "CREATE EVENT TRIGGER"),
        ("create foreign data wrapper w", "CREATE FOREIGN DATA WRAPPER"),
        ("create foreign table t ()", "CREATE FOREIGN TABLE"),
        ("create user mapping for u server s", "CREATE USER MAPPING"),
        ("create user u password 'x'", "CREATE USER"),
        ("create text search configuration c", "CREATE TEXT SEARCH CONFIGURATION"),
        ("create or replace trusted procedural language l", "CREATE LANGUAGE"),
        ("create default conversion c", "CREATE CONVERSION"),
        ("alter default privileges grant select on tables to u", "ALTER DEFAULT PRIVILEGES"),
        ("alter system set a = 1", "ALTER SYSTEM"),
        ("drop", "DROP"),
        ("with x as (select 1) select * from x", "SELECT"),
        ("with x as (delete from t returning *) insert into u select * from x", "INSERT"),
        ("with recursive x as (values (1) union select n from x) update t set a = 1", "UPDATE"),
        ("with x as materialized (select ')') delete from t", "DELETE"),
        ('with "select" as (select $$ ) insert $$) merge into t using x on true', "MERGE"),
        ("with", "WITH"),
        ("1 + 1", None),
        ("", None),
        ("'select'", None),
        (";", None),
    ],
)
def test_operation(statement: str, operation: str | None) -> None:
    assert operation_of(statement) == operation


@given(st.text(alphabet="selct wih()/*-'\"$\n;", max_size=60))
def test_any_text_has_an_operation_or_none(statement: str) -> None:
    operation = operation_of(statement)
    assert operation is None or operation == operation.upper()
