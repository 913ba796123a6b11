"""What others need to turn the same log into JSON. They parse it, and neither mask, hash nor store durably.

syslog-ng, rsyslog and miller are Debian's packages, chdb comes from PyPI. rsyslog reads the jsonlog, for it
has no parser of csv that knows doubled quotes; the others read the csvlog. None is kept to one core.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.figures import figure, say, skipped
from tests.benchmarks.log import AuditLog
from tests.benchmarks.peer_programs import (
    PeerFailedError,
    command_of,
    debian_programs,
    python_package,
    run_to_the_end,
    run_until_settled,
)
from tests.servers.cache import cache_folder
from tests.servers.errors import EngineMissingError

_OUTPUT = "out.json"
_COLUMNS = (
    *("log_time", "user_name", "database_name", "process_id", "connection_from", "session_id"),
    *("session_line_num", "command_tag", "session_start_time", "vxid", "txid", "error_severity"),
    *("sql_state_code", "message", "detail", "hint", "internal_query", "internal_query_pos", "context"),
    *("query", "query_pos", "location", "application_name", "backend_type", "leader_pid", "query_id"),
)

_SYSLOG_NG = r"""@version: 3.38
options { stats-freq(0); log-fifo-size(20000); };
source s { file("CSV" flags(no-parse) multi-line-mode(prefix-garbage)
    multi-line-prefix("^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:.]{12} UTC,")
    follow-freq(0.1) log-fetch-limit(1000) log-iw-size(10000) read-old-records(yes)); };
parser p { csv-parser(columns(COLUMNS) delimiters(chars(",")) flags(escape-double-char) quote-pairs('""')); };
destination d { file("FOLDER/out.json" template("$(format-json --key P.*)\n") flush-lines(1000)); };
log { source(s); parser(p); destination(d); flags(flow-control); };
"""
_RSYSLOG = r"""global(workDirectory="FOLDER" maxMessageSize="64k")
main_queue(queue.type="LinkedList" queue.size="200000" queue.dequeueBatchSize="4096"
    queue.highwatermark="150000")
module(load="imfile")
module(load="mmjsonparse")
input(type="imfile" file="JSON" tag="x" ruleset="r" freshStartTail="off" reopenOnTruncate="off"
    needParse="off")
template(name="all" type="list") { property(name="$!all-json-plain") constant(value="\n") }
ruleset(name="r" queue.type="LinkedList" queue.size="200000" queue.dequeueBatchSize="4096") {
    action(type="mmjsonparse" cookie="")
    action(type="omfile" file="FOLDER/out.json" template="all" ioBufferSize="256k" asyncWriting="off"
        flushOnTXEnd="off")
}
"""


def main(records: int) -> None:
    """Measures and prints."""
    log = AuditLog(records)
    for name, run in _PEERS.items():
        say(name)
        figure_name = f"peer_{name}_lines_per_second"
        try:
            with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
                seconds = run(log, Path(folder))
                written = _lines(Path(folder) / _OUTPUT)
            # syslog-ng keeps the last record until it sees the beginning of one more.
            if not records - 1 <= written <= records:
                raise PeerFailedError(f"it wrote {written} of {records} lines")
        except (EngineMissingError, PeerFailedError) as problem:
            skipped(figure_name, str(problem))
        else:
            figure(figure_name, written / seconds, "lines/s")


def _syslog_ng(log: AuditLog, folder: Path) -> float:
    programs = debian_programs("syslog-ng-core")
    columns = ",".join(f'"P.{name}"' for name in _COLUMNS)
    configuration = _configuration(_SYSLOG_NG, CSV=log.csv, COLUMNS=columns, FOLDER=folder)
    options = {
        "cfgfile": configuration,
        "module-path": programs / "usr/lib/syslog-ng/3.38",
        "persist-file": folder / "persist",
        "pidfile": folder / "pid",
        "control": folder / "control",
    }
    command = [*command_of(programs, "usr/sbin/syslog-ng"), "--foreground", "--no-caps"]
    command += [f"--{name}={value}" for name, value in options.items()]
    return run_until_settled(command, folder / _OUTPUT)


def _rsyslog(log: AuditLog, folder: Path) -> float:
    programs = debian_programs("rsyslog")
    configuration = _configuration(_RSYSLOG, JSON=log.json, FOLDER=folder)
    (modules,) = programs.glob("usr/lib/*/rsyslog")
    command = [*command_of(programs, "usr/sbin/rsyslogd"), "-n", "-M", str(modules), "-i", f"{folder}/pid"]
    return run_until_settled([*command, "-f", str(configuration)], folder / _OUTPUT)


def _miller(log: AuditLog, folder: Path) -> float:
    command = command_of(debian_programs("miller"), "usr/bin/mlr")
    options = ["--icsv", "--implicit-csv-header", "--ojsonl"]
    return run_to_the_end([*command, *options, "cat", str(log.csv)], folder / _OUTPUT)


def _chdb(log: AuditLog, folder: Path) -> float:
    columns = ",".join(f"{name} String" for name in _COLUMNS)
    query = (
        f"INSERT INTO FUNCTION file('{folder}/{_OUTPUT}', 'JSONEachRow') "
        f"SELECT * FROM file('{log.csv}', 'CSV', '{columns}')"
    )
    program = "import sys; sys.path.insert(0, sys.argv[1]); import chdb; chdb.query(sys.argv[2])"
    command = [sys.executable, "-c", program, str(python_package("chdb")), query]
    return run_to_the_end(command, folder / "stdout")


_PEERS: dict[str, Callable[[AuditLog, Path], float]] = {
    "syslog_ng": _syslog_ng,
    "rsyslog": _rsyslog,
    "miller": _miller,
    "chdb": _chdb,
}


def _configuration(text: str, *, FOLDER: Path, **values: object) -> Path:  # noqa: N803  # the word that it stands for
    for word, value in {"FOLDER": FOLDER, **values}.items():
        text = text.replace(word, str(value))
    file = FOLDER / "configuration"
    file.write_text(text)
    return file


def _lines(file: Path) -> int:
    with file.open("rb") as opened:
        return sum(part.count(b"\n") for part in iter(lambda: opened.read(1 << 20), b""))
