"""Listeners on real sockets that are no PostgreSQL servers, or bad ones."""

import contextlib
import socket
import struct
import threading
import time

from tests.servers.listening import Behaviour


def never_answers(connection: socket.socket) -> None:
    while connection.recv(1024):
        pass


def speaks_http(connection: socket.socket) -> None:
    connection.recv(1024)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    connection.close()


def speaks_ssh(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    never_answers(connection)


def speaks_redis(connection: socket.socket) -> None:
    connection.recv(1024)
    connection.sendall(b"-ERR unknown command\r\n")
    never_answers(connection)


def speaks_mysql(length: int) -> Behaviour:
    """A greeting of MySQL: its first byte, the length, can pass for any answer to a request for TLS."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(struct.pack("<I", length) + b"\x0a8.4.5\x00".ljust(length, b"x"))
        never_answers(connection)

    return behave


def resets(connection: socket.socket) -> None:
    connection.recv(1024)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def hangs_in_the_tls_handshake(connection: socket.socket) -> None:
    connection.recv(8)
    connection.sendall(b"S")
    never_answers(connection)


def hangs_after_the_login(connection: socket.socket) -> None:
    connection.recv(1024)
    connection.sendall(_message(b"R", struct.pack(">I", 0)) + _parameter("server_version", "17.4"))
    never_answers(connection)


def is_version(version: str) -> Behaviour:
    """Takes any log-in and says that it is some version of PostgreSQL."""

    def behave(connection: socket.socket) -> None:
        connection.recv(1024)
        accepted = _message(b"R", struct.pack(">I", 0)) + _parameter("server_version", version)
        connection.sendall(accepted + _message(b"Z", b"I"))
        never_answers(connection)

    return behave


def refuses(sqlstate: str, message: str) -> Behaviour:
    """Answers the log-in with an error, as a server does in its own language."""

    def behave(connection: socket.socket) -> None:
        connection.recv(1024)
        fields = f"SFATAL\0VFATAL\0C{sqlstate}\0M{message}\0\0"
        connection.sendall(_message(b"E", fields.encode()))
        connection.close()

    return behave


def relays(server: tuple[str, int], delay_seconds: float, slow: threading.Event) -> Behaviour:
    """A way to a real server whose answers take longer from the moment that ``slow`` is set."""

    def behave(connection: socket.socket) -> None:
        with socket.create_connection(server) as beyond:

            def send_requests() -> None:
                with contextlib.suppress(OSError):
                    while request := connection.recv(65536):
                        beyond.sendall(request)
                    beyond.shutdown(socket.SHUT_WR)

            threading.Thread(target=send_requests, daemon=True).start()
            while answer := beyond.recv(65536):
                if slow.is_set():
                    time.sleep(delay_seconds)
                connection.sendall(answer)

    return behave


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack(">I", len(body) + 4) + body


def _parameter(name: str, value: str) -> bytes:
    return _message(b"S", f"{name}\0{value}\0".encode())
