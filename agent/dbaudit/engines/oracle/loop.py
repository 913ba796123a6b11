"""An event loop for one connection.

The driver's blocking calls wait forever for a server that accepts the connection and never answers; its
coroutines can be cancelled at any moment. The loop keeps the connections that were opened in it, and closes
them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class OwnLoop(asyncio.SelectorEventLoop):
    """Runs the coroutines of one connection, each until a deadline, in the thread of the caller."""

    def __init__(self) -> None:
        super().__init__()
        self._opened: list[asyncio.BaseTransport] = []
        # Errors after the connection was aborted do not matter.
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
        """Run ``work`` and return what it returns; raises what it raises.

        After ``timeout_seconds`` it is cancelled, and TimeoutError is raised.
        """
        return self.run_until_complete(asyncio.wait_for(work, timeout_seconds))

    def abort(self) -> None:
        """Close all connections without a message to the server, and the loop; may be called twice."""
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
