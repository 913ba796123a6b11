"""dbaudit: one API for the audit records of every database."""

__version__ = "0.1.0"
