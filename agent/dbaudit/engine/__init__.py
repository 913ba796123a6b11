"""The plugin API: everything that the author of an engine plugin needs, in one import.

A plugin is a distribution with an entry point in the group ``dbaudit`` that names a module (or object) with
the hook ``dbaudit_engines``::

    from dbaudit.engine import Engine, hookimpl

    class RedisEngine(Engine):
        type = "redis"
        ...

    @hookimpl
    def dbaudit_engines():
        yield RedisEngine()
"""

from dbaudit.core import typed
from dbaudit.core.database import SslMode, Target
from dbaudit.core.errors import ConfigurationError, ErrorCode, PluginError, RecordError, TransientError
from dbaudit.core.event import AuditEvent, EventType, Outcome, Rejected, Severity, gap
from dbaudit.core.operations import CommandClass, add_operations, class_of, classify, operation_of
from dbaudit.core.report import (
    CheckStatus,
    Diagnosis,
    DiagnosisStatus,
    Health,
    TestReport,
    judge_disk,
    judge_latency,
)
from dbaudit.core.secret import Secret
from dbaudit.core.statements import Dialect
from dbaudit.engine.base import (
    API_VERSION,
    Capability,
    Chunk,
    Cursor,
    Decoded,
    DriverStatus,
    Engine,
    Session,
)
from dbaudit.engine.hookspecs import hookimpl

__all__ = [
    "API_VERSION",
    "AuditEvent",
    "Capability",
    "CheckStatus",
    "Chunk",
    "CommandClass",
    "ConfigurationError",
    "Cursor",
    "Decoded",
    "Diagnosis",
    "DiagnosisStatus",
    "Dialect",
    "DriverStatus",
    "Engine",
    "ErrorCode",
    "EventType",
    "Health",
    "Outcome",
    "PluginError",
    "RecordError",
    "Rejected",
    "Secret",
    "Session",
    "Severity",
    "SslMode",
    "Target",
    "TestReport",
    "TransientError",
    "add_operations",
    "class_of",
    "classify",
    "gap",
    "hookimpl",
    "judge_disk",
    "judge_latency",
    "operation_of",
    "typed",
]
