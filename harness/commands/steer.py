"""``harness steer``: amplify and suppress concepts in a layer, and show how the predictions change."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from harness.commands.options import (
    MOST_SEED,
    ComputeOptions,
    JsonOption,
    LayerOptions,
    PluginOption,
    ScaleOption,
    load_plugins,
    verb,
)
from harness.commands.output import reporting, take_in_waiting
from harness.commands.steer_output import print_scores, print_steered
from harness.errors import UserError


@verb(
    "harness steer --cell 8d2c --amplify dog --suppress cat --alpha 5 --gamma -50 --kappa 50 --nu 50",
    "harness steer --cell 8d2c --amplify dog --image animal__kitten.jpg --keep",
    "harness steer --suite demo --score --method elude --method topk_sae",
)
def steer(
    choice: LayerOptions,
    compute: ComputeOptions,
    cell: Annotated[
        list[str] | None, typer.Option(help="Cell: its id, first digits, or the name of a row with one cell.")
    ] = None,
    amplify: Annotated[list[str] | None, typer.Option(help="Concept whose units are scaled by --alpha.")] = None,
    suppress: Annotated[list[str] | None, typer.Option(help="Concept whose units are scaled by --gamma.")] = None,
    alpha: Annotated[float, typer.Option(help="Factor of amplified activations.")] = 5.0,
    gamma: Annotated[float, typer.Option(help="Factor of suppressed activations; 0 removes them.")] = -50.0,
    kappa: Annotated[
        int | None, typer.Option(help="Most units per concept, with --score per class; default: 50.", min=1)
    ] = None,
    nu: Annotated[
        str, typer.Option(help="Patches per unit and image, those where it is most active: a number, or all.")
    ] = "50",
    image: Annotated[
        list[str] | None,
        typer.Option(help="Evaluation image by its name or a part of it; repeat for several; default: all."),
    ] = None,
    scorer: Annotated[
        str | None, typer.Option(help="Scorer whose labels are matched; default: the one that labelled last.")
    ] = None,
    matcher: Annotated[
        str | None,
        typer.Option(
            help="Text matcher: words, sentences, sentences:FOLDER or hf:NAME; default: sentences if installed, "
            "else words."
        ),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Similarity that a label must exceed; default: that of the matcher.")
    ] = None,
    controls: Annotated[int, typer.Option(help="Draws of random units for the control.", min=1, max=1000)] = 3,
    seed: Annotated[int, typer.Option(help="Random seed of the random units.", min=0, max=MOST_SEED)] = 0,
    keep: Annotated[
        bool, typer.Option("--keep", help="Store the effect, for `harness export --figure steering`.")
    ] = False,
    score: Annotated[
        bool, typer.Option("--score", help="Measure the steering score of all cells instead, and store it.")
    ] = False,
    method: Annotated[
        list[str] | None, typer.Option(help="With --score: only cells of this method; repeat for several.")
    ] = None,
    random_units: Annotated[
        bool, typer.Option("--random-units", help="With --score: steer random units, to check that the score is 0.")
    ] = False,
    scale: ScaleOption = None,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Scale the units of concepts in a layer, and show how the network's predictions change.

    Units are found by their labels (`harness label`). Random units with a change of equal size are the control. Give
    --dataset, --scale and --set the values of `harness run`.
    """
    from results.store import open_store

    load_plugins(plugin)
    open_store(compute.store).cells()
    patches = _patches(nu)
    if score:
        _refuse("--score", amplify=amplify, suppress=suppress, image=image, scorer=scorer, matcher=matcher, keep=keep)
    elif method or random_units:
        raise UserError("--method and --random-units belong to --score: add it, or leave them out.")
    elif len(cell or ()) != 1:
        raise UserError("Name one cell with --cell (`harness export - --what cells` lists them), or use --score.")
    elif not (amplify or suppress):
        raise UserError("Name a concept with --amplify or --suppress.")
    suite = choice.choose(scale=scale).suite
    opened = open_store(compute.store, read_only=not (keep or score))
    if keep or score:
        take_in_waiting(opened)
    places: dict[str, Any] = {"device": compute.device, "cache": compute.cache}
    if score:
        from harness.steering.steering_score import ScoreSettings
        from harness.steering.steering_scores import score_steering

        per_class = ScoreSettings().kappa if kappa is None else kappa
        settings = ScoreSettings(per_class, patches=patches, seed=seed)
        with reporting(as_json) as reporter:
            scored = score_steering(
                opened,
                suite,
                settings,
                cells=cell or (),
                methods=method or (),
                random_units=random_units,
                reporter=reporter,
                **places,
            )
        return print_scores(scored, as_json)
    from harness.steering.matchers import default_matcher
    from harness.steering.steered import SteerSettings
    from harness.steering.steering import steer as steer_cell

    assert cell is not None
    wanted = SteerSettings(
        amplify=tuple(amplify or ()),
        suppress=tuple(suppress or ()),
        alpha=alpha,
        gamma=gamma,
        kappa=SteerSettings().kappa if kappa is None else kappa,
        nu=patches,
        scorer=scorer,
        matcher=matcher,
        threshold=threshold,
        seed=seed,
        controls=controls,
    )
    with reporting(as_json) as reporter:
        if matcher is None:
            reporter.say(default_matcher().note)
        steered = steer_cell(opened, suite, cell[0], wanted, images=image, keep=keep, reporter=reporter, **places)
    return print_steered(steered, as_json)


def _patches(nu: str) -> int | None:
    if nu.strip().lower() == "all":
        return None
    if not nu.strip().isdecimal():
        raise UserError(f"--nu {nu}: give a number of patches, or all.")
    return int(nu)


def _refuse(option: str, **others: Any) -> None:
    given = [f"--{name}" for name, value in others.items() if value]
    if given:
        raise UserError(
            f"{', '.join(given)} cannot be used with {option}, which chooses units by the classes of images."
        )
