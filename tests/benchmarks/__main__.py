"""``make bench``: measures, and prints one figure a line on standard output: name, value, unit.

An argument names the only part to run. The progress is told on standard error.
"""

import argparse
from collections.abc import Callable

from tests.benchmarks.figures import say


def _ingest(arguments: argparse.Namespace) -> None:
    from tests.benchmarks import ingest

    ingest.main(arguments.records, arguments.rounds)


def _mongodb_audit(arguments: argparse.Namespace) -> None:
    from tests.benchmarks import mongodb_audit

    mongodb_audit.main(arguments.records, arguments.rounds)


def _server_audit(arguments: argparse.Namespace) -> None:
    from tests.benchmarks import server_audit

    server_audit.main(arguments.records, arguments.rounds)


def _mysql_audit(arguments: argparse.Namespace) -> None:
    from tests.benchmarks import mysql_audit

    mysql_audit.main(arguments.records, arguments.rounds)


def _latency(arguments: argparse.Namespace) -> None:
    from tests.benchmarks import latency

    latency.main(arguments.seconds)


def _tps(arguments: argparse.Namespace) -> None:
    from tests.benchmarks import collecting

    collecting.main(arguments.pairs, arguments.seconds_a_run)


def _peers(arguments: argparse.Namespace) -> None:
    from tests.benchmarks import peers

    peers.main(arguments.records)


def _api(arguments: argparse.Namespace) -> None:
    from tests.benchmarks import bench_api

    bench_api.main()


def _db_conns(arguments: argparse.Namespace) -> None:
    from tests.benchmarks import db_conns

    db_conns.main(arguments.rounds, arguments.records)


def _declare(arguments: argparse.Namespace) -> None:
    from tests.benchmarks import declaring

    declaring.main(arguments.databases)


def _fn_get_audit_file(arguments: argparse.Namespace) -> None:
    from tests.benchmarks import fn_get_audit_file

    fn_get_audit_file.main(arguments.records, arguments.rounds)


def _unified_audit_trail(arguments: argparse.Namespace) -> None:
    from tests.benchmarks import unified_audit_trail

    unified_audit_trail.main(arguments.records, arguments.rounds)


def _import(arguments: argparse.Namespace) -> None:
    from tests.benchmarks import importing

    importing.main()


def _idle(arguments: argparse.Namespace) -> None:
    from tests.benchmarks import idle

    idle.main(arguments.databases, arguments.seconds)


_PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "ingest": _ingest,
    "server_audit": _server_audit,
    "mongodb_audit": _mongodb_audit,
    "fn_get_audit_file": _fn_get_audit_file,
    "mysql_audit": _mysql_audit,
    "unified_audit_trail": _unified_audit_trail,
    "latency": _latency,
    "tps": _tps,
    "api": _api,
    "import": _import,
    "peers": _peers,
    "db_conns": _db_conns,
    "idle": _idle,
    "declare": _declare,
}


def main() -> None:
    """Runs the parts that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("part", nargs="?", choices=_PARTS, help="the only part to run")
    parser.add_argument(
        "--records", type=int, default=1_000_000, help="of the log (ingest, server_audit, peers, db_conns)"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="whose median is taken (ingest, server_audit, db_conns)"
    )
    parser.add_argument("--databases", type=int, default=1000, help="that are declared (declare, idle)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of the measurement (latency, idle)")
    parser.add_argument("--pairs", type=int, default=5, help="of runs with and without the agent (tps)")
    parser.add_argument("--seconds-a-run", type=int, default=6, help="of pgbench (tps)")
    arguments = parser.parse_args()
    for name, run in _PARTS.items():
        if arguments.part in (name, None):
            say(name)
            run(arguments)


if __name__ == "__main__":
    main()
