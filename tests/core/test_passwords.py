"""Passwords never stay in a statement, masked or not; what does not hold one stays as it is."""

import pytest
from dbaudit.core.statements import Dialect, mask, remove_passwords
from hypothesis import given, settings
from hypothesis import strategies as st

SENSITIVE = "t1ger"


@pytest.mark.parametrize(
    "statement",
    [
        "create role app login password 't1ger'",
        "CREATE USER app WITH ENCRYPTED PASSWORD 't1ger' VALID UNTIL '2030-01-01'",
        "alter role app password E't1\\'t1ger\\\\' createdb",
        "alter role app password 'it''st1ger'",
        "alter role app password U&'\\0021t1ger' uescape '!'",
        "alter role app password $$t1ger$$",
        "alter role app password $x$t1ger$y$t1ger$x$",
        "alter role app password\n\t't1ger'",
        "alter role app password't1ger'",
        "alter role app password /* new */ 't1ger'",
        "alter role app password -- new\n 't1ger'",
        "alter role app password 'abc'\n  't1ger'",
        "alter user app identified by 't1ger'",
        "create user app@'%' identified by \"t1ger\"",
        "create user mapping for app server s options (user 'u', password 't1ger')",
        "alter user mapping for app server s options (set password 't1ger')",
        "create user mapping for app server s options (\"user\" 'u', \"password\" 't1ger')",
        "create subscription s connection 'host=h dbname=d user=u password=t1ger' publication p",
        "create subscription s connection 'host=h password = t1ger sslmode=require' publication p",
        "alter subscription s connection 'password=''x t1ger'' host=h'",
        "alter subscription s connection 'password=''x\\''t1ger'' host=h'",
        "alter subscription s connection 'password=a,b;c)t1ger host=h'",
        "alter subscription s connection 'password=a\\ t1ger host=h'",
        "alter subscription s connection E'password=\\'x t1ger\\' host=h'",
        "select dblink_connect('c', 'host=h user=u password=t1ger')",
        "select * from dblink($$host=h password='x t1ger' user=u$$, 'select 1') as t(a int)",
        "select dblink_connect('postgresql://u:t1ger@h/d')",
        "select dblink_connect('postgresql://u:p@t1ger@h/d')",
        "select dblink_connect('postgresql://u:p/t1ger@h/d')",
        "select dblink_connect('postgresql://h/d?user=u&password=t1ger')",
        "update users set password = 't1ger' where id = 5",
        "update users set user_password = crypt('t1ger', gen_salt('bf'))",
        "update users set password = pg_catalog.lower(trim('t1ger'))",
        'insert into config values (\'{"user": "u", "password": "t1\\"t1ger"}\')',
        "select set_config('app.password', 't1ger', false)",
        "set app.secret = 't1ger'",
        "set app.secret to 't1ger'",
        "exec sp_x @pwd = 't1ger'",
        "Driver=x;UID=u;PWD=t1ger;",
    ],
)
def test_no_password_stays(statement: str) -> None:
    hidden = remove_passwords(statement)
    assert SENSITIVE not in hidden
    assert "********" in hidden
    assert remove_passwords(hidden) == hidden
    for length in range(statement.index(SENSITIVE) + len(SENSITIVE), len(statement)):
        assert SENSITIVE not in remove_passwords(statement[:length]), "in the statement cut off"


@pytest.mark.parametrize(
    "statement",
    [
        "select 1",
        "alter role app password null",
        "select password from users where id = 5",
        "select password, 'x' from users",
        "update users set password = $1 where id = $2",
        "update users set password = ? where id = ?",
        "set password_encryption = 'scram-sha-256'",
        "select 'https://example.com:8080/a?b=c'",
        "select 'https://example.com/a:b@c'",
        "comment on column users.passed is 'x'",
    ],
)
def test_a_statement_without_a_password_stays_as_it_is(statement: str) -> None:
    assert remove_passwords(statement) == statement


LIKE_WORDS = [
    (Dialect.POSTGRESQL, 'ALTER USER app WITH PASSWORD "t1ger"'),
    (Dialect.POSTGRESQL, "ALTER USER app PASSWORD t1ger"),
    (Dialect.POSTGRESQL, "ALTER USER app PASSWORD a t1ger t1ger"),
    (Dialect.POSTGRESQL, "ALTER USER app PASSWORD @t1ger!"),
    (Dialect.POSTGRESQL, "ALTER USER app PASSWORD !t1ger"),
    (Dialect.POSTGRESQL, "ALTR USER app PASSWORD 5t1ger"),
    (Dialect.POSTGRESQL, "CREATE USER z IDENTIFIED BY t1ger"),
    (Dialect.POSTGRESQL, "CREATE USER z IDENTIFIED t1ger"),
    (Dialect.POSTGRESQL, "CREATE USER z IDENTIFIED /* a */ BY -- b\n t1ger"),
    (Dialect.POSTGRESQL, 'SET my.secret = "t1ger"'),
    (Dialect.POSTGRESQL, "SET my.secret TO t1ger"),
    (Dialect.POSTGRESQL, "SET LOCAL my.secret TO t1ger; SELECT 1"),
    (Dialect.POSTGRESQL, 'ALTER ROLE app SET my.secret TO "t1ger"'),
    (Dialect.POSTGRESQL, "CREATE USER MAPPING FOR u SERVER s OPTIONS (user u, password t1ger)"),
    (Dialect.POSTGRESQL, 'CREATE SUBSCRIPTION s CONNECTION "host=h password=t1ger"'),
    (Dialect.POSTGRESQL, "update users set password = t1ger where a = b"),
    (Dialect.POSTGRESQL, 'update users set password = "t1ger"'),
    (Dialect.POSTGRESQL, "update users set password = crypt(t1ger, x)"),
    (Dialect.SQLSERVER, "update users set pwd = t1ger"),
    (Dialect.MYSQL, "create user z identified by t1ger"),
    (Dialect.MYSQL, "set password for u = t1ger"),
    (Dialect.MYSQL, "set password = password(t1ger)"),
    (Dialect.MYSQL, "set password for u t1ger"),
    (Dialect.MYSQL, "set password for 'u'@'%' t1ger"),
    (Dialect.MYSQL, "set global api_token = t1ger"),
    (Dialect.MYSQL, "set @@global.my_secret := t1ger-t1ger, x = y"),
    (Dialect.MYSQL, "execute immediate 'alter user u identified by ''t1ger'''"),
    (Dialect.MYSQL, 'prepare s from "create user u identified by \\"t1ger\\""'),
    (Dialect.MYSQL, "alter user u identified # c\nby 't1ger'"),
    (Dialect.MYSQL, "alter user u identified /*!50000 by */ 't1ger'"),
    (Dialect.MYSQL, f"alter user u identified by /* {'x' * 300} */ 't1ger'"),
    (Dialect.MYSQL, r"alter user u identified by '\'''t1ger'"),
    (Dialect.MYSQL, "set password for 'a=b'@'%' = 't1ger'"),
    (Dialect.SQLSERVER, "create login x with password = t1ger, default_database = d"),
    (Dialect.SQLSERVER, f"create login x with password /* {'y' * 300} */ = N't1ger'"),
    (Dialect.SQLSERVER, "exec sp_change_users_login 'Auto_Fix', 'u', NULL, 't1ger'"),
    (Dialect.SQLSERVER, r"exec sp_xp_cmdshell_proxy_account 'D\u', 't1ger'"),
    (Dialect.SQLSERVER, "select pwdcompare('t1ger', h) from t"),
    (Dialect.SQLSERVER, "select pwdencrypt(N't1ger')"),
    (Dialect.SQLSERVER, "select * from opendatasource('p', 'Data Source=x;User ID=u;Password=t1ger').a.b.c"),
    (Dialect.SQLSERVER, "create application role r with password = 't1ger'"),
    (Dialect.ORACLE, "administer key management export keys with secret t1ger to '/t' identified by t1ger"),
    (Dialect.ORACLE, "administer key management import keys with secret \"t1ger\" from '/t' identified by x"),
    (Dialect.ORACLE, "alter pluggable database p unplug into 'x' encrypt using t1ger"),
    (Dialect.ORACLE, "create pluggable database p using 'x' decrypt using t1ger"),
    (Dialect.ORACLE, "begin execute immediate 'alter user u identified by ' || 't1ger'; end;"),
    (Dialect.ORACLE, "begin execute immediate 'alter user u identified by \"' || 't1ger' || '\"'; end;"),
    (Dialect.ORACLE, "begin dbms_cloud.create_credential('c', 'u', 't1ger'); end;"),
    (Dialect.ORACLE, "begin dbms_scheduler.create_credential('c', 'u', q'[t1ger]'); end;"),
    (Dialect.ORACLE, "begin utl_http.set_wallet('file:/w', 't1ger'); end;"),
]


@pytest.mark.parametrize(("dialect", "statement"), LIKE_WORDS)
def test_no_password_stays_however_it_is_written(dialect: Dialect, statement: str) -> None:
    hidden = remove_passwords(statement, dialect)
    assert SENSITIVE not in hidden
    assert remove_passwords(hidden, dialect) == hidden
    masked = mask(statement, dialect)
    assert SENSITIVE not in masked
    assert mask(masked, dialect) == masked
    for length in range(statement.index(SENSITIVE) + len(SENSITIVE), len(statement)):
        assert SENSITIVE not in remove_passwords(statement[:length], dialect), "in the statement cut off"
        assert SENSITIVE not in mask(statement[:length], dialect), "in the statement cut off"


@pytest.mark.parametrize(
    "statement",
    [
        "SET my.setting TO t1ger",
        'SET my.setting = "t1ger"',
        "SET SESSION my.setting TO a, t1ger",
        "BEGIN; SET my.setting TO t1ger",
        "ALTER DATABASE d SET my.setting TO t1ger",
        "ALTER ROLE ALL IN DATABASE d SET my.setting = t1ger",
        'ALTER SYSTEM SET my.setting = "t1ger"',
        "CREATE FUNCTION f() RETURNS int SET my.setting = t1ger AS 'x' LANGUAGE sql",
    ],
)
def test_values_of_settings_are_masked_as_the_texts_that_they_are(statement: str) -> None:
    assert SENSITIVE not in mask(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "set role app",
        "set session authorization app",
        "set search_path to default",
        "set enable_seqscan = off",
        "set transaction isolation level serializable",
        "alter table t alter column password set default null",
        "alter table t add column password text",
        "alter table t set schema s",
        "update users set password = $1 where a = b",
        "select a from users where password = crypt($1, password)",
        "select password, secret from users u where u.password is null",
        "grant select (password) on users to app",
        "create user app",
        "alter role app password null",
        "alter role app reset my.setting",
    ],
)
def test_names_and_words_that_are_no_values_stay_in_a_masked_statement(statement: str) -> None:
    assert mask(statement) == statement


@pytest.mark.parametrize(
    ("statement", "masked"),
    [
        ("SET GLOBAL x = t1ger", "SET GLOBAL x = ?"),
        ("SET GLOBAL x = `t1ger`, y := t1ger.a-b", "SET GLOBAL x = ?, y := ?"),
        ("SET autocommit = ON, x = DEFAULT, @a = @b", "SET autocommit = ON, x = DEFAULT, @a = @b"),
        ("SET @a = f(b)", "SET @a = f(b)"),
        ("update t set a = b", "update t set a = b"),
    ],
)
def test_words_that_settings_of_mysql_are_set_to_are_masked(statement: str, masked: str) -> None:
    assert mask(statement, Dialect.MYSQL) == masked


@pytest.mark.parametrize(
    ("dialect", "statement"),
    [
        (Dialect.POSTGRESQL, "create subscription s connection 'host=h password='t1ger'"),
        (Dialect.ORACLE, "update t set pwd''t1ger"),
        (Dialect.SQLSERVER, "open key k encrypt using t1ger"),
    ],
)
def test_a_password_that_masking_takes_for_a_name_is_masked_where_it_would_be_removed(
    dialect: Dialect, statement: str
) -> None:
    assert SENSITIVE not in remove_passwords(statement, dialect)
    assert SENSITIVE not in mask(statement, dialect)


@pytest.mark.parametrize(
    ("statement", "hidden"),
    [
        (
            "ALTER ROLE app PASSWORD 'x' VALID UNTIL '2030-01-01'",
            "ALTER ROLE app PASSWORD '********' VALID UNTIL '2030-01-01'",
        ),
        (
            "create subscription s connection 'host=h password=x dbname=d' publication p",
            "create subscription s connection 'host=h password=******** dbname=d' publication p",
        ),
        ("select 'postgresql://u:x@h/d'", "select 'postgresql://u:********@h/d'"),
        ("options (user 'u', password 'x', a 'b')", "options (user 'u', password '********', a 'b')"),
    ],
)
def test_what_stands_around_a_password_stays(statement: str, hidden: str) -> None:
    assert remove_passwords(statement) == hidden


@given(
    st.sampled_from(
        [
            ("alter role app password '{}' createdb", "'"),
            ("alter role app password E'{}' createdb", "E'"),
            ("create subscription s connection 'host=h password=''{}'' user=u'", "conninfo"),
        ]
    ),
    st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=10),
    st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=10),
)
@settings(max_examples=500, deadline=None)
def test_no_password_stays_whatever_its_characters(form: tuple[str, str], before: str, after: str) -> None:
    pattern, quoting = form
    password = f"{before}{SENSITIVE}{after}"
    if quoting != "'":
        password = password.replace("\\", "\\\\")
    password = password.replace("'", "''" if quoting != "conninfo" else "\\''")
    assert SENSITIVE not in remove_passwords(pattern.format(password))


@pytest.mark.parametrize(
    "piece",
    [
        *("password ", "password/*", "password--", "password=''", "password=\\'", "password '", "password$a"),
        *("://a:", "://a://a:b", "password a(", "password $a", "password " + " " * 999, "identified by "),
        *("password=", 'password"', "password''''", "a://a:b@"),
    ],
)
def test_looking_for_passwords_takes_linear_time_whatever_is_repeated(piece: str) -> None:
    # A pattern that backtracks would run for hours here; the time limit of the test run is what would end it.
    remove_passwords("select " + piece * (400_000 // len(piece)))


@pytest.mark.parametrize(
    ("dialect", "statement"),
    [
        (Dialect.MYSQL, "create user a identified by 't1ger'"),
        (Dialect.MYSQL, "create user a identified by 'it\\'t1ger'"),
        (Dialect.MYSQL, 'create user a identified by "x t1ger"'),
        (Dialect.MYSQL, "create user a identified by password '*t1ger'"),
        (Dialect.MYSQL, "create user a identified with mysql_native_password as '*t1ger'"),
        (Dialect.MYSQL, "create user a identified with 'caching_sha2_password' by 't1ger'"),
        (Dialect.MYSQL, "create user a identified with p as 0x74316765722074317367657220t1ger"),
        (Dialect.MYSQL, "alter user a identified via ed25519 using 'x' or p using password('t1ger')"),
        (Dialect.MYSQL, "alter user a identified by 'x' replace 't1ger'"),
        (Dialect.MYSQL, "set password for 'a'@'%' = 't1ger'"),
        (Dialect.MYSQL, "set password for 'a'@'%' = password('t1ger')"),
        (Dialect.MYSQL, "set password = password('t1ger')"),
        (Dialect.MYSQL, "select password('t1ger')"),
        (Dialect.MYSQL, "change master to master_host='h', master_password='t1ger', master_user='u'"),
        (Dialect.MYSQL, "change replication source to source_password = 't1ger'"),
        (Dialect.MYSQL, "start replica user='u' password='t1ger'"),
        (Dialect.MYSQL, "create server s foreign data wrapper mysql options (user 'u', password 't1ger')"),
        (Dialect.SQLSERVER, "create login a with password = N't1ger', check_policy = off"),
        (Dialect.SQLSERVER, "create login a with password = 0x0200t1ger hashed"),
        (Dialect.SQLSERVER, "alter login a with password = 'x' old_password = 't1ger'"),
        (Dialect.SQLSERVER, "open symmetric key k decryption by password = 't1ger'"),
        (Dialect.SQLSERVER, "create symmetric key k with key_source = 't1ger', algorithm = aes_256"),
        (Dialect.SQLSERVER, "create credential c with identity = 'i', secret = 't1ger'"),
        (Dialect.SQLSERVER, "exec sp_addlogin bob, t1ger"),
        (Dialect.SQLSERVER, "exec master..sp_password N'x', N't1ger', 'bob'"),
        (Dialect.SQLSERVER, "exec sp_addlinkedsrvlogin @rmtsrvname = 's', @rmtpassword = 't1ger'"),
        (Dialect.SQLSERVER, "select encryptbypassphrase('t1ger', c) from t"),
        (Dialect.SQLSERVER, "select * from openrowset('p', 's'; 'u'; 't1ger', 'select 1')"),
        (Dialect.ORACLE, "create user a identified by t1ger default tablespace users"),
        (Dialect.ORACLE, 'create user a identified by "x t1ger"'),
        (Dialect.ORACLE, "create user a identified by values 'S:t1ger;T:x'"),
        (Dialect.ORACLE, "alter user a identified by x replace t1ger"),
        (Dialect.ORACLE, "grant connect to a, b identified by x, t1ger"),
        (Dialect.ORACLE, "create database link l connect to u identified by t1ger using 'tns'"),
        (Dialect.ORACLE, "administer key management alter keystore password identified by x set t1ger"),
        (Dialect.ORACLE, "begin execute immediate 'alter user a identified by t1ger'; end;"),
        (Dialect.ORACLE, "begin execute immediate 'alter user a identified by \"t1''t1ger\"'; end;"),
        (Dialect.ORACLE, "begin execute immediate 'create user a identified by values ''t1ger'''; end;"),
        (Dialect.ORACLE, "alter user a identified/* new */by -- new\n t1ger"),
        (
            Dialect.ORACLE,
            "begin dbms_credential.create_credential('c', username => 'u', password => 't1ger'); end;",
        ),
        (Dialect.MONGODB, '{"createUser":"a","pwd":"x\\"t1ger","roles":[]}'),
        (
            Dialect.MONGODB,
            '{"saslContinue":1,"conversationId":1,"payload":{"$binary":{"base64":"t1ger","subType":"00"}}}',
        ),
        (Dialect.MONGODB, '{"saslStart": 1, "payload": "t1ger"}'),
        (Dialect.MONGODB, '{"saslStart": 1, "payload": BinData(0, t1ger)}'),
        (
            Dialect.MONGODB,
            '{"hello":1,"speculativeAuthenticate":{"saslStart":1,"payload":{"$binary":"t1ger"}}}',
        ),
        (Dialect.MONGODB, '{"authenticate":1,"user":"u","nonce":"x","key":"t1ger"}'),
    ],
)
def test_no_password_stays_in_the_forms_of_other_dialects(dialect: Dialect, statement: str) -> None:
    hidden = remove_passwords(statement, dialect)
    assert SENSITIVE not in hidden
    assert "********" in hidden
    assert remove_passwords(hidden, dialect) == hidden
    assert SENSITIVE not in mask(statement, dialect)
    for length in range(statement.index(SENSITIVE) + len(SENSITIVE), len(statement)):
        assert SENSITIVE not in remove_passwords(statement[:length], dialect), "in the statement cut off"


@pytest.mark.parametrize(
    ("dialect", "statement"),
    [
        (Dialect.MYSQL, "select replace(a, 'x', 'y') from t"),
        (Dialect.MYSQL, "create user a identified by random password"),
        (Dialect.MYSQL, "replace into t values ('x')"),
        (Dialect.SQLSERVER, "exec sp_addrolemember 'db_owner', 'bob'"),
        (Dialect.SQLSERVER, "grant execute on sp_addlogin"),
        (Dialect.ORACLE, "create user a identified externally"),
        (Dialect.ORACLE, "select 'x' from t replace"),
        (Dialect.MONGODB, '{"find":"t","filter":{"a":"x"}}'),
    ],
)
def test_a_statement_of_another_dialect_without_a_password_stays_as_it_is(
    dialect: Dialect, statement: str
) -> None:
    assert remove_passwords(statement, dialect) == statement


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize(
    "piece",
    [
        *(
            "password for a",
            "password for =",
            "with a as ",
            "identified by ",
            "identified by a,",
            "replace '",
        ),
        *(
            "sp_addlogin ",
            "sp_addlogin '",
            "key_source='",
            "openrowset('a',",
            '"payload":{',
            '"pwd":{{',
            '"key":',
        ),
        *("identified by ''a", 'identified by "', "set password for a=b("),
    ],
)
def test_looking_for_the_forms_of_a_dialect_takes_linear_time(dialect: Dialect, piece: str) -> None:
    remove_passwords("select payload password " + piece * (200_000 // len(piece)), dialect)


@pytest.mark.parametrize("dialect", [Dialect.POSTGRESQL, Dialect.MYSQL, Dialect.SQLSERVER, Dialect.ORACLE])
@pytest.mark.parametrize(
    "beginning",
    ["create user ", "set password ", "set ", "alter system ", "administer ", "create x ", "begin "],
)
@pytest.mark.parametrize(
    "piece",
    [
        *(
            "password ",
            "password for ",
            "password = ",
            "password default ",
            "password,",
            "secret ",
            "using a.",
        ),
        *(
            "identified by ",
            "identified by password ",
            "encrypt(",
            "aes_encrypt('a',",
            "set ",
            "set a = b ",
            "a.",
        ),
        *(
            "set a.",
            "'identified by '",
            "'password='",
            '"password" ',
            '"pass',
            "passpass",
            "password=f(",
            "(",
        ),
        *("user 'user password ", "://a", "' password ", "password x;", "encrypt using ", "secret = a."),
    ],
)
def test_hiding_words_takes_linear_time_whatever_is_repeated(
    dialect: Dialect, beginning: str, piece: str
) -> None:
    hostile = beginning + "pwd " + piece * (60_000 // len(piece))
    remove_passwords(hostile, dialect)
    mask(hostile, dialect)
