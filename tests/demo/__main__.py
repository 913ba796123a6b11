"""`make run`: start everything, show the events as they come, and hold them against what was done."""

import argparse
import signal
import sys
import threading
import time
from contextlib import ExitStack

from tests.demo.follower import Follower
from tests.demo.place import run_folder
from tests.demo.report import report
from tests.demo.service import Service, ServiceFailedError
from tests.demo.workload import Workload
from tests.servers.cache import say
from tests.servers.errors import EngineMissingError, ServerFailedError
from tests.servers.installations import client
from tests.servers.postgresql import PostgresServer

MAJOR = 17
SETTLE_SECONDS = 20.0


def main() -> int:
    """0 when everything that was done is found once each, 1 when not, 2 when it cannot start."""
    parser = argparse.ArgumentParser(prog="make run", description=__doc__)
    parser.add_argument("seconds", nargs="?", type=float, help="stop by itself after so many seconds")
    seconds = parser.parse_args().seconds
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_arguments: stop.set())
    try:
        return _run(seconds, stop)
    except (EngineMissingError, ServerFailedError, ServiceFailedError) as failure:
        print(f"make run: {failure}", file=sys.stderr)
        return 2


def _run(seconds: float | None, stop: threading.Event) -> int:
    with ExitStack() as running:
        folder = running.enter_context(run_folder())
        say("getting PostgreSQL, pgaudit and pgbench")
        programs = client()
        say(f"starting PostgreSQL {MAJOR} with pgaudit")
        server = running.enter_context(PostgresServer(MAJOR, pgaudit=True))
        workload = Workload(server, programs.pgbench)
        workload.prepare()
        say("starting the service (dbaudit up)")
        service = running.enter_context(Service(folder))
        say("declaring the database with playbooks/demo.yml")
        database_id = service.declare(
            server, workload.database, workload.collector, workload.collector_password
        )
        follower = running.enter_context(Follower(service, database_id))
        say(f"API {service.url}  documentation {service.url}/v1/docs/  key in {folder / 'api.key'}")
        say(f"logs and state in {folder}; {_end_of(seconds)}")
        workload.start()
        started = time.monotonic()
        while not stop.wait(0.2) and not (seconds and time.monotonic() - started >= seconds):
            if not service.is_running():
                say(f"the service has ended; its log is {folder / 'service.log'}")
                return 1
        stop.set()
        say("stopping the workload and waiting for the last events")
        done = workload.stop()
        follower.wait_for(done, SETTLE_SECONDS)
        return report(done, follower)


def _end_of(seconds: float | None) -> str:
    return f"stopping after {seconds:g} seconds" if seconds else "Ctrl-C ends it"


if __name__ == "__main__":
    sys.exit(main())
