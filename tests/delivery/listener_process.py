"""A listener as a process of its own that ends its connections in every way there is.

Run with the number of a listening socket, a folder, a seed, and after how many ended connections it kills
itself. Once there is a file called peace beside the folder, it reads every connection to the sender's end.
What it reads from a connection goes to a file of its own in the folder, at once; the file's name at the end
is the connection's number and how it ended: `eof` by the sender, in order, all others by this listener.
It imports nothing of the project: it has to start quickly, and often.
"""

import io
import os
import random
import signal
import socket
import struct
import sys
from pathlib import Path

WAYS = ("closed", "unread", "reset")
LONGEST_BYTES = 100_000
IDLE_SECONDS = 0.1


def main() -> None:
    """Accepts one connection after the other until it is killed."""
    listening = socket.socket(fileno=int(sys.argv[1]))
    folder, seed, kill_after = Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    chance = random.Random(seed)
    ended = 0
    while True:
        connection = listening.accept()[0]
        path = folder / f"{sum(1 for _path in folder.iterdir()):06d}.open"
        ended += 1
        way = "killed" if ended >= kill_after else chance.choice(WAYS)
        if (folder.parent / "peace").exists():
            way = "eof"
        with path.open("wb", buffering=0) as file:
            way = _serve(connection, file, way, chance)
        path.rename(path.with_suffix(f".{way}"))
        if way == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        connection.close()


def _serve(connection: socket.socket, file: io.FileIO, way: str, chance: random.Random) -> str:
    left = 1 << 62
    if way != "eof":
        left = chance.randrange(LONGEST_BYTES)
        connection.settimeout(IDLE_SECONDS)
    while left > 0:
        try:
            data = connection.recv(min(left, chance.randrange(1, 65536)))
        except TimeoutError:
            break
        if not data:
            return "eof"
        file.write(data)
        left -= len(data)
    if way == "closed":  # with as little unread as can be had
        connection.setblocking(False)
        try:
            while data := connection.recv(1 << 20):
                file.write(data)
        except BlockingIOError:
            pass
        else:
            return "eof"
    elif way == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return way


if __name__ == "__main__":
    main()
