"""The classes of operations: one vocabulary over all engines.

The classes are those of pgaudit, which has the largest published list of what belongs to which.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache

from dbaudit.core.dialects.names import Dialect


class CommandClass(StrEnum):
    """What kind of operation a statement is, the most consequential kind first."""

    ROLE = "ROLE"
    """Users, log-ins, roles, their passwords and permissions, and acting as somebody else."""
    DDL = "DDL"
    """Everything else that creates, changes or drops an object."""
    WRITE = "WRITE"
    """Rows are changed."""
    FUNCTION = "FUNCTION"
    """Code is run: a procedure, an anonymous block, a text that is built when it is run."""
    READ = "READ"
    MISC = "MISC"
    """Everything else: transactions, settings, maintenance."""


RANKS = {command_class: rank for rank, command_class in enumerate(CommandClass)}
"""0 for the most consequential class."""

_READ, _WRITE, _DDL = CommandClass.READ, CommandClass.WRITE, CommandClass.DDL
_ROLE, _FUNCTION, _MISC = CommandClass.ROLE, CommandClass.FUNCTION, CommandClass.MISC

_ON_A_KIND = frozenset({"CREATE", "ALTER", "DROP", "RENAME"})
_KINDS_OF_ROLES = frozenset(
    {
        *("USER", "ROLE", "GROUP", "LOGIN", "PROFILE", "USER MAPPING", "DEFAULT PRIVILEGES"),
        *("SERVER ROLE", "APPLICATION ROLE", "AUTHORIZATION"),
    }
)

# By the whole operation, or by its first word.
_COMMON = {
    **dict.fromkeys(("SELECT", "VALUES", "TABLE", "READ"), _READ),
    **dict.fromkeys(
        ("INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "UPSERT", "TRUNCATE", "WRITE"), _WRITE
    ),
    **dict.fromkeys(("CALL", "DO", "EXECUTE IMMEDIATE"), _FUNCTION),
    **dict.fromkeys(("CREATE", "ALTER", "DROP", "RENAME", "COMMENT", "SELECT INTO"), _DDL),
    **dict.fromkeys(("GRANT", "REVOKE", "SET ROLE", "SET DEFAULT ROLE", "SET PASSWORD"), _ROLE),
}
# The commands of clients, the names of the audit log, and the kinds of operation that the profiler has.
_OF_MONGODB = {
    **dict.fromkeys(
        (
            *("find", "aggregate", "count", "distinct", "getMore", "getmore", "mapReduce", "mapreduce"),
            *("geoNear", "geoSearch", "group", "query", "explain", "listCollections", "listIndexes"),
            *("listDatabases", "dbStats", "collStats", "dbHash", "dataSize", "listSearchIndexes", "validate"),
            *("usersInfo", "rolesInfo", "parallelCollectionScan"),
        ),
        _READ,
    ),
    **dict.fromkeys(
        (
            *("insert", "update", "delete", "remove", "findAndModify", "findandmodify", "bulkWrite"),
            *("applyOps", "commitTransaction", "abortTransaction"),
        ),
        _WRITE,
    ),
    **dict.fromkeys(
        (
            *("create", "drop", "dropDatabase", "createIndexes", "dropIndexes", "deleteIndexes", "collMod"),
            *("renameCollection", "convertToCapped", "cloneCollectionAsCapped", "reIndex", "compact"),
            *("createSearchIndexes", "dropSearchIndex", "updateSearchIndex", "shardCollection"),
            *("reshardCollection", "unshardCollection", "enableSharding", "refineCollectionShardKey"),
            *("movePrimary", "moveCollection", "createCollection", "createDatabase", "createIndex"),
            *("dropCollection", "dropIndex", "createView", "dropView", "importCollection", "addShard"),
            *("removeShard",),
        ),
        _DDL,
    ),
    **dict.fromkeys(
        (
            *("createUser", "updateUser", "dropUser", "dropAllUsersFromDatabase", "grantRolesToUser"),
            *("revokeRolesFromUser", "createRole", "updateRole", "dropRole", "dropAllRolesFromDatabase"),
            *("grantRolesToRole", "revokeRolesFromRole", "grantPrivilegesToRole", "revokePrivilegesFromRole"),
            *("dropPrivilegesToRole", "directAuthMutation", "_mergeAuthzCollections"),
        ),
        _ROLE,
    ),
}
_OF_DIALECT: dict[Dialect, dict[str, CommandClass]] = {
    Dialect.POSTGRESQL: {
        **dict.fromkeys(("DECLARE",), _READ),
        **dict.fromkeys(("COPY",), _WRITE),
        **dict.fromkeys(("REFRESH", "SECURITY", "IMPORT", "CLUSTER"), _DDL),
        **dict.fromkeys(("CREATE_REPLICATION_SLOT", "DROP_REPLICATION_SLOT", "ALTER_REPLICATION_SLOT"), _DDL),
        **dict.fromkeys(("BASE_BACKUP", "START_REPLICATION"), _READ),
        **dict.fromkeys(("SET SESSION AUTHORIZATION", "RESET ROLE", "RESET SESSION AUTHORIZATION"), _ROLE),
    },
    Dialect.MYSQL: {
        **dict.fromkeys(("HANDLER",), _READ),
        **dict.fromkeys(("LOAD", "LOAD DATA", "LOAD XML"), _WRITE),
        **dict.fromkeys(("LOAD INDEX",), _MISC),
        **dict.fromkeys(("INSTALL", "UNINSTALL", "IMPORT"), _DDL),
    },
    Dialect.SQLSERVER: {
        **dict.fromkeys(("READTEXT",), _READ),
        **dict.fromkeys(("BULK INSERT", "BULK", "WRITETEXT", "UPDATETEXT"), _WRITE),
        **dict.fromkeys(("UPDATE STATISTICS",), _MISC),
        **dict.fromkeys(("EXECUTE", "EXEC"), _FUNCTION),
        **dict.fromkeys(("ENABLE", "DISABLE", "ADD"), _DDL),
        **dict.fromkeys(("DENY", "EXECUTE AS", "SETUSER", "REVERT"), _ROLE),
    },
    Dialect.ORACLE: {
        **dict.fromkeys(("EXECUTE", "PL/SQL", "BEGIN", "DECLARE"), _FUNCTION),
        **dict.fromkeys(("PURGE", "FLASHBACK", "ANALYZE", "ASSOCIATE", "DISASSOCIATE", "ADMINISTER"), _DDL),
        **dict.fromkeys(("ALTER SESSION",), _MISC),
        **dict.fromkeys(("CHANGE PASSWORD", "PASSWORD", "PROXY AUTHENTICATION ONLY"), _ROLE),
    },
    Dialect.MONGODB: _OF_MONGODB,
}

_ROLE_PROCEDURES = frozenset(
    {
        *("SP_ADDLOGIN", "SP_DROPLOGIN", "SP_GRANTLOGIN", "SP_REVOKELOGIN", "SP_DENYLOGIN", "SP_PASSWORD"),
        *("SP_ADDUSER", "SP_DROPUSER", "SP_GRANTDBACCESS", "SP_REVOKEDBACCESS", "SP_CHANGE_USERS_LOGIN"),
        *(
            "SP_ADDROLE",
            "SP_DROPROLE",
            "SP_ADDROLEMEMBER",
            "SP_DROPROLEMEMBER",
            "SP_ADDGROUP",
            "SP_DROPGROUP",
        ),
        *("SP_ADDSRVROLEMEMBER", "SP_DROPSRVROLEMEMBER", "SP_CHANGEGROUP", "SP_ADDALIAS", "SP_DROPALIAS"),
        *("SP_ADDAPPROLE", "SP_DROPAPPROLE", "SP_APPROLEPASSWORD", "SP_SETAPPROLE", "SP_UNSETAPPROLE"),
        *("SP_CHANGEDBOWNER", "SP_CHANGEOBJECTOWNER", "SP_DEFAULTDB", "SP_DEFAULTLANGUAGE"),
        *("SP_ADDLINKEDSRVLOGIN", "SP_DROPLINKEDSRVLOGIN", "SP_ADDREMOTELOGIN", "SP_DROPREMOTELOGIN"),
        *("SP_XP_CMDSHELL_PROXY_ACCOUNT", "XP_GRANTLOGIN", "XP_REVOKELOGIN"),
    }
)


@lru_cache(maxsize=2000)
def class_of(operation: str | None, dialect: Dialect) -> CommandClass:
    """The class of an operation that a record names, or that ``operation_of`` found; MISC if it is unknown.

    >>> class_of("CREATE LOGIN", Dialect.SQLSERVER), class_of("TRUNCATE TABLE", Dialect.ORACLE)
    (<CommandClass.ROLE: 'ROLE'>, <CommandClass.WRITE: 'WRITE'>)
    """
    if not operation:
        return _MISC
    first, _blank, kind = operation.partition(" ")
    own = _OF_DIALECT[dialect]
    known = own.get(operation) or _COMMON.get(operation)
    if known is None and first in _ON_A_KIND and kind in _KINDS_OF_ROLES:
        known = _ROLE
    return known or own.get(first) or _COMMON.get(first) or _MISC


def class_of_procedure(name: str, dialect: Dialect) -> CommandClass:
    """The class of a call of the procedure ``name``, in capitals and without its schema."""
    if dialect is Dialect.SQLSERVER and name in _ROLE_PROCEDURES:
        return _ROLE
    return _FUNCTION
