"""Scores of methods, dictionaries and objects on one layer, in one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from harness import backbones
from harness.cells.plan import open_target
from harness.devices import best_device, require_device_name
from harness.errors import UserError
from harness.evaluation.items import Entries, items_of
from harness.evaluation.layer import layer_suite
from harness.evaluation.progress import reporter_of
from harness.evaluation.store_path import store_path
from harness.run import RunSummary, run_suite
from harness.suites import MethodEntry, Suite, names_of
from methods.plugin_calls import calling
from methods.setting_problems import quoted
from results.comparison.leaderboard import leaderboard
from results.location import require_location
from results.store import Store, open_store

if TYPE_CHECKING:
    from methods.base import Method

#: Columns that :func:`evaluate` returns, and their order.
COLUMNS = (
    *("label", "metric", "value", "uncertainty", "unit", "direction", "n", "token_seed", "init_seed", "flags"),
    *("backbone", "site", "dataset", "method", "n_units", "uncertainty_kind", "version", "params", "details"),
    "cell_id",
)


def evaluate(
    method_or_dictionary: str | Path | Method | type[Method] | Any,
    *,
    backbone: str,
    site: str | None = None,
    dataset: str | None = None,
    metrics: Sequence[str] | None = None,
    store: str | Path | None = None,
    seed: int | Sequence[int] = 42,
    suite: str | Path = "demo",
    evaluation: float | None = None,
    head: str | None = None,
    checkpoint: str | Path | None = None,
    weights: bool = True,
    settings: Sequence[str] = (),
    device: str = "auto",
    cache: str | Path | None = None,
    rerun: bool = False,
    log: str | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Measure methods on one layer of a backbone, and return their scores.

    Every row is a cell of the store, with the id that ``harness run`` gives it: finished cells are read, not computed
    again, and rows of the command line and of this function are on one board.

    Args:
        method_or_dictionary: what to measure; a list of such things, or a mapping of labels to them:

            - name of a registered method (``"topk_sae"``), with the settings it has in the suite, else its defaults;
            - path of a trained dictionary in any format of ``methods.pretrained.formats()``, or ``"hf:USER/NAME"``;
            - method of ``methods.create(...)`` that is not fitted: it is fitted on the probing tokens of the layer;
            - fitted method, of ``fit`` or ``methods.pretrained.load``: it is scored as it is;
            - class that is registered with ``@methods.register``;
            - any object, or ``torch.nn.Module``, with ``encode(x)`` -> codes (n, n_units) of the layer's output x
              (n, d), and ``decode(codes)`` -> (n, d), affine in the codes. If ``decode`` requires a second argument, it
              is given x, to undo a normalisation of each token.
        backbone: name of a backbone (``harness list backbones``).
        site: module path of the layer (``harness list sites``); default: that of the suite, else of the backbone.
        dataset: images, such as ``"photos"`` or ``"folder:PATH"``; default: those of the suite.
        metrics: ids of metrics (``harness list metrics``); default: those of the suite. Other metrics make other cells.
        store: DuckDB file of results; default: ``HARNESS_STORE``, else ``outputs/results.duckdb``. Fitted methods are
            kept beside it.
        seed: token seed, which draws the probing tokens, or several; the init seeds are those of the suite.
        suite: name or path of the suite whose settings are used for images, tokens, head and metrics.
        evaluation: number of evaluation images, or a share below 1; default: as ``harness run``.
        head: ``"own"``, ``"probe"`` or another head; default: that of the suite.
        checkpoint: file of other weights of the backbone.
        weights: False: random weights.
        settings: ``["KEY=VALUE"]``, as ``--set`` of ``harness run``.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        cache: folder of token sets and baselines; default: ``cache/`` beside the store.
        rerun: also compute finished cells again.
        log: name of a training log (``harness list logs``), as ``--log`` of ``harness run``; default: none.
        progress: print the progress.

    Returns:
        One row per score, in the order of the arguments. Columns: ``label``, ``metric``, ``value``, ``uncertainty``
        (standard error, over what ``uncertainty_kind`` says; NaN if the metric has none), ``unit`` ("fraction" is
        between 0 and 1), ``direction`` ("higher" or "lower" is better), ``n`` (number of units, images or tokens),
        ``token_seed``, ``init_seed``, ``flags`` (reasons not to rank the row, such as "at chance; one seed"),
        ``backbone``, ``site``, ``dataset``, ``method``, ``n_units``, ``uncertainty_kind``, ``version`` of the metric,
        ``params``, ``details`` and ``cell_id``. ``attrs["notes"]`` holds the notes of each cell by its id, such as the
        metrics that were left out; a metric of ``metrics`` without a score is printed as well.

    Raises:
        UserError: if an argument is invalid, before anything is computed; or if a method fails, with its error.
        results.StoreError: if the store cannot be used.
        KeyboardInterrupt: if it is interrupted; finished cells are kept.
    """
    path = store_path(store)
    require_location(path)
    require_device_name(str(device))
    best_device(str(device))
    items = items_of(method_or_dictionary)
    names = [name for item in items if (name := item.method_name) is not None]
    layer = {"backbone": backbone, "site": site, "checkpoint": checkpoint, "weights": weights, "head": head}
    chosen = layer_suite(
        suite,
        caller="evaluate",
        seed=seed,
        options={**layer, "dataset": dataset, "evaluation": evaluation},
        settings=[*settings, *_metric_settings(metrics)] if isinstance(settings, list | tuple) else settings,
        methods=names,
    )
    reporter = reporter_of(progress)
    with Entries(chosen, lambda: _width(chosen), path.parent) as entries:
        methods = entries.of(items)
        _require_effect(settings, methods)
        targets = tuple(target.model_copy(update={"methods": methods}) for target in chosen.targets)
        summary = run_suite(
            chosen.model_copy(update={"targets": targets}),
            path,
            device=str(device),
            cache=cache,
            rerun=rerun,
            log=log,
            reporter=reporter,
        )
        asked = () if metrics is None else tuple(map(str, metrics))
        frame = _scores(path, summary, asked=asked)
    for sentence in _missing(frame, asked):
        reporter.say(sentence)
    return frame


def _require_effect(settings: Sequence[str], methods: Sequence[MethodEntry]) -> None:
    """Refuse settings of methods that are not evaluated by their name.

    Raises:
        UserError: if there is one.
    """
    names = {name for entry in methods for name in names_of(entry)}
    for text in settings:
        parts = text.split("=")[0].strip().split(".")
        if parts[0] == "method" and not any(name in text.split("=")[0] for name in names):
            raise UserError(f"evaluate: the setting {text!r} has no effect: no row has the name {parts[1]!r}.")


def _metric_settings(metrics: Sequence[str] | None) -> list[str]:
    if metrics is None:
        return []
    is_sequence = isinstance(metrics, list | tuple | set | frozenset | np.ndarray)
    if not is_sequence or not len(metrics) or not all(isinstance(name, str) for name in metrics):
        raise UserError(f"evaluate: metrics = {quoted(metrics)}: give a list of ids, such as ['ms_score', 'r2'].")
    return [f"evaluation.metrics=[{', '.join(repr(str(name)) for name in metrics)}]"]


def _width(suite: Suite) -> int:
    """Return the width of the output of the suite's only layer."""
    target = suite.targets[0]
    backbone = backbones.load(target.backbone, checkpoint=target.checkpoint, weights=target.weights, device="cpu")
    with calling(backbones.BACKBONES, target.backbone):
        return open_target(target, backbone).d_out


def _scores(path: Path, summary: RunSummary, *, asked: Sequence[str]) -> pd.DataFrame:
    """Return the scores of the cells of a run.

    Raises:
        UserError: if a cell failed or could not be recorded.
        KeyboardInterrupt: if the run was interrupted.
    """
    if summary.interrupted:
        raise KeyboardInterrupt
    opened = open_store(path)
    cells = opened.cells().set_index("cell_id")
    for cell_id in summary.cell_ids:
        if cell_id not in cells.index:
            raise UserError(
                f"evaluate: {path} cannot take the result of the cell {cell_id} now, which waits beside it; call "
                "evaluate again."
            )
        cell = cells.loc[cell_id]
        if cell["status"] != "finished":
            raise UserError(
                f"evaluate: {cell['label']} failed: {cell['error_type']}: {cell['error_message']} (the traceback is in "
                f"the store, in the cell {cell_id}). Finished rows are kept: without this one, they are read."
            )
    frames = [opened.scores(cell_id=cell_id) for cell_id in summary.cell_ids]
    frame = pd.concat(frames, ignore_index=True)
    is_evidence = frame["metric"].str.startswith("evidence_") & ~frame["metric"].isin([*asked])
    frame = frame[~is_evidence].reset_index(drop=True)
    flags = _flags(opened, summary.cell_ids)
    frame = frame.assign(flags=[flags.get(cell_id, "") for cell_id in frame["cell_id"]])[list(COLUMNS)]
    frame.attrs["notes"] = {cell_id: list(cells.loc[cell_id, "notes"]) for cell_id in summary.cell_ids}
    return frame


def _missing(frame: pd.DataFrame, asked: Sequence[str]) -> Iterator[str]:
    """Yield a sentence per row that lacks a metric that was asked for, with the notes of its cell that name it."""
    for cell_id, notes in frame.attrs["notes"].items():
        scores = frame[frame["cell_id"] == cell_id]
        missing = [metric for metric in asked if metric not in set(scores["metric"])]
        if missing:
            label = scores["label"].iloc[0] if len(scores) else cell_id
            reasons = [note for note in notes if any(metric in note for metric in missing)]
            yield " ".join([f"{label}: no score of {', '.join(missing)}.", *reasons])


def _flags(store: Store, cell_ids: Sequence[str]) -> Mapping[str, str]:
    """Return the flags of each cell's row: reasons not to rank it, judged with all rows of its board in the store."""
    boards = leaderboard(store)
    return {
        cell_id: "; ".join(flag.name for flag in row.flags)
        for board in boards
        for row in board.rows
        for cell_id in row.cell_ids
        if cell_id in cell_ids
    }
