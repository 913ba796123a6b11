"""Real database servers for the tests and the demonstration.

They are fetched once, and run as an unprivileged user on free loopback ports.
"""
