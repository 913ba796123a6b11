"""What can go wrong with a server of the tests."""


class EngineMissingError(Exception):
    """A server cannot be had on this machine; the message says why and what would help."""


class ServerFailedError(Exception):
    """A server did not start, stop or answer as it should; the message holds what it wrote."""
