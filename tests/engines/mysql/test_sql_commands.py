"""The server's own name for the kind of a statement is its operation."""

import pytest
from dbaudit.core.event import AuditEvent, EventType
from dbaudit.engines.mysql.sql_commands import add_operation


@pytest.mark.parametrize(
    ("sql_command", "query", "operation", "command_class"),
    [
        ("create_table", "/*!40000 create table t (a int) */", "CREATE TABLE", "DDL"),
        ("create_db", "create schema shop", "CREATE DATABASE", "DDL"),
        ("delete", "with d as (select 1) delete from t", "DELETE", "WRITE"),
        ("delete_multi", "delete a from a join b", "DELETE", "WRITE"),
        ("insert_select", "insert into t select 1", "INSERT", "WRITE"),
        ("call_procedure", "call p()", "CALL", "FUNCTION"),
        ("set_option", "set @a = 1", "SET", "MISC"),
        ("set_password", "set password = 'x'", "SET PASSWORD", "ROLE"),
        ("grant_roles", "grant r to u", "GRANT", "ROLE"),
        ("create_user", "create user u", "CREATE USER", "ROLE"),
        ("show_tables", "show tables", "SHOW", "MISC"),
        ("truncate", "truncate table t", "TRUNCATE", "WRITE"),
        ("change_db", "use shop", "USE", "MISC"),
        ("load", "load data infile 'x' into table t", "LOAD", "WRITE"),
        ("delete", "explain delete from t", "EXPLAIN", "MISC"),
        ("select", "(select 1)", "SELECT", "READ"),
        ("error", "selec 1", "SELEC", "MISC"),
        ("", "drop table t", "DROP TABLE", "DDL"),
    ],
)
def test_record_that_names_its_command_wins(
    sql_command: str, query: str, operation: str, command_class: str
) -> None:
    event = AuditEvent("k", EventType.QUERY, 0, query=query)
    add_operation(event, sql_command)
    assert (event.operation, event.command_class) == (operation, command_class)
