"""What listens at /dev/log and writes a file, as rsyslog does with its traditional format."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DEVICE = Path("/dev/log")
_PRIORITY = re.compile(rb"<\d+>")


@contextmanager
def syslog_into(file: Path) -> Iterator[None]:
    """Everything that is sent to syslog goes to the file, while inside."""
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(str(DEVICE))
    thread = threading.Thread(target=_receive, args=(receiver, file), daemon=True)
    try:
        DEVICE.chmod(0o666)
        receiver.settimeout(0.1)
        file.touch()
        thread.start()
        yield
    finally:
        DEVICE.unlink()
        receiver.close()
        thread.join()


def _receive(receiver: socket.socket, file: Path) -> None:
    while True:
        try:
            message = receiver.recv(65536)
        except TimeoutError:
            continue
        except OSError:
            return
        # Its stamp is in the sender's zone; rsyslog writes its own host's name behind it.
        text = _PRIORITY.sub(b"", message, count=1).rstrip(b"\0\n")
        stamp, rest = text[:15], text[16:]
        with file.open("ab", buffering=0) as written:
            written.write(b"%b %b %b\n" % (stamp, socket.gethostname().encode(), rest))
