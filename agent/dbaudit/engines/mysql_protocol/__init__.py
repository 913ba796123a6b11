"""What the engines `mysql` and `mariadb` share: the protocol of MySQL, the general log, and the grants.

Nothing here is imported before an engine is used: the driver is a dependency of its own.
"""
