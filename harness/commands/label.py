"""``harness label``: name the units of stored cells by concepts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.options import (
    ComputeOptions,
    JsonOption,
    LayerOptions,
    PluginOption,
    ScaleOption,
    load_plugins,
    verb,
)
from harness.commands.output import out, print_json, print_table, reporting, take_in_waiting
from harness.errors import UserError

if TYPE_CHECKING:
    from harness.steering.labelling import LabelledCell


@verb(
    "harness label --suite demo --scorer classifier --scorer classes",
    "harness label --suite demo --scorer clip --option model=hf:google/siglip2-base-patch16-224 --concepts words.txt",
    "harness label --suite demo --cell a4276f2a --top 20",
)
def label(
    choice: LayerOptions,
    compute: ComputeOptions,
    scorer: Annotated[
        list[str] | None,
        typer.Option(help="Scorer of `harness list scorers`; repeat for several; default: classifier."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", help="Setting of a scorer: KEY=VALUE, or SCORER.KEY=VALUE with several scorers."),
    ] = None,
    concepts: Annotated[
        str | None, typer.Option(help="Concepts of the scorer clip: common, imagenet, or a text file; default: common.")
    ] = None,
    split: Annotated[
        str, typer.Option(help="Images on which units are labelled: evaluation (that of the scores) or probing.")
    ] = "evaluation",
    method: Annotated[list[str] | None, typer.Option(help="Only cells of this method; repeat for several.")] = None,
    cell: Annotated[
        list[str] | None, typer.Option(help="Only this cell: its id, first digits, or the name of a row with one cell.")
    ] = None,
    top: Annotated[
        int,
        typer.Option(
            help="Units whose labels are printed, per cell: those furthest above the null.", min=0, max=100_000
        ),
    ] = 5,
    again: Annotated[bool, typer.Option("--again", help="Also compute labels again that are stored.")] = False,
    scale: ScaleOption = None,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Name the units of finished cells by the concepts that describe their images best (CLIP-Dissect).

    Give --dataset, --scale and --set the values of `harness run`. Labels are stored with a null from permuted images
    and shown in the app; labels that are there are kept.
    """
    from results.store import open_store

    load_plugins(plugin)
    # Opened for reading first, so that a wrong path does not create a store.
    open_store(compute.store).cells()
    scorers = tuple(scorer or ["classifier"])
    settings = _settings(option or [], concepts, scorers)
    suite = choice.choose(scale=scale).suite
    from harness.steering.labelling import label_units

    opened = open_store(compute.store, read_only=False)
    take_in_waiting(opened)
    with reporting(as_json) as reporter:
        cells = label_units(
            opened,
            suite,
            scorers=scorers,
            settings=settings,
            split=split,
            cells=cell or (),
            methods=method or (),
            anew=again,
            device=compute.device,
            cache=compute.cache,
            reporter=reporter,
        )
    best = {(each.cell_id, each.labelling): _best(opened, each, top) for each in cells}
    if as_json:
        return print_json([_as_json(each, best[each.cell_id, each.labelling]) for each in cells])
    print_table([_row(each) for each in cells])
    out(
        "labelled: units whose best label has p <= 0.05 against permuted images; chance: the same for images permuted "
        "for all units together, ± their standard deviation."
    )
    for each in cells if top else ():
        out(f"\n{each.label} at {each.layer}, token seed {each.token_seed}, by {each.scorer}:")
        print_table(best[each.cell_id, each.labelling])
    n_kept = sum(each.kept for each in cells)
    out(f"\n{len(cells) - n_kept} labellings computed, {n_kept} kept. Labels: {compute.store}")


def _settings(options: list[str], concepts: str | None, scorers: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return the settings by scorer."""
    settings: dict[str, dict[str, Any]] = {}
    for text in options:
        key, equals, value = text.partition("=")
        name, dot, setting = key.partition(".")
        if not dot:
            name, setting = scorers[0], key
            if len(scorers) > 1:
                raise UserError(f"--option {text}: with several scorers, say which: {scorers[0]}.{key}=VALUE.")
        if not equals or not setting:
            raise UserError(f"--option {text}: give KEY=VALUE, or SCORER.KEY=VALUE.")
        settings.setdefault(name, {})[setting] = value
    if concepts is not None:
        if "clip" not in scorers:
            raise UserError("--concepts is for the scorer clip: add --scorer clip, or leave it out.")
        settings.setdefault("clip", {})["concepts"] = concepts
    return settings


def _best(store: Any, cell: LabelledCell, top: int) -> list[dict[str, Any]]:
    """Return the labels of the units with the highest scores."""
    from harness.steering.labelling import best_labelled

    return [
        {
            "unit": row["unit"],
            "label": row["label"],
            "score": f"{row['score']:.2f}",
            "null": "" if row["null_score"] is None else f"{row['null_score']:.2f}",
            "p": "" if row["p_value"] is None else f"{row['p_value']:.3f}",
        }
        for row in best_labelled(store, cell.cell_id, cell.labelling, top)
    ]


def _row(cell: LabelledCell) -> dict[str, Any]:
    scores = {score.metric: score for score in cell.scores}
    share, distinct = scores.get("labelled_share"), scores.get("distinct_labels")
    return {
        "layer": cell.layer,
        "method": cell.label,
        "token_seed": cell.token_seed,
        "scorer": cell.scorer,
        "units": cell.n_units,
        "labelled_%": "" if share is None else _percent(share.value),
        "chance_%": "" if share is None else _chance(share),
        "distinct_labels": "" if distinct is None or distinct.value is None else int(distinct.value),
        "": "kept" if cell.kept else "",
    }


def _chance(share: Any) -> str:
    chance = _percent((share.details or {}).get("chance"))
    return chance if share.uncertainty is None or not chance else f"{chance} ± {_percent(share.uncertainty)}"


def _percent(value: Any) -> str:
    is_number = isinstance(value, (int, float)) and value == value
    return f"{100 * value:.1f}" if is_number else ""


def _as_json(cell: LabelledCell, best: list[dict[str, Any]]) -> dict[str, Any]:
    scores = {
        score.metric: {"value": score.value, "uncertainty": score.uncertainty, "n": score.n} for score in cell.scores
    }
    return {**cell._asdict(), "scores": scores, "best": best}
