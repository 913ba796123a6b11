"""A server that speaks TDS 7.4 to real drivers, on a free loopback port, and answers what ``answer`` says.

It is not SQL Server: it knows the protocol, and nothing of SQL.
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from tests.engines.sqlserver import tds_tokens as tokens
from tests.engines.sqlserver.tds_packets import (
    ATTENTION,
    LOGIN7,
    PRELOGIN,
    RPC,
    SQL_BATCH,
    TRANSACTION_MANAGER,
    Packets,
)
from tests.engines.sqlserver.tds_tokens import Login, Result

Version = tuple[int, int, int]


class SqlError(Exception):
    """An error that the client is told: number, severity and text as in sys.messages."""

    def __init__(self, number: int, text: str, severity: int = 16) -> None:
        super().__init__(text)
        self.number, self.text, self.severity = number, text, severity


class HangUpError(Exception):
    """The server closes the connection without an answer."""


@dataclass
class Encryption:
    """``required`` refuses clients that do not encrypt; without a ``context`` the server offers none."""

    context: ssl.SSLContext | None = None
    required: bool = False


@dataclass
class Backend:
    """What stands behind the protocol: who may log in, and what statements answer."""

    log_in: Callable[[Login], tuple[int, str]]
    """The session's id and its database. Raises SqlError."""
    answer: Callable[[int, str, Sequence[Any]], Result | None]
    """Raises SqlError or HangUpError; None for a statement without rows."""
    log_out: Callable[[int], None]
    version: Callable[[], Version]
    encryption: Encryption = field(default_factory=Encryption)


class TdsServer:
    """Listens until ``close``; each connection has a thread of its own."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.silent = threading.Event()
        """Set: connections are taken, and nothing is ever said on them."""
        self.stopped_answering = threading.Event()
        """Set: statements get no answer any more, nor do attentions."""
        self.stalling = threading.Event()
        """Set: of each answer half is sent, and then nothing more."""
        self.plain_logins = 0
        self.encrypted_logins = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_connections()

    def drop_connections(self) -> None:
        """Every connection breaks, as when the server dies."""
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self.silent.is_set():
                while connection.recv(4096):
                    pass
                return
            Conversation(Packets(connection), self._backend, self).run()
        except (EOFError, OSError, HangUpError, ssl.SSLError):
            pass
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()


class Conversation:
    """One connection, from PRELOGIN to its end."""

    def __init__(self, packets: Packets, backend: Backend, server: TdsServer) -> None:
        self._packets = packets
        self._backend = backend
        self._server = server
        self._prepared: dict[int, str] = {}

    def run(self) -> None:
        session = self._establish()
        if session is None:
            return
        try:
            while True:
                kind, body = self._packets.receive()
                if self._server.stopped_answering.is_set():
                    continue
                reply = self._reply(session, kind, body)
                if self._server.stalling.is_set():
                    self._packets.send_half(reply)
                    self._server.stopped_answering.set()
                    continue
                self._packets.send(reply)
        finally:
            self._backend.log_out(session)

    def _establish(self) -> int | None:
        login_only = self._negotiate()
        if login_only is None:
            return None
        kind, body = self._packets.receive()
        if kind != LOGIN7:
            raise EOFError
        if login_only:
            self._packets.end_tls()
        login = tokens.parse_login(body)
        try:
            session, database = self._backend.log_in(login)
        except SqlError as refused:
            self._packets.send(_refusal(refused))
            return None
        self._packets.send(tokens.login_accepted(database, self._backend.version()))
        return session

    def _negotiate(self) -> bool | None:
        """Whether only the log-in is encrypted; None when the client was refused."""
        kind, body = self._packets.receive()
        if kind != PRELOGIN:
            raise EOFError
        off, on, not_supported, required = range(4)
        wanted = tokens.wanted_encryption(body)
        encryption = self._backend.encryption
        if encryption.context is None:
            self._server.plain_logins += 1
            self._packets.send(tokens.prelogin(not_supported, self._backend.version()))
            return False
        if wanted == not_supported and not encryption.required:
            answer = not_supported
        elif encryption.required:
            answer = required
        else:
            answer = on if wanted in (on, required) else off
        self._packets.send(tokens.prelogin(answer, self._backend.version()))
        if answer == not_supported:
            self._server.plain_logins += 1
            return False
        if wanted == not_supported:
            return None
        self._packets.start_tls(encryption.context)
        self._server.encrypted_logins += answer != off
        self._server.plain_logins += answer == off
        return answer == off

    def _reply(self, session: int, kind: int, body: bytes) -> bytes:
        if kind == ATTENTION:
            return tokens.done(tokens.DONE_ATTENTION)
        if kind == TRANSACTION_MANAGER:
            return tokens.done()
        if kind == SQL_BATCH:
            return self._run(session, tokens.parse_batch(body), [], tokens.done)
        if kind == RPC:
            return self._call(session, *tokens.CallReader(body).read())
        raise EOFError

    def _call(self, session: int, procedure: str, values: list[Any]) -> bytes:
        match procedure.lower():
            case "sp_executesql":
                sql, given = values[0], values[2:]
                return self._run(session, sql, given, _in_procedure) + _returned()
            case "sp_prepexec":
                sql, given = values[2], values[3:]
                handle = self._remember(sql)
                return self._run(session, sql, given, _in_procedure) + _returned(handle)
            case "sp_prepare":
                return _returned(self._remember(values[2]))
            case "sp_execute":
                sql = self._prepared[values[0]]
                return self._run(session, sql, values[1:], _in_procedure) + _returned()
            case "sp_unprepare":
                self._prepared.pop(values[0], None)
                return _returned()
        return _refusal(SqlError(2812, f"Could not find stored procedure '{procedure}'."))

    def _remember(self, sql: str) -> int:
        handle = len(self._prepared) + 1
        self._prepared[handle] = sql
        return handle

    def _run(
        self, session: int, sql: str, values: Sequence[Any], finish: Callable[[int, int], bytes]
    ) -> bytes:
        try:
            result = self._backend.answer(session, sql, values)
        except SqlError as refused:
            return tokens.error(refused.number, refused.severity, refused.text) + finish(tokens.DONE_ERROR, 0)
        if result is None:
            return finish(0, 0)
        parts = [tokens.metadata(result.columns)]
        parts += [tokens.row(result.columns, values) for values in result.rows]
        count = len(parts) - 1
        if result.said is not None:
            parts.insert(0, tokens.information(*result.said))
        return b"".join(parts) + finish(tokens.DONE_COUNT, count)


def _in_procedure(status: int, rows: int) -> bytes:
    return tokens.done(status | 1, rows, tokens.DONE_IN_PROC)


def _returned(handle: int | None = None) -> bytes:
    value = b"" if handle is None else tokens.return_handle(handle)
    return tokens.return_status() + value + tokens.done(token=tokens.DONE_PROC)


def _refusal(refused: SqlError) -> bytes:
    return tokens.error(refused.number, refused.severity, refused.text) + tokens.done(tokens.DONE_ERROR)
