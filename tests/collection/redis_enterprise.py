"""A stand-in for the REST API of a Redis Enterprise cluster: HTTPS with its own certificate, and HTTP Basic.

No cluster can be had for tests. This one answers as the public documentation says (redis.io, "Redis
Enterprise REST API": requests cluster/auditing-db-conns, cluster/policy, bdbs; security/audit-events), and
where that is silent or differs from what real servers were seen to do (redis/redisctl#1080: `description` and
no `message`), a ``Manner`` chooses among the answers that are possible.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import ssl
import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

SETTINGS = "/v1/cluster/auditing/db_conns"
POLICY = "/v1/cluster/policy"
USERNAME = "admin@example.com"
PASSWORD = "planted-Passwörd:7a1e"
FIELDS = {
    "audit_protocol",
    "audit_address",
    "audit_port",
    "audit_reconnect_interval",
    "audit_reconnect_max_attempts",
}
WORDS = {
    "db_conns_auditing_unsupported_by_capability": "Not all nodes support DB Connections Auditing capability",
    "db_conns_audit_config_not_found": "Unable to find the auditing configuration",
    "cannot_delete_audit_config_when_policy_enabled": (
        "Auditing cluster policy is 'enabled' when trying to delete the auditing configuration"
    ),
    "cannot_delete_audit_config_when_bdb_enabled": (
        "One of the databases has auditing configuration 'enabled' when trying to delete the auditing"
        " configuration"
    ),
    "db_conns_auditing_config_missing": (
        "Unable to enable DB Connections Auditing before feature configurations are set."
    ),
    "db_conns_auditing_missing_config": (
        "TCP audit sink is missing required configuration, such as audit_port"
    ),
    "db_conns_auditing_bad_config": "audit_port must not be provided with a local audit sink",
    "db_conns_auditing_bad_address": "The audit address is not valid for the protocol",
    "invalid_schema": "The request body does not fit its schema",
}


@dataclass(frozen=True)
class Manner:
    """What the documentation leaves open, or what differs between versions.

    ``second_generation``: version 8.2, with the sixth field of the settings. ``words``: the key of an error's
    text. ``unset``: the answer to GET when nothing is set. ``merges``: whether a PUT keeps the rest.
    ``shows_defaults``: whether settings are answered with what they were not given. ``in_use``: the status of
    the two `cannot_delete...` codes.
    """

    second_generation: bool = False
    words: str = "description"
    unset: int = 200
    merges: bool = True
    shows_defaults: bool = True
    in_use: int = 406


class Raw(NamedTuple):
    """An answer in place of the one that was due."""

    status: int
    body: bytes = b""
    content_type: str = "text/html"


class Refusal(Exception):  # noqa: N818
    """A code and the status with which it is answered."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


@dataclass
class Bdb:
    """One database; ``busy`` requests are refused with 409, ``slow`` readings show a change as pending.

    ``early``: a pending change shows its value already.
    """

    uid: int
    name: str
    on: bool = False
    wanted: bool | None = None
    busy: int = 0
    slow: int = 0
    early: bool = False
    pending: int = 0


@dataclass
class RedisEnterprise:
    """One cluster on a free port; ``instead`` holds answers to give in place of those that are due."""

    manner: Manner
    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    policy: bool = False
    capable: bool = True
    bdbs: dict[int, Bdb] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    instead: dict[str, deque[Raw]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.certificate = self.folder / "cluster.pem"
        key = self.folder / "cluster.key"
        _write_self_signed(self.certificate, key)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, key)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._server.server_address[1]}"

    @property
    def changes(self) -> list[str]:
        """The requests that were no readings."""
        return [request for request in self.requests if not request.startswith("GET ")]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> Any:
        """The JSON value of a success, None for an empty body."""
        if path == SETTINGS:
            return {"GET": self._get, "PUT": self._put, "DELETE": self._delete}[method](body)
        if path == POLICY:
            return self._policy(method, body)
        if path == "/v1/bdbs":
            return [self._shown(bdb, query) for bdb in self.bdbs.values()]
        for bdb in self.bdbs.values():
            if path == f"/v1/bdbs/{bdb.uid}":
                return self._bdb(method, bdb, query, body)
        raise Refusal(404, "")

    def _get(self, body: Any) -> dict[str, Any]:
        self._require_capability()
        if not self.config and self.manner.unset != 200:
            raise Refusal(self.manner.unset, "db_conns_audit_config_not_found")
        return self._config_shown()

    def _put(self, body: Any) -> dict[str, Any]:
        self._require_capability()
        allowed = FIELDS | ({"audit_queue_max_bytes"} if self.manner.second_generation else set())
        if not isinstance(body, dict) or not set(body) <= allowed:
            raise Refusal(400, "invalid_schema")
        wanted = {**(self.config if self.manner.merges else {}), **body}
        if wanted.get("audit_protocol") == "local":
            if "audit_port" in body:
                raise Refusal(400, "db_conns_auditing_bad_config")
            wanted.pop("audit_port", None)
            if not str(wanted.get("audit_address", "")).startswith("/"):
                raise Refusal(400, "db_conns_auditing_bad_address")
        elif not {"audit_protocol", "audit_address", "audit_port"} <= set(wanted):
            raise Refusal(400, "db_conns_auditing_missing_config")
        elif "/" in wanted["audit_address"]:
            raise Refusal(400, "db_conns_auditing_bad_address")
        self.config = wanted
        return self._config_shown()

    def _delete(self, body: Any) -> None:
        if not self.config:
            raise Refusal(404, "db_conns_audit_config_not_found")
        if self.policy:
            raise Refusal(self.manner.in_use, "cannot_delete_audit_config_when_policy_enabled")
        if any(bdb.on for bdb in self.bdbs.values()):
            raise Refusal(self.manner.in_use, "cannot_delete_audit_config_when_bdb_enabled")
        self.config = {}

    def _policy(self, method: str, body: Any) -> dict[str, Any] | None:
        if method == "GET":
            return {"db_conns_auditing": self.policy, "default_shards_placement": "dense"}
        if not isinstance(body.get("db_conns_auditing"), bool):
            raise Refusal(400, "invalid_schema")
        self.policy = body["db_conns_auditing"]
        return None

    def _bdb(self, method: str, bdb: Bdb, query: dict[str, list[str]], body: Any) -> dict[str, Any]:
        if method == "PUT":
            if bdb.busy:
                bdb.busy -= 1
                raise Refusal(409, "")
            wanted = body["db_conns_auditing"]
            if not isinstance(wanted, bool):
                raise Refusal(400, "invalid_schema")
            if wanted and not self.config:
                raise Refusal(406, "db_conns_auditing_config_missing")
            bdb.wanted, bdb.pending = wanted, bdb.slow
        return self._shown(bdb, query)

    def _shown(self, bdb: Bdb, query: dict[str, list[str]]) -> dict[str, Any]:
        if bdb.wanted is not None:
            if bdb.pending <= 0:
                bdb.on, bdb.wanted = bdb.wanted, None
            bdb.pending -= 1
        whole = {
            "uid": bdb.uid,
            "name": bdb.name,
            "status": "active" if bdb.wanted is None else "active-change-pending",
            "db_conns_auditing": bdb.on if bdb.wanted is None or not bdb.early else bdb.wanted,
            "memory_size": 107374182,
        }
        wanted = query.get("fields", [",".join(whole)])[0].split(",")
        return {name: whole[name] for name in wanted}

    def _config_shown(self) -> dict[str, Any]:
        if not self.config or not self.manner.shows_defaults:
            return self.config
        defaults: dict[str, Any] = {"audit_reconnect_interval": 1, "audit_reconnect_max_attempts": 0}
        if self.manner.second_generation:
            defaults["audit_queue_max_bytes"] = 524288
        return {**defaults, **self.config}

    def _require_capability(self) -> None:
        if not self.capable:
            raise Refusal(406, "db_conns_auditing_unsupported_by_capability")


def _write_self_signed(certificate: Path, private: Path) -> None:
    """A server's certificate that no authority has signed, as a new cluster makes one."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "cluster.example.com")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


def _handler(cluster: RedisEnterprise) -> type[BaseHTTPRequestHandler]:
    expected = "Basic " + base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

        def handle_request(self) -> None:
            parts = urlsplit(self.path)
            name = f"{self.command} {parts.path}"
            cluster.requests.append(name)
            content = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            waiting = cluster.instead.get(name)
            if waiting:
                return self.give(*waiting.popleft())
            if self.headers.get("Authorization") != expected:
                return self.give(401, b"", "text/html")
            if content and self.headers.get("Content-Type") != "application/json":
                return self.give(400, b"bad header", "text/plain")
            body = json.loads(content) if content else None
            try:
                answer = cluster.answer(self.command, parts.path, parse_qs(parts.query), body)
            except Refusal as refusal:
                told = {"error_code": refusal.code, cluster.manner.words: WORDS.get(refusal.code, "")}
                return self.give(
                    refusal.status, json.dumps(told).encode() if refusal.code else b"", "application/json"
                )
            return self.give(200, b"" if answer is None else json.dumps(answer).encode(), "application/json")

        def give(self, status: int, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_DELETE = handle_request  # noqa: N815

    return Handler
