"""The Redis Enterprise engine: it listens for the db_conns notifications that a cluster sends."""

from dbaudit.engines.redis_enterprise.engine import RedisEnterpriseEngine

__all__ = ["RedisEnterpriseEngine"]
