"""What the server reports of itself and of the session."""

from __future__ import annotations

import msgspec

from dbaudit.engines.sqlserver.connection import ServerConnection

_YEARS = {
    9: "2005",
    10: "2008",
    11: "2012",
    12: "2014",
    13: "2016",
    14: "2017",
    15: "2019",
    16: "2022",
    17: "2025",
}
OLDEST_MAJOR, NEWEST_MAJOR = 13, 17
_IN_THE_CLOUD = {
    5: "Azure SQL Database",
    6: "Azure Synapse",
    8: "Azure SQL Managed Instance",
    9: "Azure SQL Edge",
}
_EARLIER_US = 60_000_000

_QUERY = """
    SELECT CONVERT(int, @@SPID) AS session_id, ORIGINAL_LOGIN() AS login, APP_NAME() AS application,
           DB_NAME() AS database_name,
           CONVERT(nvarchar(128), SERVERPROPERTY('ProductVersion')) AS product_version,
           CONVERT(nvarchar(128), SERVERPROPERTY('Edition')) AS edition,
           CONVERT(int, SERVERPROPERTY('EngineEdition')) AS engine_edition,
           CONVERT(bigint, DATEDIFF(second, '20000101', SYSUTCDATETIME())) + 946684800 AS now_seconds
"""


class ServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """``since_us`` is a moment shortly before the session began, by the server's clock."""

    session_id: int
    login: str
    application: str
    database: str
    product_version: str
    edition: str
    engine_edition: int
    since_us: int

    @property
    def major(self) -> int:
        """16 for SQL Server 2022; 0 where the server says nothing of the kind."""
        first = self.product_version.partition(".")[0]
        return int(first) if first.isdigit() else 0

    @property
    def version(self) -> str:
        """As users write it: `Microsoft SQL Server 2022 (16.0.4125)`."""
        number = ".".join(self.product_version.split(".")[:3])
        year = _YEARS.get(self.major)
        return f"Microsoft SQL Server {year} ({number})" if year else f"Microsoft SQL Server ({number})"

    @property
    def cloud(self) -> str | None:
        """The cloud service that it is; None for an installed SQL Server."""
        return _IN_THE_CLOUD.get(self.engine_edition)


def read_facts(connection: ServerConnection) -> ServerFacts:
    """Ask the server."""
    session, login, application, database, version, edition, engine, now_seconds = connection.row(_QUERY)
    return ServerFacts(
        session_id=session,
        login=login,
        application=application or "",
        database=database or "",
        product_version=version or "",
        edition=edition or "",
        engine_edition=engine or 0,
        since_us=now_seconds * 1_000_000 - _EARLIER_US,
    )
