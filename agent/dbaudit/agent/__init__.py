"""The agent: tests, monitors and collects the monitored databases."""

from dbaudit.agent.settings import AgentSettings
from dbaudit.agent.supervisor import Agent

__all__ = ["Agent", "AgentSettings"]
