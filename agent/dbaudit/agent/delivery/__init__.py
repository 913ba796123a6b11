"""Sending connection events to the listener that the `db_conns` settings name."""

from dbaudit.agent.delivery.sender import Sender

__all__ = ["Sender"]
