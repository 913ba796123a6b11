"""The MongoDB engine: the audit log, the server's structured log and the profiler, of every member."""

from dbaudit.engines.mongodb.engine import MongoDBEngine

__all__ = ["MongoDBEngine"]
