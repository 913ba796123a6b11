"""What docs/security.md says of `write:databases`: it can have an agent look at ports of its network."""

from __future__ import annotations

import socket
import socketserver
import threading
from pathlib import Path

import httpx

from tests.cli.running import Up, new_key


class Mail(socketserver.BaseRequestHandler):
    """Greets as a server of another protocol."""

    def handle(self) -> None:
        self.request.sendall(b"220 mail.example.com ESMTP\r\n")
        self.request.recv(1024)


def test_a_key_that_may_write_can_tell_open_from_closed_ports_by_verifying(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = free.getsockname()[1]
    with (
        socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail) as mail,
        Up(tmp_path / "home", "--port", "0") as up,
    ):
        threading.Thread(target=mail.serve_forever, daemon=True).start()
        up.until_ready()
        headers = {"Authorization": f"Bearer {new_key(up.home, 'write:databases')}"}
        body = {"name": "x", "type": "postgresql", "host": "127.0.0.1", "database": "d", "username": "u"}
        body |= {"password": "none of anybody", "ssl_mode": "disable"}
        with httpx.Client(base_url=up.url, headers=headers, trust_env=False, timeout=60.0) as http:

            def verified(port: int) -> str:
                answer = http.post("/v1/databases?verify=true", json={**body, "port": port})
                assert answer.status_code == 422
                return str(answer.json()["report"]["error_code"])

            assert verified(closed) == "connection_refused"
            assert verified(mail.server_address[1]) == "wrong_protocol"
        up.end()
        mail.shutdown()
