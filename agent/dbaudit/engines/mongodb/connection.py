"""One connection to one member of a deployment: every wait bounded, nothing taken from the environment."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import pymongo
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient, ReadPreference
from pymongo.errors import PyMongoError
from pymongo.monitoring import (
    ServerHeartbeatFailedEvent,
    ServerHeartbeatListener,
    ServerHeartbeatStartedEvent,
    ServerHeartbeatSucceededEvent,
)

from dbaudit.core.database import SslMode, Target
from dbaudit.core.errors import ConfigurationError, DbauditError, ErrorCode, FieldError
from dbaudit.engine.fields import refuse_nul
from dbaudit.engine.network import wrong_protocol
from dbaudit.engines.mongodb.failures import (
    authentication_failure,
    connection_failure,
    malformed_answer,
    statement_failure,
)
from dbaudit.engines.mongodb.network import check_reachable, other_speaker, place_of, socket_path
from dbaudit.engines.mongodb.tls import tls_options

# At the level DEBUG the driver logs answers, which contain whole statements of other users.
logging.getLogger("pymongo").setLevel(logging.WARNING)

X509 = "MONGODB-X509"
_MALFORMED = (ValueError, TypeError, LookupError, BSONError)
"""What the driver lets through where it cannot read an answer to the log-in."""
_HEARTBEAT_MS = 30_000
_CLOSING_SECONDS = 1.0
_PERHAPS_ANOTHER_PROTOCOL = frozenset(
    {ErrorCode.CONNECTION_TIMEOUT, ErrorCode.TLS_FAILED, ErrorCode.CONNECTION_LOST}
)

Document = dict[str, Any]


class MemberConnection:
    """A logged-in client of one mongod or mongos.

    Its commands raise ConfigurationError or TransientError, and return or raise within
    ``target.statement_timeout_seconds``. Used by one thread at a time.
    """

    def __init__(self, client: MongoClient[Document], target: Target, place: str, files: ExitStack) -> None:
        self._client = client
        self._files = files
        self._raw = client.codec_options.with_options(document_class=RawBSONDocument)
        self.target = target
        self.place = place

    def command(self, command: Mapping[str, Any], database: str = "admin") -> Document:
        """The answer to a command."""
        limited = dict(command, maxTimeMS=max(1, int(self.target.statement_timeout_seconds * 1000)))
        try:
            return self._client[database].command(limited, codec_options=self._client.codec_options)
        except PyMongoError as error:
            raise statement_failure(self.target, self.place, error) from None

    def raw_documents(
        self,
        database: str,
        collection: str,
        where: Mapping[str, Any],
        *,
        newest_first: bool = False,
        limit: int,
    ) -> list[tuple[int, bytes]]:
        """The documents of a collection in the order of its disk, as BSON, each with its record id."""
        try:
            found = self._client[database][collection].with_options(codec_options=self._raw)
            cursor = found.find(
                where,
                sort=[("$natural", -1 if newest_first else 1)],
                show_record_id=True,
                limit=limit,
                max_time_ms=max(1, int(self.target.statement_timeout_seconds * 1000)),
            )
            with cursor:
                return [(int(document["$recordId"]), document.raw) for document in cursor]
        except PyMongoError as error:
            raise statement_failure(self.target, self.place, error) from None

    def aggregate(self, pipeline: Sequence[Mapping[str, Any]]) -> list[Document]:
        """The documents of an aggregation of the database `admin`."""
        limit_ms = max(1, int(self.target.statement_timeout_seconds * 1000))
        try:
            with self._client.admin.aggregate(list(pipeline), maxTimeMS=limit_ms) as cursor:
                return list(cursor)
        except PyMongoError as error:
            raise statement_failure(self.target, self.place, error) from None

    def close(self) -> None:
        """Ends the connections and the driver's threads. Never raises."""
        # The driver ends its sessions on the server first. The time limit is for a server that hangs.
        with self._files, contextlib.suppress(PyMongoError, OSError), pymongo.timeout(_CLOSING_SECONDS):
            self._client.close()


class _FirstAnswer(ServerHeartbeatListener):
    """The first result of the driver's monitor: an answer, or the failure."""

    def __init__(self) -> None:
        self.come = threading.Event()
        self.failure: BaseException | None = None

    def started(self, event: ServerHeartbeatStartedEvent) -> None:
        pass

    def succeeded(self, event: ServerHeartbeatSucceededEvent) -> None:
        self.come.set()

    def failed(self, event: ServerHeartbeatFailedEvent) -> None:
        if not self.come.is_set():
            self.failure = event.reply
            self.come.set()


def connect(target: Target, host: str | None = None, port: int | None = None) -> MemberConnection:
    """Reach a server, the declared one or another member, and log in within
    ``target.connect_timeout_seconds``.

    Raises ConfigurationError or TransientError; no message holds the password.
    """
    host, port = host or target.host, port or target.port
    _refuse_bad_fields(target, host)
    place = place_of(host, port)
    deadline = time.monotonic() + target.connect_timeout_seconds
    check_reachable(host, port, target.connect_timeout_seconds)
    try:
        return _log_in(target, host, port, place, deadline)
    except DbauditError as error:
        if error.code not in _PERHAPS_ANOTHER_PROTOCOL:
            raise
        speaker = other_speaker(host, port, min(1.0, target.connect_timeout_seconds))
        if speaker is None:
            raise
        raise wrong_protocol(place, speaker, "MongoDB") from None


def _log_in(target: Target, host: str, port: int, place: str, deadline: float) -> MemberConnection:
    first = _FirstAnswer()
    files = ExitStack()
    client: MongoClient[Document] | None = None
    try:
        options = _options(target, deadline) | tls_options(target, files)
        address = socket_path(host, port) if host.startswith("/") else _bracketed(host)
        client = MongoClient(address, port, event_listeners=[first], **options)
        if not first.come.wait(max(0.0, deadline - time.monotonic())):
            raise connection_failure(target, place, TimeoutError("timed out"))
        if first.failure is not None:
            raise connection_failure(target, place, first.failure)
        with pymongo.timeout(max(0.001, deadline - time.monotonic())):
            client.admin.command("ping")
            # Without authorization the server accepts commands of every client; a wrong password still fails.
            return MemberConnection(client, target, place, files)
    except BaseException as error:
        if client is not None:
            client.close()
        files.close()
        if isinstance(error, PyMongoError):
            raise _login_failure(target, place, error) from None
        if isinstance(error, _MALFORMED):
            raise malformed_answer(place) from None
        raise


def _login_failure(target: Target, place: str, error: PyMongoError) -> DbauditError:
    if error.timeout:
        return connection_failure(target, place, TimeoutError("timed out"))
    if "Authentication failed" in str(error):
        return authentication_failure(target, place)
    return connection_failure(target, place, error)


def _options(target: Target, deadline: float) -> Document:
    left_ms = max(1, int((deadline - time.monotonic()) * 1000))
    options: Document = {
        "directConnection": True,
        "appname": target.application_name,
        "connectTimeoutMS": left_ms,
        "serverSelectionTimeoutMS": left_ms,
        "socketTimeoutMS": max(1, int(target.statement_timeout_seconds * 1000) + 1000),
        "heartbeatFrequencyMS": _HEARTBEAT_MS,
        "serverMonitoringMode": "poll",
        "maxPoolSize": 1,
        "retryReads": False,
        "read_preference": ReadPreference.SECONDARY_PREFERRED,
        "tz_aware": True,
        "unicode_decode_error_handler": "replace",
    }
    if not target.password and target.ssl_cert and target.ssl_mode is not SslMode.DISABLE:
        return options | {"authMechanism": X509}
    return options | {
        "username": target.username,
        "password": target.password.reveal(),
        "authSource": target.options.get("auth_source") or target.database,
    }


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _refuse_bad_fields(target: Target, host: str) -> None:
    refuse_nul(target, "MongoDB")
    if not host.startswith("/") and any(mark in host for mark in ",/@?%\0"):
        raise ConfigurationError(
            ErrorCode.VALIDATION_FAILED,
            f"host {host!r} is not the name or the address of one server.",
            details=[FieldError("/host", "must be one name or address; not a list and not a URI")],
            remedy="Declare one member of a replica set: the others are found through it.",
        )
