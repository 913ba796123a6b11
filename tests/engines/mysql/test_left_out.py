"""Records of classes that make no event are counted by their class; what the agent does is not."""

import json
from typing import Any

from dbaudit.engines.mysql.audit_blocks import AuditBlock, decode
from dbaudit.engines.mysql.audit_borders import format_of
from pymysql.constants import COMMAND

from tests.engines.mysql.collecting import Collecting
from tests.servers.mysql import MySQLServer


def left_out(data: bytes) -> dict[str, int]:
    found = format_of(data)
    assert found is not None
    block = AuditBlock(format=found, data=data, head="h", own_user="dbaudit", own_application="dbaudit-agent")
    decoded = decode([block])
    assert decoded.rejected == []
    return dict(decoded.left_out)


def element(number: int, kind: str, event: str, user: str = "app", connection: int = 41, **data: Any) -> str:
    login = {"user": user, "os": "", "ip": "10.0.0.7", "proxy": ""}
    head = {"timestamp": "2025-02-03 10:15:00", "id": number, "class": kind, "event": event}
    return json.dumps({**head, "connection_id": connection, "login": login, **data})


def general(number: int, command: str, **who: Any) -> str:
    data = {"command": command, "sql_command": "", "query": "", "status": 0}
    return element(number, "general", "status", general_data=data, **who)


def test_classes_of_the_json_are_counted_beside_the_events() -> None:
    query = {"command": "Query", "sql_command": "select", "query": "select 1", "status": 0}
    elements = [
        general(0, "Ping"),
        general(1, "Prepare"),
        element(2, "general", "status", general_data=query),
        general(3, "Ping"),
        element(4, "message", "user", message_data={"component": "c", "producer": "p", "message": "m"}),
        element(5, "global_variable", "get", global_variable_data={"name": "sql_mode"}),
        element(6, "connection", "pre_authenticate", connection_data={"status": 0}),
        element(7, "query", "query_nested_start", query_data={"query": "select 2", "status": 0}),
        element(8, "query", "query_start", query_data={"query": "select 3", "status": 0}),
    ]
    data = ("[\n" + ",\n".join(elements) + "\n]\n").encode()
    assert left_out(data) == {
        "general/Ping": 2,
        "general/Prepare": 1,
        "message": 1,
        "global_variable": 1,
        "connection/pre_authenticate": 1,
        "query/query_nested_start": 1,
        "query/query_start": 1,  # no record of the class `general` takes it up
    }
    assert left_out(json.dumps(json.loads(data), indent=2).encode()) == left_out(data)


def test_text_of_a_statement_that_is_told_is_not_left_out() -> None:
    data = {"command": "Query", "sql_command": "select", "query": "select 3", "status": 0}
    elements = [
        element(0, "general", "log", general_data=data),
        element(1, "query", "query_start", query_data={"query": "select 3", "status": 0}),
        element(2, "general", "status", general_data=data),
    ]
    assert left_out(("[\n" + ",\n".join(elements) + "\n]\n").encode()) == {}


def test_what_the_agent_does_is_not_counted() -> None:
    attributes = {"program_name": "dbaudit-agent"}
    log_in = {"status": 0, "db": "", "connection_attributes": attributes}
    elements = [
        element(0, "connection", "connect", user="dbaudit", connection=7, connection_data=log_in),
        general(1, "Ping", user="dbaudit", connection=7),
        general(2, "Ping", user="dbaudit", connection=8),
        general(3, "Ping"),
    ]
    assert left_out(("[\n" + ",\n".join(elements) + "\n]\n").encode()) == {"general/Ping": 2}


def test_classes_of_xml_and_of_perconas_json_are_counted() -> None:
    names = ("Ping", "Ping", "Close stmt")
    old = "".join(
        f'{{"audit_record":{{"name":"{name}","record":"{n}_2025","timestamp":"2025-02-03T10:15:00 UTC",'
        '"command_class":"error","connection_id":"41","status":0,"sqltext":"",'
        '"user":"app[app] @  [10.0.0.7]","host":"","os_user":"","ip":"10.0.0.7","db":""}}\n'
        for n, name in enumerate(names)
    )
    assert left_out(old.encode()) == {"Ping": 2, "Close stmt": 1}
    record = (
        " <AUDIT_RECORD>\n  <TIMESTAMP>2025-02-03T10:15:00</TIMESTAMP>\n  <NAME>{}</NAME>\n"
        "  <CONNECTION_ID>41</CONNECTION_ID>\n  <STATUS>0</STATUS>\n  <USER>app</USER>\n{} </AUDIT_RECORD>\n"
    )
    more = "  <MESSAGE>of a component</MESSAGE>\n"
    filtered = [record.format(name, "") for name in (*names, "Server Startup")]
    data = (
        '<?xml version="1.0" encoding="utf-8"?>\n<AUDIT>\n' + "".join(filtered) + record.format("User", more)
    )
    assert left_out(data.encode()) == {"Ping": 2, "Close stmt": 1, "Server Startup": 1, "User": 1}


def test_commands_without_a_statement_in_the_general_log_of_a_server_are_counted(
    mysql: MySQLServer,
) -> None:
    mysql.create_user("nia", "right", "SELECT ON mysql.*")
    try:
        with Collecting(mysql) as reading:
            connection: Any = mysql.connect("nia", "right")
            try:
                for _each in range(3):
                    connection._execute_command(COMMAND.COM_STATISTICS, "")
                    connection._read_bytes(connection._read_bytes(4)[0])
                with connection.cursor() as cursor:
                    cursor.execute("select 'the last one'")
            finally:
                connection.close()
            reading.until_query("select 'the last one'")
            assert reading.left_out == {"Statistics": 3}
    finally:
        mysql.drop_user("nia")
