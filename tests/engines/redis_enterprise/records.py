"""Notifications as the vendor's documentation prints them: of both generations, byte for byte."""

from typing import Any

import msgspec

NEW_CONN = (
    b'{"ts":1655821384,"new_conn":{"id":2285001002,"srcip":"127.0.0.1","srcp":"39338","trgip":"127.0.0.1",'
    b'"trgp":"12635","hname":"","bdb_name":"DB1","bdb_uid":"5"}}'
)
AUTH = (
    b'{"ts":1655821384,"action":"auth","id":2285001002,"srcip":"127.0.0.1","srcp":"39338",'
    b'"trgip":"127.0.0.1","trgp":"12635","hname":"","bdb_name":"DB1","bdb_uid":"5","status":2,'
    b'"username":"user_one","identity":"user:1","acl-rules":"~* +@all"}'
)
CLOSE_CONN = (
    b'{"ts":1655821384,"close_conn":{"id":2285001002,"srcip":"127.0.0.1","srcp":"39338",'
    b'"trgip":"127.0.0.1","trgp":"12635","hname":"","bdb_name":"DB1","bdb_uid":"5"}}'
)
FIRST_GENERATION = (NEW_CONN, AUTH, CLOSE_CONN)

NEW_CONN_82 = (
    b'{"ts":1779874366,"new_conn":{"id":13001000,"srcip":"127.0.0.1","srcp":"46252","trgip":"127.0.0.1",'
    b'"trgp":"12000","bdb_name":"D1","bdb_uid":"1"},"audit_worker_id":0,"audit_seq":0}'
)
AUTH_82 = (
    b'{"ts":1779874366,"action":"auth","id":13001000,"srcip":"127.0.0.1","srcp":"46252",'
    b'"trgip":"127.0.0.1","trgp":"12000","bdb_name":"D1","bdb_uid":"1","status":2,"username":"default",'
    b'"identity":"user:default","acl-rules":"allkeys +@all allchannels","audit_worker_id":0,"audit_seq":1}'
)
GET_82 = (
    b'{"ts":1779874374,"action":"command","id":13001000,"srcip":"127.0.0.1","srcp":"46252",'
    b'"trgip":"127.0.0.1","trgp":"12000","bdb_name":"D1","bdb_uid":"1","status":9,"command":"get",'
    b'"keys":["myKey"],"full_key_size_bytes":3,"captured_key_size_bytes":3,"total_keys_count":1,'
    b'"key_truncated":false,"affected_count":null,"audit_worker_id":0,"audit_seq":3}'
)
FAILED_SET_82 = (
    b'{"ts":1779874378,"action":"command","id":13001000,"srcip":"127.0.0.1","srcp":"46252",'
    b'"trgip":"127.0.0.1","trgp":"12000","bdb_name":"D1","bdb_uid":"1","status":10,"command":"set",'
    b'"keys":[],"full_key_size_bytes":0,"captured_key_size_bytes":0,"total_keys_count":0,'
    b'"key_truncated":false,"affected_count":null,"error":"ERR wrong number of arguments for \'set\' '
    b'command","error_truncated":false,"audit_worker_id":0,"audit_seq":4}'
)
CLOSE_CONN_82 = (
    b'{"ts":1779874380,"close_conn":{"id":13001000,"srcip":"127.0.0.1","srcp":"46252",'
    b'"trgip":"127.0.0.1","trgp":"12000","bdb_name":"D1","bdb_uid":"1"},"audit_worker_id":0,"audit_seq":5}'
)
SECOND_GENERATION = (NEW_CONN_82, AUTH_82, GET_82, FAILED_SET_82, CLOSE_CONN_82)

EVERY_RECORD = FIRST_GENERATION + SECOND_GENERATION


def changed(record: bytes, **fields: Any) -> bytes:
    """A record with other fields on its outer level; None takes one away."""
    values = msgspec.json.decode(record) | fields
    return msgspec.json.encode({name: value for name, value in values.items() if value is not None})


def numbered(number: int, worker: int = 0) -> bytes:
    """A record of a worker with the sequence number ``number``."""
    return changed(GET_82, audit_worker_id=worker, audit_seq=number)


def marked(number: int) -> bytes:
    """A record of the first generation that is known by its connection id; a thousand come a second."""
    return changed(AUTH, id=number, ts=1655821384 + number // 1000)
