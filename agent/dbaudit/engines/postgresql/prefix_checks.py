"""The step of the test that concerns log_line_prefix: what the text log can say with it."""

from __future__ import annotations

from dbaudit.core.report import Diagnosis
from dbaudit.engine.findings import failed, ok, warning
from dbaudit.engines.postgresql.line_prefix import LinePrefix, line_prefix, sample
from dbaudit.engines.postgresql.options import LogFormat
from dbaudit.engines.postgresql.remedies import set_and_reload
from dbaudit.engines.postgresql.settings import LogSettings

RECOMMENDED = "%m [%p] %c %l %v %e %r [%b,%P,%i] %q%u@%d/%a "
"""Everything that the text log can say; what a client can write stands last."""

_NEEDED: tuple[tuple[str, str], ...] = (
    ("c", "sessions cannot be distinguished, and log-ins not joined with what follows them"),
    ("u", "statements have no user"),
    ("d", "statements have no database"),
    ("rh", "statements have no address"),
    ("e", "failures have no SQLSTATE, and refused log-ins are recognised in English only"),
    ("a", "the application is unknown, so the agent's own sessions show"),
    ("i", "failures of several statements sent together cannot be assigned"),
    ("l", "records have no number of their own"),
    ("v", "transactions cannot be distinguished"),
)
"""What an event lacks without these escapes; any one of a group says it."""
_WORKERS = ("b", "the records of parallel workers look like statements without a user")
_WORKERS_SINCE = 13
_TIME_OF_THE_DAEMON = (
    "mtn",
    "times are those of the syslog daemon, and where it writes them without a year nothing can be read",
)
_SAMPLE = {
    "m": "2026-01-01 10:00:00.000 UTC",
    "t": "2026-01-01 10:00:00 UTC",
    "s": "2026-01-01 10:00:00 UTC",
    "n": "1767261600.000",
    "p": "4121",
    "c": "69565c20.1019",
    "l": "7",
    "v": "4/11",
    "x": "0",
    "e": "00000",
    "Q": "0",
    "b": "client backend",
    "r": "10.0.0.7(51514)",
    "h": "10.0.0.7",
    "L": "10.0.0.1",
    "u": "app",
    "d": "shop",
    "a": "web",
    "i": "idle in transaction",
}
_NAMES = {"u": "users", "d": "databases", "a": "applications", "i": "commands"}


def log_line_prefix(settings: LogSettings) -> Diagnosis:
    """What the text log does not say, and whether its fields can be separated."""
    code = "log_line_prefix"
    remedy = set_and_reload(code, RECOMMENDED)
    prefix = line_prefix(settings.line_prefix)
    has = f"log_line_prefix ({prefix.text!r}) has"
    by_syslog = settings.format is LogFormat.SYSLOG
    if not prefix.says & set("mtn") and not by_syslog:
        return failed(code, f"{has} no time (%m): nothing can be read.", remedy)
    if not prefix.says & set("pc") and not by_syslog:
        return failed(code, f"{has} no process (%p, %c): no two records can be joined.", remedy)
    needed = [*_NEEDED, *([_WORKERS] if settings.major >= _WORKERS_SINCE else [])]
    if by_syslog:
        needed.insert(0, _TIME_OF_THE_DAEMON)
    lacking = [
        f"no {' or '.join(f'%{letter}' for letter in letters)}: {what}"
        for letters, what in needed
        if not prefix.says & set(letters)
    ]
    mixed = _mixed(prefix)
    if mixed:
        lacking.append(f"nothing that separates {' and '.join(mixed)} from what stands beside them")
    if lacking:
        return warning(code, f"{has} {'; '.join(lacking)}.", remedy)
    return ok(code, "log_line_prefix says all that the text log can say.")


def _mixed(prefix: LinePrefix) -> list[str]:
    """The names that can be read in two ways in an ordinary line."""
    mixed: set[str] = set()
    for application in ("web", "[unknown]"):
        line = sample(prefix.text, {**_SAMPLE, "a": application}) + "LOG:  statement: select 1"
        short, long = prefix.shortest.match(line.encode()), prefix.longest.match(line.encode())
        if short is not None and long is not None:
            mixed |= {_NAMES[letter] for letter in prefix.names if short[letter] != long[letter]}
    return sorted(mixed)
