"""Records of the audit log as the sources of their writers make them, and what becomes of them."""

import json
from typing import Any

from dbaudit.core.event import AuditEvent
from dbaudit.engine.base import Decoded
from dbaudit.engines.mongodb.decoding import decode
from dbaudit.engines.mongodb.records import Context, FileBlock

CLIENT = {"ip": "10.0.0.9", "port": 40112}


def mongo(action: str, param: Any, result: int = 0, users: Any = None) -> dict[str, Any]:
    """A record of the schema `mongo`."""
    return {
        "atype": action,
        "ts": {"$date": "2025-02-03T10:15:00.123+00:00"},
        "uuid": {"$binary": "3q2+7wAAQACAAAAAAAAAAQ==", "$type": "04"},
        "local": {"ip": "10.0.0.5", "port": 27017},
        "remote": CLIENT,
        "users": [{"user": "root", "db": "admin"}] if users is None else users,
        "roles": [],
        "param": param,
        "result": result,
    }


def ocsf(class_uid: int, activity: int, **more: Any) -> dict[str, Any]:
    """A record of the schema `OCSF`, by `admin.root`."""
    return {
        "activity_id": activity,
        "category_uid": class_uid // 1000,
        "class_uid": class_uid,
        "time": 1710715316123,
        "severity_id": 1,
        "type_uid": class_uid * 100 + activity,
        "metadata": {"correlation_uid": "20ec4769-984d-445c-aea7-da0429da9122", "product": "MongoDB Server"},
        "actor": {"user": {"type_id": 1, "name": "admin.root", "groups": [{"name": "admin.root"}]}},
        **more,
    }


def decoded(*records: dict[str, Any] | bytes, **context: Any) -> Decoded:
    """What records become; none of them may be put aside."""
    lines = [record if isinstance(record, bytes) else json.dumps(record).encode() for record in records]
    block = FileBlock(
        context=Context(**context), audit=True, source="audit", offset=0, data=b"\n".join(lines) + b"\n"
    )
    found = decode([block])
    assert found.rejected == []
    return found


def audited(*records: dict[str, Any] | bytes, **context: Any) -> list[AuditEvent]:
    """The events of records; none of them may be put aside."""
    return decoded(*records, **context).events


def audited_one(record: dict[str, Any] | bytes, **context: Any) -> AuditEvent:
    (event,) = audited(record, **context)
    return event
