"""The ODBC drivers of this host, and which of them a target wants."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path

import msgspec
import pyodbc

from dbaudit.core.database import SslMode, Target
from dbaudit.core.errors import ConfigurationError, ErrorCode, FieldError
from dbaudit.engine.host_access import driver
from dbaudit.engines.sqlserver.options import Options

# A pooled connection would keep the session, the user and the TLS settings of another declaration.
pyodbc.pooling = False

_MICROSOFT = re.compile(r"ODBC Driver (\d+) for SQL Server\Z")


class Family(Enum):
    """The maker of a driver: the keywords in the connection string differ."""

    MICROSOFT = "Microsoft's ODBC driver"
    FREETDS = "FreeTDS"


class OdbcDriver(msgspec.Struct, frozen=True):
    """A driver as the connection string names it."""

    name: str
    family: Family


def driver_for(target: Target, options: Options) -> OdbcDriver:
    """The driver that is named by the options, or the best one for what ``target`` asks of TLS.

    Raises ConfigurationError if there is no driver, or none that can do this.
    """
    if options.odbc_driver is not None:
        return _able(target, _named(driver(options.odbc_driver, target.limits)))
    found = _installed()
    if not found:
        raise ConfigurationError(
            ErrorCode.DRIVER_MISSING,
            "The agent's host has no ODBC driver for SQL Server.",
            remedy=(
                "apt-get install unixodbc tdsodbc -- or install Microsoft's package msodbcsql18; a driver "
                "elsewhere is named by the option odbc_driver"
            ),
        )
    wanted = Family.FREETDS if only_freetds_can(target) else Family.MICROSOFT
    return _able(target, next((driver for driver in found if driver.family is wanted), found[0]))


def only_freetds_can(target: Target) -> str | None:
    """What ``target`` asks of TLS that Microsoft's driver cannot do; None where it can do everything."""
    if target.ssl_mode is SslMode.VERIFY_CA:
        return "check the certificate's authority and not its name (ssl_mode verify-ca)"
    if target.ssl_mode is SslMode.VERIFY_FULL and target.ssl_ca:
        return "trust a certificate that is given to it (ssl_ca): it knows only the authorities of its host"
    return None


def _able(target: Target, driver: OdbcDriver) -> OdbcDriver:
    impossible = only_freetds_can(target)
    if driver.family is Family.FREETDS or impossible is None:
        return driver
    raise ConfigurationError(
        ErrorCode.TLS_FAILED,
        f"{Family.MICROSOFT.value} cannot {impossible}.",
        details=[FieldError("/ssl_mode", "is not possible with Microsoft's driver")],
        remedy=(
            "apt-get install tdsodbc -- FreeTDS can; or make the authority known to the agent's host "
            "(update-ca-certificates), leave ssl_ca out and set ssl_mode to verify-full"
        ),
    )


def _installed() -> list[OdbcDriver]:
    """Microsoft's drivers, newest first, then FreeTDS."""
    names = pyodbc.drivers()
    versions = sorted(
        ((int(match[1]), name) for name in names if (match := _MICROSOFT.match(name))), reverse=True
    )
    microsoft = [OdbcDriver(name, Family.MICROSOFT) for _version, name in versions]
    return [*microsoft, *(OdbcDriver(name, Family.FREETDS) for name in names if "freetds" in name.lower())]


def _named(name: str) -> OdbcDriver:
    if name.startswith("/"):
        if not Path(name).is_file():
            raise _unusable(name, f"there is no file {name}")
        family = Family.FREETDS if "tdsodbc" in Path(name).name.lower() else Family.MICROSOFT
        return OdbcDriver(name, family)
    if name not in pyodbc.drivers():
        there = ", ".join(pyodbc.drivers()) or "none"
        raise _unusable(name, f"odbcinst.ini has no driver {name!r}; it has: {there}")
    return OdbcDriver(name, Family.FREETDS if "freetds" in name.lower() else Family.MICROSOFT)


def _unusable(name: str, reason: str) -> ConfigurationError:
    return ConfigurationError(
        ErrorCode.DRIVER_MISSING,
        f"The ODBC driver {name!r} cannot be used: {reason}.",
        details=[FieldError("/audit_options/engine/odbc_driver", reason)],
        remedy="Correct the option odbc_driver, or leave it out; odbcinst -q -d lists the drivers.",
    )
