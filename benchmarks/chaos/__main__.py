"""Run the campaign and print its table; exit code 1 if there is a fault."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import time
from pathlib import Path

# As the command line sets it, before torch is imported; one thread, since several cases run at a time.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from chaos import processes
from chaos.campaign import run_all
from chaos.kinds import kinds
from chaos.table import Row, table


def main() -> int:
    """Run the chosen kinds and return the exit code."""
    available = kinds()
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument(
        "--kind", nargs="+", choices=list(available), default=list(available), help="default: all kinds"
    )
    parser.add_argument("--seed", type=int, default=17, help="random seed of the mutations (default: 17)")
    parser.add_argument("--only", nargs="+", type=int, help="numbers of the cases that are run; default: all")
    parser.add_argument("--limit", type=int, help="run at most this number of cases of each kind, evenly spaced")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="cases at a time (default: the cores)")
    parser.add_argument("--out", type=Path, default=Path("outputs/chaos"), help="folder of the faults")
    asked = parser.parse_args()
    # A background job of a shell ignores Ctrl-C, and so would the runs that are interrupted.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    processes.warm_up()
    processes.freeze()
    rows = []
    for name in asked.kind:
        module = available[name]
        started = time.monotonic()
        cases = list(module.cases(asked.seed))
        if asked.limit is not None:
            step = max(1, len(cases) // asked.limit)
        only = asked.only or (range(0, len(cases), step) if asked.limit is not None else None)
        n_clear = n_faults = 0
        for result in run_all(cases, faults=asked.out / f"{name}-{asked.seed}", workers=asked.workers, only=only):
            n_clear += not result.faults
            n_faults += bool(result.faults)
            for fault in result.faults:
                print(f"FAULT {name} --seed {asked.seed} --only {result.number} ({result.name}): {fault}", flush=True)
            if asked.only and not result.faults:
                for done in result.done:
                    print(f"$ harness {' '.join(done.arguments)}\n{done.stdout}{done.stderr}exit code {done.code}")
        rows.append(Row(name, n_clear + n_faults, n_clear, n_faults, time.monotonic() - started))
        print(table(rows[-1:], header=False), flush=True)
    # Otherwise DuckDB reports the frozen objects as leaks.
    gc.unfreeze()
    print()
    print(table(rows))
    if any(row.n_faults for row in rows):
        print(f"\nInput and output of each fault are in {asked.out}; repeat one with --kind KIND --seed SEED --only N.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
