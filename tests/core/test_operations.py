"""The operations of a statement are what the server does with it, however it is written."""

import pytest
from dbaudit.core.event import AuditEvent, EventType
from dbaudit.core.operations import CommandClass, add_operations, class_of, classify, operation_of
from dbaudit.core.statements import Dialect
from hypothesis import example, given, settings
from hypothesis import strategies as st

POSTGRESQL = [
    ("select 1", "SELECT", "READ"),
    ("  \n\tSeLeCt 1", "SELECT", "READ"),
    ("((select 1) union (select 2))", "SELECT", "READ"),
    ("-- note\nselect 1", "SELECT", "READ"),
    ("/* a */ /* b */ select 1", "SELECT", "READ"),
    ("/* outer /* inner */ still a comment */ drop table t", "DROP TABLE", "DDL"),
    ("/* never closed select 1", None, "MISC"),
    ("drop/**/table t", "DROP TABLE", "DDL"),
    ("drop -- now\n table t", "DROP TABLE", "DDL"),
    ("create table t (a int)", "CREATE TABLE", "DDL"),
    ("create table if not exists t (a int)", "CREATE TABLE", "DDL"),
    ("create temporary table t (a int)", "CREATE TABLE", "DDL"),
    ("create or replace view v as select 1", "CREATE VIEW", "DDL"),
    ("create materialized view v as select 1", "CREATE MATERIALIZED VIEW", "DDL"),
    ("create unique index concurrently i on t (a)", "CREATE INDEX", "DDL"),
    ("create constraint trigger x after insert on t", "CREATE TRIGGER", "DDL"),
    ("create event trigger x on ddl_command_start", "CREATE EVENT TRIGGER", "DDL"),
    ("create foreign data wrapper w", "CREATE FOREIGN DATA WRAPPER", "DDL"),
    ("create foreign table t ()", "CREATE FOREIGN TABLE", "DDL"),
    ("create user mapping for u server s", "CREATE USER MAPPING", "ROLE"),
    ("create user u password 'x'", "CREATE USER", "ROLE"),
    ("create group g", "CREATE GROUP", "ROLE"),
    ("create text search configuration c", "CREATE TEXT SEARCH CONFIGURATION", "DDL"),
    ("create or replace trusted procedural language l", "CREATE LANGUAGE", "DDL"),
    ("create default conversion c", "CREATE CONVERSION", "DDL"),
    ("create aggregate a (int) (sfunc = f)", "CREATE AGGREGATE", "DDL"),
    ("alter default privileges grant select on tables to u", "ALTER DEFAULT PRIVILEGES", "ROLE"),
    ("alter system set a = 1", "ALTER SYSTEM", "DDL"),
    ('alter table "table" drop column x', "ALTER TABLE", "DDL"),
    ("drop", "DROP", "DDL"),
    ("with x as (select 1) select * from x", "SELECT", "READ"),
    ("with x as (delete from t returning *) insert into u select * from x", "DELETE", "WRITE"),
    ("with recursive x as (values (1) union select n from x) update t set a = 1", "UPDATE", "WRITE"),
    ("with x as materialized (select ')') delete from t", "DELETE", "WRITE"),
    ('with "select" as (select $$ ) insert $$) merge into t using x on true', "MERGE", "WRITE"),
    ("with", "WITH", "MISC"),
    ("with d as (delete from t returning i) select p.i from payroll p, d", "DELETE", "WRITE"),
    ("with d as not materialized (update t set i = 1 returning i) table d", "UPDATE", "WRITE"),
    ("(with d as (insert into t values (1) returning i) select * from d)", "INSERT", "WRITE"),
    ("with d as (select 1) select * from d for update", "SELECT", "READ"),
    ("with d as (select x as delete from t) select delete from d", "SELECT", "READ"),
    ("insert into u with d as (delete from t returning *) select * from d", "INSERT", "WRITE"),
    ("select * into u from t", "SELECT INTO", "DDL"),
    ("with x as (select 1) select * into u from x", "SELECT INTO", "DDL"),
    ("select ' into ', \"into\" from t", "SELECT", "READ"),
    ("table t", "TABLE", "READ"),
    ("values (1)", "VALUES", "READ"),
    ("copy t (a, b) from stdin", "COPY", "WRITE"),
    ("copy t to stdout", "COPY", "READ"),
    ("copy (select 1 from t) to '/tmp/x'", "COPY", "READ"),
    ("copy (delete from t returning *) to stdout", "DELETE", "WRITE"),
    ("explain delete from t", "EXPLAIN", "MISC"),
    ("explain (costs off) delete from t", "EXPLAIN", "MISC"),
    ("explain analyze delete from t", "DELETE", "WRITE"),
    ("explain analyze verbose with d as (delete from t returning 1) select 1", "DELETE", "WRITE"),
    ("explain (analyze, buffers) update t set a = 1", "UPDATE", "WRITE"),
    ("explain (analyze false) update t set a = 1", "EXPLAIN", "MISC"),
    ("explain (analyze 'off') update t set a = 1", "EXPLAIN", "MISC"),
    ("prepare x (int) as delete from t where i = $1", "PREPARE", "MISC"),
    ("execute x(1)", "EXECUTE", "MISC"),
    ("do $$ begin delete from t; end $$", "DO", "FUNCTION"),
    ("call p()", "CALL", "FUNCTION"),
    ("lock table t", "LOCK", "MISC"),
    ("truncate t", "TRUNCATE", "WRITE"),
    ("grant select on t to u", "GRANT", "ROLE"),
    ("grant delete on t to u", "GRANT", "ROLE"),
    ("revoke r from u", "REVOKE", "ROLE"),
    ("set role admin", "SET ROLE", "ROLE"),
    ("set local role admin", "SET ROLE", "ROLE"),
    ("set session authorization 'admin'", "SET SESSION AUTHORIZATION", "ROLE"),
    ("reset role", "RESET ROLE", "ROLE"),
    ("set work_mem = '1GB'", "SET", "MISC"),
    ("begin", "BEGIN", "MISC"),
    ("comment on table t is 'x'", "COMMENT", "DDL"),
    ("vacuum t", "VACUUM", "MISC"),
    ("create rule r as on insert to t do also (delete from u; update v set a = 1)", "CREATE RULE", "DDL"),
    ("CREATE_REPLICATION_SLOT s1 LOGICAL test_decoding", "CREATE_REPLICATION_SLOT", "DDL"),
    ("BASE_BACKUP (LABEL 'x')", "BASE_BACKUP", "READ"),
    ("IDENTIFY_SYSTEM", "IDENTIFY_SYSTEM", "MISC"),
    ("select 1; drop table t", "DROP TABLE", "DDL"),
    ("vacuum t /* ; /* ; */ ; */ ; drop table t", "DROP TABLE", "DDL"),
    ("set a = E'it\\'s;'; drop table t", "DROP TABLE", "DDL"),
    ("set a = $b$;'$b$; drop table t", "DROP TABLE", "DDL"),
    ("begin; delete from t; grant r to u; commit", "GRANT", "ROLE"),
    ("select ';drop table t'", "SELECT", "READ"),
    ("select $a$;drop table t$a$", "SELECT", "READ"),
    ("create function f() returns int begin atomic delete from t; select 1; end", "CREATE FUNCTION", "DDL"),
    ("1 + 1", None, "MISC"),
    ("", None, "MISC"),
    ("'select'", None, "MISC"),
    (";", None, "MISC"),
]
MYSQL = [
    ("select 1", "SELECT", "READ"),
    ("# note\nDELETE FROM t", "DELETE", "WRITE"),
    ("-- note\nDELETE FROM t", "DELETE", "WRITE"),
    ("--note\nDELETE FROM t", None, "MISC"),
    ("/* see /* docs */ DROP TABLE t", "DROP TABLE", "DDL"),
    ("/*! select 2*/", "SELECT", "READ"),
    ("/*!50000DROP*/ TABLE x", "DROP TABLE", "DDL"),
    ("/*M!100100 DROP*/ TABLE x", "DROP TABLE", "DDL"),
    (
        "/*!50003 CREATE*/ /*!50017 DEFINER=`root`@`localhost`*/ /*!50003 TRIGGER x */",
        "CREATE TRIGGER",
        "DDL",
    ),
    ("CREATE DEFINER=`root`@`%` PROCEDURE p() BEGIN DELETE FROM t; END", "CREATE PROCEDURE", "DDL"),
    ("CREATE DEFINER=root@localhost SQL SECURITY INVOKER VIEW v AS SELECT 1", "CREATE VIEW", "DDL"),
    ("CREATE DEFINER = 'a'@'b' EVENT e ON SCHEDULE EVERY 1 DAY DO DELETE FROM t", "CREATE EVENT", "DDL"),
    (
        "CREATE DEFINER=CURRENT_USER() TRIGGER g BEFORE INSERT ON t FOR EACH ROW SET @a=1",
        "CREATE TRIGGER",
        "DDL",
    ),
    (
        "CREATE OR REPLACE ALGORITHM=MERGE DEFINER=`a`@`b` SQL SECURITY DEFINER VIEW v AS SELECT 1",
        "CREATE VIEW",
        "DDL",
    ),
    ("CREATE FULLTEXT INDEX i ON t (a)", "CREATE INDEX", "DDL"),
    ("CREATE SPATIAL INDEX i ON t (a)", "CREATE INDEX", "DDL"),
    ("CREATE AGGREGATE FUNCTION f RETURNS INT SONAME 'x.so'", "CREATE FUNCTION", "DDL"),
    ("ALTER IGNORE TABLE t ADD UNIQUE (a)", "ALTER TABLE", "DDL"),
    ("ALTER ONLINE TABLE t ADD a INT", "ALTER TABLE", "DDL"),
    ("CREATE PACKAGE BODY p AS END", "CREATE PACKAGE BODY", "DDL"),
    ("CREATE TEMPORARY TABLE t SELECT 1", "CREATE TABLE", "DDL"),
    ("CREATE USER u IDENTIFIED BY 'x'", "CREATE USER", "ROLE"),
    ("RENAME USER a TO b", "RENAME USER", "ROLE"),
    ("RENAME TABLE a TO b", "RENAME TABLE", "DDL"),
    ("DROP ROLE r", "DROP ROLE", "ROLE"),
    ("SET PASSWORD FOR u = 'x'", "SET PASSWORD", "ROLE"),
    ("SET DEFAULT ROLE ALL TO u", "SET DEFAULT ROLE", "ROLE"),
    ("SET ROLE r", "SET ROLE", "ROLE"),
    ("SET NAMES utf8mb4", "SET", "MISC"),
    ("SET STATEMENT max_statement_time=10 FOR DELETE FROM t", "DELETE", "WRITE"),
    ("REPLACE INTO t VALUES (1)", "REPLACE", "WRITE"),
    ("LOAD DATA LOCAL INFILE 'x' INTO TABLE t", "LOAD", "WRITE"),
    ("LOAD INDEX INTO CACHE t", "LOAD INDEX", "MISC"),
    ("EXECUTE IMMEDIATE 'drop table t'", "DROP TABLE", "DDL"),
    ("EXECUTE IMMEDIATE \"delete from t where a = 'x'\"", "DELETE", "WRITE"),
    ("EXECUTE IMMEDIATE @s", "EXECUTE IMMEDIATE", "FUNCTION"),
    ("PREPARE s FROM 'drop table t'", "PREPARE", "MISC"),
    ("EXECUTE s USING @a", "EXECUTE", "MISC"),
    ("ANALYZE FORMAT=JSON DELETE FROM t", "DELETE", "WRITE"),
    ("ANALYZE TABLE t", "ANALYZE", "MISC"),
    ("EXPLAIN DELETE FROM t", "EXPLAIN", "MISC"),
    ("EXPLAIN FORMAT=JSON DELETE FROM t", "EXPLAIN", "MISC"),
    ("EXPLAIN ANALYZE SELECT 1 FROM t", "SELECT", "READ"),
    ("DESC t", "DESC", "MISC"),
    ("WITH x AS (SELECT 1) DELETE FROM t", "DELETE", "WRITE"),
    ("HANDLER t READ FIRST", "HANDLER", "READ"),
    ("BEGIN", "BEGIN", "MISC"),
    ("BEGIN NOT ATOMIC IF @a THEN DELETE FROM t; END IF; SELECT 1; END", "DELETE", "WRITE"),
    ("SELECT 1; DROP TABLE t", "DROP TABLE", "DDL"),
    ("SELECT 'it\\';s', \"a;\", `;` /* ; */ # ;\n -- ;\n; DROP TABLE t", "DROP TABLE", "DDL"),
    ("SELECT 1 /*! ; DROP TABLE t */", "DROP TABLE", "DDL"),
    ("SELECT 1 INTO OUTFILE '/tmp/x'", "SELECT", "READ"),
    ("SELECT 'it\\'s; drop table t'", "SELECT", "READ"),
    (
        "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW IF NEW.a THEN SET @a=1; DELETE FROM u; END IF",
        "CREATE TRIGGER",
        "DDL",
    ),
    (
        "CREATE PROCEDURE p() BEGIN CASE @a WHEN 1 THEN DELETE FROM t; END CASE; END; GRANT r TO u",
        "GRANT",
        "ROLE",
    ),
    ("SHOW TABLES", "SHOW", "MISC"),
    ("FLUSH PRIVILEGES", "FLUSH", "MISC"),
    ("XA START 'x'", "XA", "MISC"),
    ("INSTALL PLUGIN p SONAME 'x.so'", "INSTALL", "DDL"),
]
SQLSERVER = [
    ("select 1", "SELECT", "READ"),
    (";WITH x AS (SELECT 1 AS a) DELETE FROM t", "DELETE", "WRITE"),
    ("(@p1 int)UPDATE dbo.t SET a=@p1", "UPDATE", "WRITE"),
    ("(@p1 nvarchar(4000), @p2 decimal(10, 2))INSERT INTO t VALUES (@p1)", "INSERT", "WRITE"),
    ("SET NOCOUNT ON; DELETE FROM t", "DELETE", "WRITE"),
    ("SET NOCOUNT ON DELETE FROM t", "DELETE", "WRITE"),
    ("DECLARE @a int; UPDATE t SET a = @a", "UPDATE", "WRITE"),
    ("DECLARE @a int = 1 UPDATE t SET a = @a", "UPDATE", "WRITE"),
    ("BEGIN TRAN; UPDATE t SET a = 1; COMMIT", "UPDATE", "WRITE"),
    ("BEGIN TRAN UPDATE t SET a = 1 COMMIT", "UPDATE", "WRITE"),
    ("IF OBJECT_ID('t') IS NOT NULL DROP TABLE t", "DROP TABLE", "DDL"),
    (
        "IF EXISTS (SELECT 1 FROM t) BEGIN DELETE FROM t END ELSE BEGIN TRUNCATE TABLE t END",
        "DELETE",
        "WRITE",
    ),
    ("BEGIN TRY DELETE FROM t END TRY BEGIN CATCH THROW END CATCH", "DELETE", "WRITE"),
    ("again: DELETE FROM t", "DELETE", "WRITE"),
    ("WHILE 1 = 1 DELETE TOP (10) FROM t", "DELETE", "WRITE"),
    ("SELECT 1 DELETE FROM t", "DELETE", "WRITE"),
    ("/* see /* docs */ */ DROP TABLE t", "DROP TABLE", "DDL"),
    ("CREATE LOGIN [mallory] WITH PASSWORD = '******'", "CREATE LOGIN", "ROLE"),
    ("ALTER SERVER ROLE sysadmin ADD MEMBER u", "ALTER SERVER ROLE", "ROLE"),
    ("ALTER ROLE db_owner DROP MEMBER u", "ALTER ROLE", "ROLE"),
    ("CREATE APPLICATION ROLE a WITH PASSWORD = 'x'", "CREATE APPLICATION ROLE", "ROLE"),
    ("ALTER AUTHORIZATION ON DATABASE::d TO u", "ALTER AUTHORIZATION", "ROLE"),
    ("GRANT SELECT, INSERT ON t TO u", "GRANT", "ROLE"),
    ("GRANT SELECT ON t TO u WITH GRANT OPTION", "GRANT", "ROLE"),
    ("DENY DELETE ON t TO u", "DENY", "ROLE"),
    ("EXEC sp_addrolemember 'db_owner', 'u'", "EXECUTE", "ROLE"),
    ("EXEC master.dbo.[sp_addsrvrolemember] 'u', 'sysadmin'", "EXECUTE", "ROLE"),
    ("EXEC master..sp_addlogin 'u', 'x'", "EXECUTE", "ROLE"),
    ("sp_addrolemember 'db_owner', 'u'", "EXECUTE", "ROLE"),
    ("EXEC @rc = dbo.p 1", "EXECUTE", "FUNCTION"),
    ("dbo.p 1", "EXECUTE", "FUNCTION"),
    ("EXEC ('drop table t')", "DROP TABLE", "DDL"),
    ("EXEC(N'drop table ' + @t)", "DROP TABLE", "DDL"),
    ("EXEC sp_executesql N'DELETE FROM t WHERE id = @p', N'@p int', @p = 1", "DELETE", "WRITE"),
    ("EXECUTE AS LOGIN = 'sa'; SELECT 1", "EXECUTE AS", "ROLE"),
    ("{call dbo.p(?)}", "CALL", "FUNCTION"),
    ("{?=call dbo.p(?)}", "CALL", "FUNCTION"),
    ("CREATE OR ALTER VIEW v AS SELECT 1", "CREATE VIEW", "DDL"),
    (
        "CREATE PROC p WITH EXECUTE AS OWNER AS DELETE FROM t; GRANT SELECT ON t TO u",
        "CREATE PROCEDURE",
        "DDL",
    ),
    ("CREATE TRIGGER g ON t AFTER INSERT, UPDATE AS DELETE FROM u", "CREATE TRIGGER", "DDL"),
    ("CREATE UNIQUE CLUSTERED INDEX i ON t (a)", "CREATE INDEX", "DDL"),
    ("CREATE NONCLUSTERED COLUMNSTORE INDEX i ON t (a)", "CREATE INDEX", "DDL"),
    ("CREATE FULLTEXT INDEX ON t (a)", "CREATE INDEX", "DDL"),
    ("CREATE FULLTEXT CATALOG c", "CREATE FULLTEXT CATALOG", "DDL"),
    ("CREATE PRIMARY XML INDEX i ON t (a)", "CREATE INDEX", "DDL"),
    ("CREATE XML SCHEMA COLLECTION c AS N''", "CREATE XML SCHEMA COLLECTION", "DDL"),
    ("ALTER TABLE t ALTER COLUMN a int", "ALTER TABLE", "DDL"),
    ("ALTER TABLE t DROP COLUMN a", "ALTER TABLE", "DDL"),
    ("CREATE TABLE t (a int REFERENCES u ON DELETE CASCADE)", "CREATE TABLE", "DDL"),
    (
        "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES u (a) ON DELETE CASCADE ON UPDATE CASCADE",
        "ALTER TABLE",
        "DDL",
    ),
    ("SELECT * INTO #t FROM u", "SELECT INTO", "DDL"),
    ("INSERT INTO t SELECT * FROM u UNION ALL SELECT 1", "INSERT", "WRITE"),
    ("INSERT t EXEC p", "INSERT", "WRITE"),
    (
        "MERGE t USING u ON 1 = 1 WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (a) VALUES (1);",
        "MERGE",
        "WRITE",
    ),
    ("UPDATE STATISTICS t", "UPDATE STATISTICS", "MISC"),
    ("BULK INSERT t FROM 'x'", "BULK INSERT", "WRITE"),
    ("DISABLE TRIGGER g ON t", "DISABLE TRIGGER", "DDL"),
    ("DECLARE c CURSOR FOR SELECT a FROM t FOR UPDATE", "DECLARE", "MISC"),
    ("USE shop", "USE", "MISC"),
    ("IF 1 = 1 PRINT 'drop table t'", "PRINT", "MISC"),
    ('SELECT [delete], "drop" FROM t -- delete', "SELECT", "READ"),
    ("SELECT a FROM t ORDER BY a OFFSET 0 ROWS FETCH NEXT 5 ROWS ONLY", "SELECT", "READ"),
    ("BACKUP DATABASE d TO DISK = 'x'", "BACKUP", "MISC"),
    ("", None, "MISC"),
]
ORACLE = [
    ("select 1 from dual", "SELECT", "READ"),
    ("/* see /* docs */ DROP TABLE t", "DROP TABLE", "DDL"),
    ("CREATE OR REPLACE EDITIONABLE FORCE VIEW v AS SELECT 1 FROM dual", "CREATE VIEW", "DDL"),
    ("CREATE OR REPLACE NO FORCE NONEDITIONABLE VIEW v AS SELECT 1 FROM dual", "CREATE VIEW", "DDL"),
    ("CREATE BITMAP INDEX i ON t (a)", "CREATE INDEX", "DDL"),
    ("CREATE PUBLIC SYNONYM s FOR t", "CREATE PUBLIC SYNONYM", "DDL"),
    ("CREATE OR REPLACE PUBLIC SYNONYM s FOR t", "CREATE PUBLIC SYNONYM", "DDL"),
    ("CREATE SHARED PUBLIC DATABASE LINK l", "CREATE PUBLIC DATABASE LINK", "DDL"),
    ("CREATE PRIVATE TEMPORARY TABLE t (a INT)", "CREATE TABLE", "DDL"),
    ("CREATE PACKAGE BODY p IS END;", "CREATE PACKAGE BODY", "DDL"),
    ("CREATE MATERIALIZED VIEW LOG ON t", "CREATE MATERIALIZED VIEW LOG", "DDL"),
    ("CREATE OR REPLACE PROCEDURE p IS BEGIN DELETE FROM t; END;", "CREATE PROCEDURE", "DDL"),
    ("CREATE USER u IDENTIFIED BY x", "CREATE USER", "ROLE"),
    ("ALTER PROFILE p LIMIT x 1", "ALTER PROFILE", "ROLE"),
    ("ALTER SESSION SET x = 1", "ALTER SESSION", "MISC"),
    ("ALTER SYSTEM SET x = 1", "ALTER SYSTEM", "DDL"),
    ("SET ROLE r", "SET ROLE", "ROLE"),
    ("ADMINISTER KEY MANAGEMENT SET KEY", "ADMINISTER KEY MANAGEMENT", "DDL"),
    ("WITH x AS (SELECT 1 FROM dual) SELECT * FROM x", "SELECT", "READ"),
    ("BEGIN DELETE FROM t; COMMIT; END;", "DELETE", "WRITE"),
    ("DECLARE a INT; BEGIN IF a = 1 THEN INSERT INTO t VALUES (1); END IF; END;", "INSERT", "WRITE"),
    ("BEGIN EXECUTE IMMEDIATE 'grant dba to u'; END;", "GRANT", "ROLE"),
    ("BEGIN EXECUTE IMMEDIATE q'[drop table t]'; END;", "DROP TABLE", "DDL"),
    ("BEGIN p(1); END;", "BEGIN", "FUNCTION"),
    ("BEGIN FOR r IN (SELECT 1 FROM t) LOOP UPDATE u SET a = 1; END LOOP; END;", "UPDATE", "WRITE"),
    ("CALL p()", "CALL", "FUNCTION"),
    ("EXPLAIN PLAN FOR DELETE FROM t", "EXPLAIN", "MISC"),
    ("TRUNCATE TABLE t", "TRUNCATE", "WRITE"),
    ("MERGE INTO t USING u ON (1 = 1) WHEN MATCHED THEN UPDATE SET a = 1", "MERGE", "WRITE"),
    ("SELECT q'[;drop table t]' FROM dual", "SELECT", "READ"),
    ("LOCK TABLE t IN EXCLUSIVE MODE", "LOCK", "MISC"),
    ("PURGE RECYCLEBIN", "PURGE", "DDL"),
]
MONGODB = [
    ('{"find": "t", "filter": {}}', "find", "READ"),
    ('{"delete":"t","deletes":[]}', "delete", "WRITE"),
    ('{"dropDatabase":1}', "dropDatabase", "DDL"),
    ('{"createUser":"u"}', "createUser", "ROLE"),
    ('{"hello":1}', "hello", "MISC"),
    ('{"q":{},"u":{}}', None, "MISC"),
    ("nonsense", None, "MISC"),
]
ALL = {
    Dialect.POSTGRESQL: POSTGRESQL,
    Dialect.MYSQL: MYSQL,
    Dialect.SQLSERVER: SQLSERVER,
    Dialect.ORACLE: ORACLE,
    Dialect.MONGODB: MONGODB,
}


@pytest.mark.parametrize(
    ("dialect", "statement", "operation", "command_class"),
    [(dialect, *case) for dialect, cases in ALL.items() for case in cases],  # type: ignore[attr-defined]  # cases of two lengths
)
def test_operation_and_class(
    dialect: Dialect, statement: str, operation: str | None, command_class: str
) -> None:
    found = classify(statement, dialect)
    assert (found.operation, found.command_class) == (operation, command_class)
    assert operation_of(statement, dialect) == operation


@pytest.mark.parametrize(
    ("dialect", "statement", "operations"),
    [
        (Dialect.POSTGRESQL, "with d as (delete from t returning i) select 1", ["DELETE", "SELECT"]),
        (
            Dialect.POSTGRESQL,
            "insert into u with d as (delete from t returning 1) select 1",
            ["INSERT", "DELETE"],
        ),
        (
            Dialect.POSTGRESQL,
            "begin; update t set a = 1; update t set a = 2; commit",
            ["BEGIN", "UPDATE", "COMMIT"],
        ),
        (Dialect.POSTGRESQL, "explain analyze delete from t", ["EXPLAIN", "DELETE"]),
        (Dialect.MYSQL, "select 1; drop table t; select 2", ["SELECT", "DROP TABLE"]),
        (
            Dialect.MYSQL,
            "create procedure p() begin delete from t; end; call p()",
            ["CREATE PROCEDURE", "CALL"],
        ),
        (Dialect.SQLSERVER, "SET NOCOUNT ON; DELETE FROM t", ["SET", "DELETE"]),
        (Dialect.SQLSERVER, "INSERT t EXEC p", ["INSERT", "EXECUTE"]),
        (
            Dialect.SQLSERVER,
            "DROP TABLE t CREATE TABLE t (a int) INSERT t VALUES (1) SELECT 1",
            ["DROP TABLE", "CREATE TABLE", "INSERT", "SELECT"],
        ),
        (Dialect.ORACLE, "BEGIN INSERT INTO t VALUES (1); COMMIT; END;", ["INSERT", "COMMIT"]),
    ],
)
def test_all_operations_of_a_text_in_its_order(
    dialect: Dialect, statement: str, operations: list[str]
) -> None:
    assert list(classify(statement, dialect).operations) == operations
    event = AuditEvent("k", EventType.QUERY, 0, query=statement)
    add_operations(event, dialect)
    assert event.detail is not None
    assert event.detail["operations"] == operations


def test_the_detail_of_a_statement_with_one_operation_stays_as_it_is() -> None:
    event = AuditEvent("k", EventType.QUERY, 0, query="drop table t", detail={"a": 1})
    add_operations(event, Dialect.POSTGRESQL)
    assert (event.operation, event.command_class, event.detail) == ("DROP TABLE", "DDL", {"a": 1})


@pytest.mark.parametrize(
    ("operation", "dialect", "command_class"),
    [
        ("TRUNCATE TABLE", Dialect.ORACLE, "WRITE"),
        ("CREATE USER", Dialect.ORACLE, "ROLE"),
        ("CHANGE PASSWORD", Dialect.ORACLE, "ROLE"),
        ("PL/SQL EXECUTE", Dialect.ORACLE, "FUNCTION"),
        ("CREATE TABLE AS", Dialect.POSTGRESQL, "DDL"),
        ("ALTER ROLE", Dialect.POSTGRESQL, "ROLE"),
        ("EXECUTE", Dialect.SQLSERVER, "FUNCTION"),
        ("EXECUTE", Dialect.POSTGRESQL, "MISC"),
        ("CREATE TABLE", Dialect.MYSQL, "DDL"),
        ("dropUser", Dialect.MONGODB, "ROLE"),
        ("ZZZZ", Dialect.SQLSERVER, "MISC"),
        (None, Dialect.SQLSERVER, "MISC"),
    ],
)
def test_class_of_an_operation_that_a_record_names(
    operation: str | None, dialect: Dialect, command_class: str
) -> None:
    assert class_of(operation, dialect) is CommandClass(command_class)


PIECES = st.sampled_from(
    [
        *(
            "select",
            "delete from t",
            "drop table t",
            "with x as (",
            ")",
            "(",
            ";",
            "'",
            '"',
            "`",
            "[",
            "]",
            "$$",
        ),
        *(
            "/*",
            "*/",
            "/*!50000",
            "--",
            "# ",
            "\n",
            " ",
            "begin",
            "end",
            "if",
            "then",
            "exec",
            "explain analyze",
        ),
        *(
            "execute immediate '",
            "create procedure p",
            "create definer=",
            "@",
            "=",
            ",",
            ".",
            "q'[",
            "declare",
        ),
        *(
            "set statement a=1 for",
            "copy (",
            "insert into",
            "grant",
            "to",
            "merge",
            "case",
            "\\",
            "é",
            "ß",
            "1",
        ),
    ]
)
TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(PIECES, max_size=25).map(" ".join),
    st.lists(PIECES, max_size=25).map("".join),
)


@pytest.mark.parametrize("dialect", Dialect)
@given(TEXTS)
@settings(max_examples=300, deadline=None)
@example("create definer=")
@example("exec .")
@example("execute immediate '")
def test_any_text_has_operations_or_none(dialect: Dialect, statement: str) -> None:
    found = classify(statement, dialect)
    assert found.command_class in CommandClass
    assert (found.operation is None) == (not found.operations)
    assert len(set(found.operations)) == len(found.operations)
    for operation in found.operations:
        assert len(operation) <= 150
        assert class_of(operation, dialect) in CommandClass
    assert classify(statement, dialect) == found


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize(
    "piece",
    [
        *(
            "(",
            ")",
            "[",
            "'",
            '"',
            "`",
            "$$",
            "$a$",
            "/*",
            "/*!",
            "*/",
            "--",
            "# ",
            "\\'",
            "''",
            "q'[",
            "a.",
            "@",
        ),
        *(
            "begin ",
            "end ",
            "case ",
            "if ",
            "then ",
            "with ",
            "exec ",
            "create ",
            "definer=",
            "explain ",
            "a ",
            ";",
        ),
        *(
            "analyze ",
            "select 1;",
            "execute immediate '",
            "delete ",
            "(select ",
            "set statement a for ",
            "a:",
            "{",
        ),
        *(
            "create procedure ",
            "exec(",
            "or ",
            "grant ",
            "insert ",
            "as (delete from t)",
            "format = ",
            "union ",
        ),
    ],
)
def test_time_is_linear_whatever_is_repeated(dialect: Dialect, piece: str) -> None:
    # What is not linear would run for hours here; the time limit of the test run is what would end it.
    for hostile in (piece * (40_000 // len(piece)), "select " + piece * (40_000 // len(piece)) + ";x"):
        classify(hostile, dialect)
