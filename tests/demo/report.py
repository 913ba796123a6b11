"""The end of a run: what was done, held against what the API told."""

from collections import Counter
from collections.abc import Iterable

from tests.demo.follower import Follower
from tests.demo.workload import Done


def report(done: Done, found: Follower) -> int:
    """Print the summary; 0 when everything was found, once each."""
    delays = sorted(
        found.seen_after[mark] - ended for mark, ended in done.statements.items() if mark in found.seen_after
    )
    wrong = [
        *_differences("statements", done.statements, found.marks),
        *_differences("sessions opened", done.sessions, found.opened),
        *_differences("sessions closed", done.sessions, found.closed),
        *_differences("failed log-ins", done.refused, found.refused),
    ]
    if found.pgbench_updates != done.pgbench_transactions:
        wrong.append(f"pgbench: {done.pgbench_transactions} transactions, {found.pgbench_updates} found")
    if found.connections < len(done.sessions) + len(done.refused):
        wrong.append(f"connections: {found.connections} found, more were made")
    twice = sum(number - 1 for number in found.identifiers.values())
    if twice:
        wrong.append(f"{twice} events came twice")
    if found.gaps:
        wrong.append(f"{found.gaps} gaps, though nothing was lost")
    if not (done.statements and done.sessions and done.refused and done.pgbench_transactions):
        wrong.append("the workload did not run; let it run for a few seconds at least")
    print()
    print(f"events stored           {len(found.identifiers)}")
    print(f"gaps                    {found.gaps}")
    print(f"statements              {len(done.statements)} known in advance")
    print(f"pgbench                 {done.pgbench_transactions} transactions")
    print(f"sessions                {len(done.sessions)}, {len(done.refused)} failed log-ins")
    if delays:
        p50, p99 = _quantile(delays, 0.50), _quantile(delays, 0.99)
        print(f"p50/p99 seconds from statement to API  {p50:.3f} / {p99:.3f}")
    for line in wrong[:20]:
        print(f"WRONG: {line}")
    print("everything was found, once each" if not wrong else f"{len(wrong)} differences")
    return 1 if wrong else 0


def _differences(what: str, expected: Iterable[str], found: Counter[str]) -> list[str]:
    numbers = {name: found[name] for name in expected}
    return [f"{what}: {name} was found {number} times" for name, number in numbers.items() if number != 1]


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
