"""Front door: load a suite and run it, from a notebook as from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UserError
from harness.evaluation.evaluate import evaluate
from harness.evaluation.store_path import DEFAULT_STORE
from harness.evaluation.tokens import collect_tokens
from harness.plugins import load_plugin as _load_plugin
from harness.run import RunSummary
from harness.run import run_suite as _run_suite
from harness.suites import Suite
from harness.suites.option_types import checked_options
from harness.suites.resolve import resolve_suite
from methods.setting_problems import quoted

if TYPE_CHECKING:
    from harness.executors.base import Executor
    from harness.progress import Reporter

__all__ = ["DEFAULT_STORE", "collect_tokens", "evaluate", "load_plugin", "load_suite", "run_suite"]


def load_plugin(file: str | Path) -> list[tuple[str, str]]:
    """Import a plugin file, as ``--plugin FILE`` does, and return (kind, name) of everything it registers.

    Raises:
        UserError: if the file is missing, raises, or registers nothing.
    """
    return _load_plugin(Path(file))


def load_suite(name_or_path: str | Path, **overrides: Any) -> Suite:
    """Load a suite by name, or from a TOML file by its path, and check every name in it.

    Args:
        name_or_path: ``"demo"``, ``"paper"``, ... (``harness list suites``), or a path that ends in ``.toml``.
        overrides: options of ``harness run`` by name: ``dataset``, ``backbone``, ``site``, ``checkpoint``,
            ``evaluation``, ``head``, ``scale`` and so on; ``methods`` and ``token_seeds`` are tuples, ``settings`` is a
            list of ``"KEY=VALUE"``.

    Raises:
        UserError: an unknown option, name, key or value; the message names the file, the line and the nearest valid
            name.
    """
    if not isinstance(name_or_path, str | Path):
        raise UserError(f"{quoted(name_or_path)} is no suite: give its name, or the path of a file that ends in .toml.")
    return resolve_suite(str(name_or_path), **checked_options(overrides)).suite


def run_suite(
    suite: Suite | str | Path,
    store: str | Path = DEFAULT_STORE,
    *,
    device: str = "auto",
    cache: str | Path | None = None,
    rerun: bool = False,
    executor: str | Executor = "local",
    reporter: Reporter | None = None,
    log: str | None = None,
) -> RunSummary:
    """Run every cell of a suite that is not finished yet, and record each in the store as soon as it is done.

    Args:
        suite: a suite, its name, or the path of its TOML file.
        store: DuckDB file of results; fitted methods are written to ``artifacts/`` beside it.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        cache: folder for token sets and baselines; default ``cache/`` beside the store.
        rerun: also run finished cells again.
        executor: name of an executor, or an open one.
        reporter: receives the progress; default: no output.
        log: name of a training log: ``"wandb"``, ``"tensorboard"`` or ``"trackio"``; default: none.

    Returns:
        Counts of finished, failed and kept cells, the ids of all cells, and the parts of the suite.

    Raises:
        UserError: if the suite is invalid or cannot run; raised before anything is computed.
    """
    loaded = suite if isinstance(suite, Suite) else load_suite(suite)
    return _run_suite(
        loaded, store, device=device, cache=cache, rerun=rerun, executor=executor, reporter=reporter, log=log
    )
