"""Everything worth measuring on a GPU, in one call: the limits of the sections sum to nine minutes on one H100.

    make gpu-report                                             # in the environment of `make setup`
    python benchmarks/gpu_report.py [--device cuda] [--sections NAME ...] [--seconds N] [--out FOLDER]
    python benchmarks/gpu_report.py --tiny                      # every section at a small size on the CPU: seconds

On a machine without a network that has Python 3.12, PyTorch, timm, numba, scikit-learn, transformers, pandas, pyarrow,
typer and safetensors, first collect the other packages on a machine with a network (an ignored file, under 45 MiB,
which then travels with the repository):

    benchmarks/gpu_wheels.sh                                    # writes gpu-wheels/site.tar.xz
    # on the machine with the GPU, from the root of the repository:
    python3 -m tarfile -e gpu-wheels/site.tar.xz /tmp/site
    PYTHONPATH=.:/tmp/site python3 benchmarks/gpu_report.py

Each section runs in a process of its own with a time limit of its own. After each section the results so far are
written to ``report.json`` and ``report.md`` in ``--out`` (default: the environment variable ``OUT``, or
``outputs/gpu``). A section that fails or exceeds its limit keeps the rows it had measured; the others still run.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib
import importlib.metadata
import json
import multiprocessing
import os
import pkgutil
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

# As the command line sets it, before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
sys.path[:0] = [path for path in (str(HERE), str(ROOT)) if path not in sys.path]

import gpu  # noqa: E402 - after the path
from gpu.plots import do_without_plots  # noqa: E402

#: Seconds that a section may use in excess of its limit to be stopped.
GRACE_S = 3
#: On a CPU that is busy with other things, the sections of ``--tiny`` get at least this time.
TINY_LIMIT_S = 120
#: Start of the status of a section that had no time left.
LEFT_OUT = "left out"
#: Seconds to describe the machine; the first use of a GPU takes some.
MACHINE_LIMIT_S = 60


def sections() -> dict[str, ModuleType]:
    """Return the modules of ``benchmarks/gpu`` that are sections, by name, the most valuable first."""
    modules = {info.name: importlib.import_module(f"gpu.{info.name}") for info in pkgutil.iter_modules(gpu.__path__)}
    with_limit = {name: module for name, module in modules.items() if hasattr(module, "LIMIT_S")}
    return dict(sorted(with_limit.items(), key=lambda item: item[1].ORDER))


def machine(device: str) -> dict[str, Any]:
    """Return the date, the device, its driver, and the versions that a reader of the numbers needs."""
    import torch

    versions: dict[str, str | None] = {"python": platform.python_version(), "torch": torch.__version__}
    for name in ("timm", "numba", "numpy", "duckdb", "hdbscan", "overcomplete"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    described: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "device": f"CPU, {torch.get_num_threads()} threads",
        "versions": versions,
    }
    if device.startswith("cuda"):
        if not torch.cuda.is_available():
            raise SystemExit("PyTorch sees no GPU; --tiny tests the report itself on the CPU.")
        from harness.efficiency.protocol import circumstances

        described["device"] = torch.cuda.get_device_name(device)
        described["memory_gib"] = round(torch.cuda.get_device_properties(device).total_memory / 2**30, 1)
        described |= {name: circumstances(torch.device(device))[name] for name in ("cuda", "cudnn", "driver")}
    return described


def measure(name: str, rows: Path, log: Path, options: argparse.Namespace, limit_s: float) -> None:
    """Run one section, or describe the machine, in a forked process; its output goes to ``log``."""
    # A session of its own, so that the processes it starts are stopped with it.
    os.setsid()
    with log.open("w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    if name == "machine":
        rows.write_text(json.dumps(machine(options.device)) + "\n")
        return
    from gpu.record import Record

    sections()[name].run(Record(rows, options.device, tiny=options.tiny, limit_s=limit_s))


def run_apart(name: str, options: argparse.Namespace, limit_s: float) -> tuple[list[Any], int | None, list[str]]:
    """Run :func:`measure` in a process of its own, and stop it and all that it started at the limit.

    The process is forked, so what was imported here is not imported again; this process computes nothing itself and
    does not use the device.

    Returns:
        The JSON lines that it wrote, its exit code (None if it was stopped), and the end of its output.
    """
    with tempfile.TemporaryDirectory() as folder:
        rows, log = Path(folder) / "rows.jsonl", Path(folder) / "log.txt"
        process = multiprocessing.get_context("fork").Process(target=measure, args=(name, rows, log, options, limit_s))
        process.start()
        process.join(limit_s + GRACE_S)
        code = process.exitcode
        if process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.join()
        text = rows.read_text() if rows.exists() else ""
        end_of_log = log.read_text(errors="replace").strip().splitlines()[-12:] if log.exists() else []
    # A line without an end was being written when the process was stopped.
    complete = text.splitlines() if text.endswith("\n") else text.splitlines()[:-1]
    return [json.loads(line) for line in complete], code, end_of_log


def run_section(name: str, options: argparse.Namespace, limit_s: float) -> dict[str, Any]:
    """Run one section, and return its results."""
    started = time.monotonic()
    entries, code, end_of_log = run_apart(name, options, limit_s)
    tables: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        if "table" in entry:
            tables.setdefault(entry["table"], []).append(entry["values"])
    failed_checks = sum(row["result"] != "ok" for row in tables.get("checks", ()))
    status = "stopped at its time limit" if code is None else "failed" if code else "done"
    if status == "done" and failed_checks:
        status = f"done, failed checks: {failed_checks}"
    return {
        "status": status,
        "seconds": round(time.monotonic() - started, 1),
        "limit_s": limit_s,
        "tables": tables,
        "notes": [entry["note"] for entry in entries if "note" in entry],
        "log": [] if code == 0 else end_of_log,
    }


def left_out(limit_s: float, seconds_left: float) -> dict[str, Any]:
    """Return the results of a section that is not run because it may exceed ``--seconds``."""
    status = f"{LEFT_OUT}: {max(0.0, seconds_left):.0f} s were left"
    return {"status": status, "seconds": 0.0, "limit_s": limit_s, "tables": {}, "notes": [], "log": []}


def as_markdown(report: dict[str, Any]) -> str:
    """Return the report as a page."""
    about = report["machine"]
    details = [f"{about['device']}"]
    details += [f"{about['memory_gib']} GiB"] if "memory_gib" in about else []
    details += [f"{name} {about[name]}" for name in ("driver", "cuda", "cudnn") if name in about]
    details += [f"{name} {version or 'missing'}" for name, version in about["versions"].items()]
    lines = [f"Report of {about['date']}.", "", ", ".join(details) + ".", ""]
    if report["tiny"]:
        lines += ["**Sizes of a test: the numbers mean nothing.**", ""]
    lines += ["| section | status | seconds | limit |", "|---|---|---|---|"]
    lines += [f"| {s['title']} | {s['status']} | {s['seconds']} | {s['limit_s']} |" for s in report["sections"]]
    for section in report["sections"]:
        lines += ["", f"## {section['title']}", "", *(f"{note}\n" for note in section["notes"])]
        for title, rows in section["tables"].items():
            columns = list(dict.fromkeys(name for row in rows for name in row))
            lines += [
                f"{title.capitalize()}:",
                "",
                "| " + " | ".join(name.replace("_", " ") for name in columns) + " |",
            ]
            lines += ["|" + "---|" * len(columns)]
            lines += ["| " + " | ".join(cell(row.get(name)) for name in columns) + " |" for row in rows] + [""]
        if section["log"]:
            lines += ["End of its output:", "", "```", *section["log"], "```"]
    return "\n".join(lines).rstrip() + "\n"


def table_line(texts: Iterable[str]) -> str:
    """Return a line of a Markdown table."""
    return "| " + " | ".join(texts) + " |"


def cell(value: Any) -> str:
    """Return a value as the text of a table's cell."""
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def write(report: dict[str, Any], folder: Path) -> None:
    """Write ``report.json`` and ``report.md``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    (folder / "report.md").write_text(as_markdown(report))


def main(arguments: list[str] | None = None) -> int:
    """Run the report; return 1 if a section failed, was stopped, or has a failed check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", help="device of torch (default: cuda; with --tiny: cpu)")
    parser.add_argument("--sections", nargs="+", metavar="NAME", help=f"default: all ({', '.join(sections())})")
    parser.add_argument(
        "--seconds", type=float, metavar="N", help="leave out sections that may end later than in N seconds"
    )
    parser.add_argument("--tiny", action="store_true", help="small sizes, as a test of the report itself")
    parser.add_argument("--out", type=Path, help="folder for the report (default: $OUT, or outputs/gpu)")
    options = parser.parse_args(arguments)
    end = time.monotonic() + (float("inf") if options.seconds is None else options.seconds)
    options.device = options.device or ("cpu" if options.tiny else "cuda")
    do_without_plots()
    available = sections()
    names = options.sections or [name for name in available if not getattr(available[name], "ON_REQUEST", False)]
    if unknown := [name for name in names if name not in available]:
        parser.error(f"unknown section {unknown[0]!r}; use one of {', '.join(available)}")
    described, code, end_of_log = run_apart("machine", options, MACHINE_LIMIT_S)
    if code != 0:
        parser.error(f"the device {options.device!r} cannot be used: {' '.join(end_of_log[-1:])}")
    folder = options.out or Path(os.environ.get("OUT") or "outputs/gpu")
    report: dict[str, Any] = {"machine": described[0], "tiny": options.tiny, "sections": []}
    for name in names:
        module = available[name]
        limit_s = max(module.LIMIT_S, TINY_LIMIT_S) if options.tiny and name != "hang" else module.LIMIT_S
        print(f"{name} (at most {limit_s} s) ...", end=" ", flush=True)
        seconds_left = end - time.monotonic()
        fits = limit_s + GRACE_S <= seconds_left
        result = run_section(name, options, limit_s) if fits else left_out(limit_s, seconds_left)
        section = {"name": name, "title": module.TITLE, **result}
        report["sections"].append(section)
        write(report, folder)
        print(f"{section['status']}, {section['seconds']} s", flush=True)
        if section["log"]:
            print("\n".join(section["log"]))
    print(f"Report: {folder / 'report.md'}")
    statuses = [section["status"] for section in report["sections"]]
    return int(any(status != "done" and not status.startswith(LEFT_OUT) for status in statuses))


if __name__ == "__main__":
    sys.exit(main())
