"""The agent: tests, monitors and collects the monitored databases."""

from dbaudit.agent.marks import Marks
from dbaudit.agent.settings import AgentSettings
from dbaudit.agent.supervisor import Agent

__all__ = ["Agent", "AgentSettings", "Marks"]
