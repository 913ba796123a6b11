"""Ports of the loopback address for servers of the tests."""

import random
import socket
from pathlib import Path

HOST = "127.0.0.1"
LOWEST_PORT = 10_000


def free_port() -> int:
    """A port below those that the kernel gives to clients.

    A client that tries again and again to reach a stopped server on one of the kernel's own ports can end up
    connected to itself, and then holds the port.
    """
    lowest_of_clients = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    highest = lowest_of_clients if lowest_of_clients > LOWEST_PORT + 1000 else 65_000
    generator = random.SystemRandom()
    while not is_free(port := generator.randrange(LOWEST_PORT, highest)):
        pass
    return port


def is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
