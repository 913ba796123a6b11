"""TDS packets over a socket, in the clear or inside TLS, as the server's side of a connection sees them.

After [MS-TDS] 2.2.3: every packet has a header of eight bytes; a message is one or more packets of one type,
the last of which has the status bit 1. During the TLS handshake its records travel inside PRELOGIN packets.
"""

import socket
import ssl
import struct

PRELOGIN = 0x12
LOGIN7 = 0x10
SQL_BATCH = 0x01
RPC = 0x03
ATTENTION = 0x06
TRANSACTION_MANAGER = 0x0E
RESPONSE = 0x04

_HEADER = struct.Struct(">BBHHBB")
_LAST = 0x01
_PAYLOAD_BYTES = 4088


class Packets:
    """Messages in and out of one connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._tls: ssl.SSLObject | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()

    def receive(self) -> tuple[int, bytes]:
        """The type and the body of the next message. Raises EOFError when the client has gone."""
        body = bytearray()
        while True:
            kind, status, length, _spid, _number, _window = _HEADER.unpack(self._read(_HEADER.size))
            if length < _HEADER.size:
                raise EOFError
            body += self._read(length - _HEADER.size)
            if status & _LAST:
                return kind, bytes(body)

    def send(self, body: bytes, kind: int = RESPONSE) -> None:
        """One message, in as many packets as it takes."""
        self._write(self._packets_of(body, kind))

    def send_half(self, body: bytes) -> None:
        """The first half of an answer's bytes: a server that stops in the middle."""
        whole = self._packets_of(body, RESPONSE)
        self._write(whole[: len(whole) // 2])

    @staticmethod
    def _packets_of(body: bytes, kind: int) -> bytes:
        packets = bytearray()
        for number, start in enumerate(range(0, max(1, len(body)), _PAYLOAD_BYTES), start=1):
            part = body[start : start + _PAYLOAD_BYTES]
            status = _LAST if start + _PAYLOAD_BYTES >= len(body) else 0
            packets += _HEADER.pack(kind, status, len(part) + _HEADER.size, 0, number % 256, 0) + part
        return bytes(packets)

    def start_tls(self, context: ssl.SSLContext) -> None:
        """The handshake inside PRELOGIN packets; afterwards everything is inside TLS."""
        tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush_handshake()
                kind, body = self.receive()
                if kind != PRELOGIN:
                    raise EOFError from None
                self._incoming.write(body)
            except ssl.SSLError:
                self._flush_handshake()
                raise
        self._flush_handshake()
        self._tls = tls

    def end_tls(self) -> None:
        """Back to the clear: what a server does after the log-in when encryption is off."""
        self._tls = None

    def _flush_handshake(self) -> None:
        records = self._outgoing.read()
        if records:
            self.send(records, PRELOGIN)

    def _read(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            data += self._some(count - len(data))
        return bytes(data)

    def _some(self, count: int) -> bytes:
        while True:
            if self._tls is not None:
                try:
                    part = self._tls.read(count)
                except ssl.SSLWantReadError:
                    part = None
                if part == b"":
                    raise EOFError
                if part:
                    return part
            received = self._socket.recv(65536 if self._tls is not None else count)
            if not received:
                raise EOFError
            if self._tls is None:
                return received
            self._incoming.write(received)

    def _write(self, data: bytes) -> None:
        if self._tls is not None:
            self._tls.write(data)
            data = self._outgoing.read()
        self._socket.sendall(data)
