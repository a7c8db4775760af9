"""``harness run --scale rehearsal``: its options, and the output of its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from harness.commands.options import ComputeOptions
from harness.commands.output import out, print_json, print_text_table
from harness.errors import UserError

if TYPE_CHECKING:
    from harness.commands.run import RunOptions
    from harness.executors import Executor
    from harness.progress import Reporter
    from harness.rehearsal.report import Report
    from harness.suites import Suite


def require_rehearsable(choice: RunOptions, executor: str, log: str | None) -> None:
    """Refuse options that a rehearsal does not have.

    Raises:
        UserError: naming the option.
    """
    if executor != "local":
        raise UserError(f"--scale rehearsal times one process: it cannot use --executor {executor}.")
    for option, value in (("--dictionary", choice.dictionary), ("--checkpoint", choice.checkpoint), ("--log", log)):
        if value:
            raise UserError(f"{option} does not belong to --scale rehearsal, which has random weights: leave it out.")


def rehearsal(
    suite: Suite,
    compute: ComputeOptions,
    executor: Executor,
    reporter: Reporter,
    *,
    budget: float | None,
    rerun: bool,
    as_json: bool,
) -> None:
    """Rehearse a suite and print the report; exit with 130 if it was interrupted, with 1 if a cell failed."""
    from harness.rehearsal import rehearse

    result = rehearse(
        suite,
        compute.store,
        executor=executor,
        reporter=reporter,
        device=compute.device,
        cache=compute.cache,
        budget_minutes=budget,
        rerun=rerun,
    )
    if result.report is None:
        if as_json:
            print_json({"interrupted": True, "folder": str(result.folder)})
        else:
            out("\nInterrupted; run the same command to continue.")
        raise typer.Exit(130)
    if as_json:
        print_json({**result.report.as_json(), "failed": result.failed})
    else:
        _print(result.report, result.failed)
    if result.failed:
        raise typer.Exit(1)


def _print(report: Report, failed: int) -> None:
    from harness.rehearsal.report import hours, tables
    from results.duration_text import duration_text

    out("")
    for table in tables(report):
        print_text_table(table)
    total = report.total
    lines = [
        f"{report.suite} on this machine: about {hours(total.seconds)} hours, between {hours(total.low)} and "
        f"{hours(total.high)}, without judges; doctor's estimate is {hours(total.estimated or 0.0)} hours.",
    ]
    if (ratio := report.check_ratio) is not None:
        doctors = report.doctor_ratio
        and_doctors = f", and {doctors:.2f} times doctor's estimate of the same work" if doctors is not None else ""
        lines.append(f"The larger share took {ratio:.2f} times its prediction{and_doctors}.")
    load = f"{min(report.load):.1f} to {max(report.load):.1f}" if report.load else "unknown"
    failures = f" {failed} cells failed; the log says why." if failed else ""
    lines.append(
        f"This call took {duration_text(report.seconds)}; measured work: {duration_text(report.measured_seconds)}. "
        f"Load average: {load}.{failures}"
    )
    if report.speeds:
        lines.append(
            f"Matrix products ran {min(report.speeds):.2f} to {max(report.speeds):.2f} times as fast as in the "
            "calibration. Far from 1, calibrate again on a machine that is as idle as it is for the run."
        )
    lines.append(
        f"Report, and trace for ui.perfetto.dev or about:tracing: rehearsal.json and trace.json in {report.folder}."
    )
    out("\n".join(lines))
