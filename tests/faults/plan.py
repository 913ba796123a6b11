"""How many kill -9 each test does; test_plan.py holds the sum to what is promised."""

STEPS_OF_AGENT_ON_SQLITE = 5
"""Times that the agent is killed at each step of collecting, with the state on SQLite."""
STEPS_OF_AGENT_ON_POSTGRESQL = 3
"""The same with the state on PostgreSQL and a second agent that takes over."""
STEPS_OF_AGENT_ON_MARIADB = 1
"""Times that the agent is killed at each step while it collects MariaDB."""
STEPS_OF_AGENT_ON_MYSQL = 2
"""The same while it collects MySQL."""
STEPS_OF_AGENT_ON_MONGODB = 1
"""The same while it collects MongoDB."""
STEPS_OF_SERVER = 3
"""Times that the monitored server is killed while the agent is held at each step."""
RANDOM_OF_AGENT = 72
RANDOM_OF_SERVER = 12
RANDOM_OF_STATE_SERVER = 8
RANDOM_OF_API = 20
CHILDREN_OF_UP = 6
