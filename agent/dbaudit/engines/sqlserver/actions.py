"""What the actions of SQL Server Audit mean.

The server's own names decide (sys.dm_audit_actions); the ids below are for when it does not tell them.
"""

from __future__ import annotations

NAMES = {
    "AL": "ALTER",
    "AUSC": "AUDIT SESSION CHANGED",
    "BCM": "BATCH COMPLETED",
    "BST": "BATCH STARTED",
    "CR": "CREATE",
    "D": "DENY",
    "DBAF": "DATABASE AUTHENTICATION FAILED",
    "DBAS": "DATABASE AUTHENTICATION SUCCEEDED",
    "DL": "DELETE",
    "DR": "DROP",
    "EX": "EXECUTE",
    "G": "GRANT",
    "IN": "INSERT",
    "LGIF": "LOGIN FAILED",
    "LGIS": "LOGIN SUCCEEDED",
    "LGO": "LOGOUT",
    "R": "REVOKE",
    "RCM": "RPC COMPLETED",
    "RST": "RPC STARTED",
    "SL": "SELECT",
    "UP": "UPDATE",
}

LOGINS = frozenset({"LOGIN SUCCEEDED", "DATABASE AUTHENTICATION SUCCEEDED"})
FAILED_LOGINS = frozenset({"LOGIN FAILED", "DATABASE AUTHENTICATION FAILED"})
LOGOUTS = frozenset({"LOGOUT", "DATABASE LOGOUT"})
OF_THEMSELVES = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "EXECUTE"})
"""Actions that are an operation; of all others the statement says more."""
