"""Redis for dbaudit: every command, from the slow log of a server with slowlog-log-slower-than 0."""

import contextlib
import platform
import socket
import ssl
import statistics
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar

import msgspec
from dbaudit.engine import (
    AuditEvent,
    Capability,
    CheckStatus,
    Chunk,
    CommandClass,
    ConfigurationError,
    Cursor,
    Decoded,
    Diagnosis,
    DiagnosisStatus,
    Dialect,
    DriverStatus,
    Engine,
    ErrorCode,
    EventType,
    Health,
    Rejected,
    Session,
    Target,
    TestReport,
    TransientError,
    gap,
    hookimpl,
    judge_latency,
    typed,
)
from dbaudit.engine.certificates import client_context


class RedisEngine(Engine):
    """Redis 6 and 7 by SLOWLOG GET: the last commands, numbered, in the server's memory."""

    type = "redis"
    display_name = "Redis"
    default_port = 6379
    supported_versions = ("6.2", "7.0", "7.2", "7.4")
    capabilities = frozenset({Capability.QUERIES, Capability.CLIENT_CERTIFICATES})
    dialect = Dialect.POSTGRESQL  # arguments are quoted as in SQL, so that they can be masked
    options_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "ignored_commands": {
                "type": "array",
                "items": {"type": "string"},
                "default": [],
                "description": "Commands that are not reported, in upper case, such as `PING`.",
            }
        },
    }

    def driver_status(self) -> DriverStatus:
        return DriverStatus("Python's own sockets", version=platform.python_version())

    def open(self, target: Target) -> Session:
        return RedisSession(target)

    def decode(self, records: Sequence[Any]) -> Decoded:
        decoded = Decoded([], [])
        for run, entry in records:
            try:
                decoded.events.append(_event(run, typed.convert(entry, Entry)))
            except ValueError as error:  # msgspec.ValidationError is one
                raw = repr(entry).encode()
                position = f"{run}:{zlib.crc32(raw):08x}"
                decoded.rejected.append(Rejected(position, raw, f"not an entry: {type(error).__name__}"))
        return decoded


@hookimpl
def dbaudit_engines() -> Iterator[Engine]:
    yield RedisEngine()


CLASSES = {
    **dict.fromkeys(("GET", "MGET", "HGET", "HGETALL", "LRANGE", "SCAN", "KEYS"), CommandClass.READ),
    **dict.fromkeys(
        ("SET", "MSET", "HSET", "DEL", "UNLINK", "INCR", "LPUSH", "FLUSHALL"), CommandClass.WRITE
    ),
    **dict.fromkeys(("EVAL", "EVALSHA", "FCALL"), CommandClass.FUNCTION),
    "ACL": CommandClass.ROLE,
}


class Entry(msgspec.Struct, array_like=True):
    """An entry of the slow log, as the server sends it."""

    number: Annotated[int, msgspec.Meta(ge=0)]
    second: Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799)]  # the year 9999
    duration_us: Annotated[int, msgspec.Meta(ge=0)]
    words: Annotated[list[bytes], msgspec.Meta(min_length=1)]
    address: bytes
    client_name: bytes


def _event(run: str, entry: Entry) -> AuditEvent:
    command, *arguments = [word.decode("utf-8", "replace") for word in entry.words]
    host, _colon, port = entry.address.decode().rpartition(":")
    return AuditEvent(
        key=f"{run}:{entry.number}",
        type=EventType.QUERY,
        time_us=entry.second * 1_000_000,
        source_ip=host.strip("[]") or None,
        source_port=int(port),
        application=entry.client_name.decode("utf-8", "replace") or None,
        operation=command.upper(),
        command_class=CLASSES.get(command.upper(), CommandClass.MISC),
        query=" ".join([command, *("'" + word.replace("'", "''") + "'" for word in arguments)]),
        duration_ms=entry.duration_us / 1000,
    )


class RedisSession(Session):
    """Asks for the entries that are newer than the cursor, which is (run of the server, number)."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._connection = Connection(target)
        self._server: dict[str, str] = {}

    def close(self) -> None:
        self._connection.close()

    def read(self, cursor: Cursor | None, limit_bytes: int) -> Chunk:
        run = self._about()["run_id"]
        if cursor is None:
            newest = self._entries(1)
            return Chunk(records=[], cursor=_cursor(run, newest[0][0] + 1 if newest else 0))
        following = _following(cursor)
        lost = None
        if cursor["run"] != run:
            lost = gap(f"{run}:restart", _now_us(), "The server was restarted, which empties its slow log.")
            following = 0
        entries = self._entries_from(following)
        if entries and entries[0][0] > following:
            number = entries[0][0] - following
            reason = f"The slow log was too short for {number} commands; set slowlog-max-len higher."
            lost = lost or gap(f"{run}:{following}", entries[0][1] * 1_000_000, reason, lost_records=number)
        records: list[Any] = []
        size = 0
        for entry in entries:
            if records and size >= limit_bytes:
                break
            following = entry[0] + 1
            size += sum(map(len, entry[3]))
            if not self._is_left_out(entry):
                records.append((run, entry))
        return Chunk(
            records=records,
            cursor=_cursor(run, following),
            gaps=(lost,) if lost else (),
            more=bool(entries) and entries[-1][0] >= following,
        )

    def _entries_from(self, number: int) -> list[Any]:
        """The server gives the newest ones only, so ask for more and more."""
        wanted = 64
        while len(entries := self._entries(wanted)) == wanted and entries[-1][0] > number:
            wanted *= 4
        return [entry for entry in reversed(entries) if entry[0] >= number]

    def _entries(self, wanted: int) -> list[Any]:
        return list(self._connection.ask("SLOWLOG", "GET", wanted))

    def _is_left_out(self, entry: Any) -> bool:
        command = entry[3][0].decode("utf-8", "replace").upper()
        # Anyone can call himself what the agent does, so only what the agent does is left out.
        own = entry[5].decode("utf-8", "replace") == self._target.application_name and command in OWN_COMMANDS
        return own or command in self._target.options.get("ignored_commands", ())

    def _about(self) -> dict[str, str]:
        """What the server says of itself; it stays so for as long as the connection."""
        if not self._server:
            lines = self._connection.ask("INFO", "server").decode("utf-8", "replace").splitlines()
            self._server = dict(line.split(":", 1) for line in lines if ":" in line)
        return self._server

    def test(self) -> TestReport:
        tried = {right: self._may(*command) for right, command in RIGHTS.items()}
        user = self._target.username
        diagnoses = [
            Diagnosis(f"permission_{right}", DiagnosisStatus.OK, f"The user may run {right}.")
            if may
            else Diagnosis(
                f"permission_{right}",
                DiagnosisStatus.FAILED,
                f"The user {user} may not run {right}.",
                f"ACL SETUSER {user} +{right}",
            )
            for right, may in tried.items()
        ]
        diagnoses.append(self._records_everything() if tried["slowlog|get"] else _SKIPPED)
        return TestReport(
            reachable=True,
            success=all(tried.values()),
            latency_ms=self._latency_ms() if tried["ping"] else None,
            version=f"Redis {self._about()['redis_version']}" if tried["info"] else None,
            permissions=tried,
            diagnoses=tuple(diagnoses),
            audit_source="the slow log",
        )

    def _may(self, *command: str | int) -> bool:
        try:
            self._connection.ask(*command)
        except ConfigurationError as error:
            if error.code is ErrorCode.PERMISSION_MISSING:
                return False
            raise
        return True

    def _records_everything(self) -> Diagnosis:
        self._entries(1)
        newest = self._entries(1)  # in which the question before it has to stand
        if newest and newest[0][3][:2] == [b"SLOWLOG", b"GET"]:
            return Diagnosis("slow_log", DiagnosisStatus.OK, "The slow log records every command.")
        return Diagnosis(
            "slow_log",
            DiagnosisStatus.WARNING,
            "The slow log records slow commands only.",
            "CONFIG SET slowlog-log-slower-than 0",
        )

    def health(self) -> Health:
        latency_ms = self._latency_ms()
        return Health(
            connectivity=CheckStatus.HEALTHY,
            latency=judge_latency(latency_ms),
            latency_ms=latency_ms,
            measured_at_us=_now_us(),
        )

    def _latency_ms(self) -> float:
        def once() -> float:
            start = time.perf_counter()
            self._connection.ask("PING")
            return (time.perf_counter() - start) * 1000

        return statistics.median(once() for _each in range(3))


OWN_COMMANDS = frozenset({"PING", "INFO", "SLOWLOG", "CLIENT"})
RIGHTS = {
    "ping": ("PING",),
    "info": ("INFO", "server"),
    "slowlog|get": ("SLOWLOG", "GET", 1),
    "client|setname": ("CLIENT", "SETNAME", "dbaudit"),
}
_SKIPPED = Diagnosis("slow_log", DiagnosisStatus.SKIPPED, "The right slowlog|get is missing.")


def _now_us() -> int:
    return time.time_ns() // 1000


def _cursor(run: str, following: int) -> Cursor:
    return {"v": 1, "run": run, "following": following}


def _following(cursor: Cursor) -> int:
    match cursor:
        case {"v": 1, "run": str(), "following": int(following)} if following >= 0:
            return following
    raise ConfigurationError(ErrorCode.CURSOR_INVALID, "The stored cursor is not one of this engine's.")


class Connection:
    """A connection that is logged in, over TLS as the target wants it; every wait is bounded."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._silence = ErrorCode.CONNECTION_TIMEOUT
        context = client_context(target)
        deadline = time.monotonic() + target.connect_timeout_seconds
        with self._failures():
            self._socket = socket.create_connection(
                (target.host, target.port), target.connect_timeout_seconds
            )
        try:
            with self._failures():
                if context is not None:
                    self._socket = context.wrap_socket(self._socket, server_hostname=target.host)
                self._socket.settimeout(max(0.1, deadline - time.monotonic()))
            self._answers = self._socket.makefile("rb")
            self.ask("AUTH", target.username, target.password.reveal())
            self._socket.settimeout(target.statement_timeout_seconds)
            self._silence = ErrorCode.STATEMENT_TIMEOUT
            # Without that right the agent's own commands are reported, which test() tells.
            with contextlib.suppress(ConfigurationError):
                self.ask("CLIENT", "SETNAME", target.application_name)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def ask(self, *words: str | int) -> Any:
        """Send a command and return its answer: bytes, a number, None, or a list of these."""
        encoded = [str(word).encode() for word in words]
        command = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
        with self._failures():
            self._socket.sendall(b"*%d\r\n%s" % (len(encoded), command))
            try:
                return self._answer()
            except ValueError:
                raise ConfigurationError(
                    ErrorCode.WRONG_PROTOCOL,
                    f"What listens on {self._endpoint} is not Redis.",
                    remedy="Check host, port and ssl_mode.",
                ) from None

    def _answer(self) -> Any:
        line = self._answers.readline(64 * 1024)
        if not line:
            raise ConnectionResetError("the server closed the connection")
        kind, rest = line[:1], line[1:].rstrip(b"\r\n")
        match kind:
            case b"+":
                return rest
            case b"-":
                raise self._refused(rest.decode("utf-8", "replace"))
            case b":":
                return int(rest)
            case b"$":
                return self._answers.read(int(rest) + 2)[:-2] if int(rest) >= 0 else None
            case b"*":
                return [self._answer() for _each in range(int(rest))]
        raise ValueError("no answer of Redis")

    def _refused(self, message: str) -> ConfigurationError | TransientError:
        word = message.split(" ")[0]
        if word == "LOADING":
            return TransientError(ErrorCode.SERVER_STARTING, f"{self._endpoint} is still loading its data.")
        codes = {"NOPERM": ErrorCode.PERMISSION_MISSING, "WRONGPASS": ErrorCode.AUTHENTICATION_FAILED}
        code = codes.get(word, ErrorCode.SERVER_NOT_SUPPORTED)
        return ConfigurationError(code, f"{self._endpoint} refused: {message}")

    @property
    def _endpoint(self) -> str:
        return f"{self._target.host}:{self._target.port}"

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """What goes wrong on a socket, in dbaudit's words, by what to do next."""
        try:
            yield
        except ssl.SSLCertVerificationError as error:
            message = f"The certificate of {self._endpoint} is not accepted: {error.verify_message}"
            raise ConfigurationError(ErrorCode.CERTIFICATE_INVALID, message) from None
        except ssl.SSLError:
            message = f"{self._endpoint} does not speak TLS as it should."
            raise ConfigurationError(ErrorCode.TLS_FAILED, message) from None
        except socket.gaierror:
            message = f"The host {self._target.host} is not known."
            raise ConfigurationError(ErrorCode.HOST_NOT_FOUND, message) from None
        except TimeoutError:
            raise TransientError(self._silence, f"{self._endpoint} does not answer in time.") from None
        except ConnectionRefusedError:
            message = f"{self._endpoint} refused the connection."
            raise TransientError(ErrorCode.CONNECTION_REFUSED, message) from None
        except OSError as error:
            message = f"The connection to {self._endpoint} was lost: {error.strerror or error}"
            raise TransientError(ErrorCode.CONNECTION_LOST, message) from None
