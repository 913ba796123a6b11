"""The state: everything that outlives a process, on SQLite or PostgreSQL."""

from dbaudit.state.store import DEFAULT_LEASE_SECONDS, State, open_state

__all__ = ["DEFAULT_LEASE_SECONDS", "State", "open_state"]
