"""An event loop for one connection.

In blocking calls the driver waits without an end for a server that takes the connection and never answers;
its coroutines can be given up at any moment. The loop knows what was opened in it, and closes that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class OwnLoop(asyncio.SelectorEventLoop):
    """Runs the coroutines of one connection, each until a deadline, in whatever thread calls."""

    def __init__(self) -> None:
        super().__init__()
        self._opened: list[asyncio.BaseTransport] = []
        # What a server does after the connection was given up concerns nobody.
        self.set_exception_handler(lambda loop, context: None)

    async def create_connection(self, *args: Any, **options: Any) -> Any:
        transport, protocol = await super().create_connection(*args, **options)
        self._opened.append(transport)
        return transport, protocol

    async def start_tls(self, *args: Any, **options: Any) -> Any:
        transport = await super().start_tls(*args, **options)
        if transport is not None:
            self._opened.append(transport)
        return transport

    def run_within(self, timeout_seconds: float, work: Coroutine[Any, Any, _Result]) -> _Result:
        """What ``work`` returns or raises.

        Raises TimeoutError, and gives it up, after ``timeout_seconds``.
        """
        return self.run_until_complete(asyncio.wait_for(work, timeout_seconds))

    def give_up(self) -> None:
        """Close everything without a word to the server, and the loop; may be called twice."""
        if self.is_closed():
            return
        for transport in self._opened:
            if isinstance(transport, asyncio.WriteTransport):
                transport.abort()
        self._opened.clear()
        pending = asyncio.all_tasks(self)
        for task in pending:
            task.cancel()
        # Two rounds: transports close in one that they ask for in the first.
        self.run_until_complete(_settled(pending))
        self.close()


async def _settled(pending: set[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*pending, return_exceptions=True)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
