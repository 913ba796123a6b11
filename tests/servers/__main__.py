"""python -m tests.servers fetch | run: fills the cache of servers, or runs one by hand."""

import argparse
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

from tests.servers import mariadb, mongodb, mysql, mysql_clients, redis, rsyslog
from tests.servers.cache import cache_folder, say
from tests.servers.errors import EngineMissingError, ServerFailedError
from tests.servers.installations import MAJORS, PGAUDIT_MAJORS, everything
from tests.servers.postgresql import PostgresServer

FETCHES_AT_ONCE = 4
COLLECTOR = "collector"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    fetch = commands.add_parser("fetch", help="fetch the servers into the cache")
    fetch.add_argument(
        "--major", type=int, action="append", choices=MAJORS, help="only this one; may be repeated"
    )
    run = commands.add_parser("run", help="run one server until Ctrl-C")
    run.add_argument("--major", type=int, choices=MAJORS, default=17)
    options = parser.parse_args()
    if options.command == "fetch":
        return fetch_servers(tuple(options.major or MAJORS))
    return run_server(options.major)


def fetch_servers(majors: tuple[int, ...]) -> int:
    """Fetches everything that is not in the cache yet; 1 when something is not to be had."""
    say(f"the cache is {cache_folder()}")
    missing = 0
    others = (
        *mariadb.everything(),
        *mongodb.everything(),
        *mysql.everything(),
        redis.program,
        rsyslog.program,
    )
    clients = mysql_clients.everything()
    wanted = [*everything(majors), *others, *clients]
    with ThreadPoolExecutor(FETCHES_AT_ONCE) as pool:
        for fetched in [pool.submit(fetch) for fetch in wanted]:
            try:
                fetched.result()
            except EngineMissingError as error:
                missing += 1
                say(f"missing: {error}")
    return 1 if missing else 0


def run_server(major: int) -> int:
    """Runs a server, with pgaudit where there is one, until it is interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with PostgresServer(major, pgaudit=major in PGAUDIT_MAJORS) as server:
            server.create_collector_role(COLLECTOR, COLLECTOR)
            print(f"superuser  {server.conninfo(server.superuser, server.superuser_password)}")
            print(f"collector  {server.conninfo(COLLECTOR, COLLECTOR)}")
            print(f"log        {server.log_directory}", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        say("stopped")
    except (EngineMissingError, ServerFailedError) as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
