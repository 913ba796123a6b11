"""Where the processes come from that tests start and kill.

They are forked from one process that has imported everything: each costs milliseconds and not the second that
Python needs to import it all. To the kernel it is a process as any other. There is one such server for all
tests, so all that they need is named here.
"""

import multiprocessing
from multiprocessing.context import ForkServerContext

fork_server: ForkServerContext = multiprocessing.get_context("forkserver")
fork_server.set_forkserver_preload(
    [
        "dbaudit.agent",
        "dbaudit.api",
        "dbaudit.engines.postgresql.session",
        "tests.faults.agents",
        "tests.state.workers",
    ]
)
