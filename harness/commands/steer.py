"""``harness steer``: amplify and suppress concepts in a layer, and show how the predictions change."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from harness.commands.steer_output import print_captions, print_scores, print_steered
from harness.errors import UserError

if TYPE_CHECKING:
    from harness.steering.steered import SteerSettings
    from harness.suites import Suite


@dataclasses.dataclass(frozen=True)
class ConceptOptions:
    """Options that say which concepts are changed, and how."""

    amplify: Annotated[list[str] | None, typer.Option(help="Concept whose units are scaled by --alpha.")] = None
    suppress: Annotated[list[str] | None, typer.Option(help="Concept whose units are scaled by --gamma.")] = None
    alpha: Annotated[float, typer.Option(help="Factor of amplified activations.", min=-1e6, max=1e6)] = 5.0
    gamma: Annotated[
        float, typer.Option(help="Factor of suppressed activations; 0 removes them.", min=-1e6, max=1e6)
    ] = -50.0
    kappa: Annotated[
        int, typer.Option(help="Most units per concept, with --score per class.", min=1, max=1_000_000)
    ] = 50
    nu: Annotated[
        str, typer.Option(help="Patches per unit and image, those where it is most active: a number, or all.")
    ] = "50"
    scorer: Annotated[
        str | None, typer.Option(help="Scorer whose labels are matched; default: the last, class names last of all.")
    ] = None
    matcher: Annotated[
        str | None,
        typer.Option(
            help="Text matcher: words, sentences, sentences:FOLDER or hf:NAME; default: sentences if installed, else "
            "words."
        ),
    ] = None
    threshold: Annotated[
        float | None,
        typer.Option(help="Similarity that a label must exceed; default: that of the matcher.", min=-1, max=0.999),
    ] = None
    all_labels: Annotated[
        bool, typer.Option("--all-labels", help="Also match labels that are not above their null (p > 0.05).")
    ] = False
    controls: Annotated[int, typer.Option(help="Draws of random units for the control.", min=1, max=1000)] = 3
    seed: Annotated[int, typer.Option(help="Random seed of the random units.", min=0, max=MOST_SEED)] = 0

    @property
    def patches(self) -> int | None:
        """Number of patches; None for all.

        Raises:
            UserError: if --nu is neither.
        """
        text = self.nu.strip()
        if text.lower() == "all":
            return None
        if not text.isdecimal():
            raise UserError(f"--nu {self.nu}: give a number of patches, or all.")
        return int(text)

    def settings(self) -> SteerSettings:
        """Return the settings.

        Raises:
            UserError: if no concept is named, or --nu is invalid.
        """
        from harness.steering.steered import SteerSettings

        if not (self.amplify or self.suppress):
            raise UserError("Name a concept with --amplify or --suppress.")
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        concepts = {name: tuple(values[name] or ()) for name in ("amplify", "suppress")}
        return SteerSettings(**{**values, **concepts, "nu": self.patches})


@verb(
    "harness steer --cell 8d2c --amplify dog --suppress cat --alpha 5 --gamma -50 --kappa 50 --nu 50",
    "harness steer --cell 8d2c --amplify dog --image animal__kitten.jpg --keep",
    "harness steer --suite demo --score --method elude --method topk_sae",
    "harness steer --cell 51af --suppress dog --captions llava-hf/llava-onevision-qwen2-0.5b-ov-hf --image dog.jpg",
)
def steer(
    choice: LayerOptions,
    compute: ComputeOptions,
    concepts: ConceptOptions,
    cell: Annotated[
        list[str] | None, typer.Option(help="Cell: its id, first digits, or the name of a row with one cell.")
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(
            help="Evaluation image by its name or a part of it, with --captions a file; repeat for several; default: "
            "all."
        ),
    ] = None,
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
    captions: Annotated[
        str | None,
        typer.Option(
            help="Compare captions instead: vision-language model, as FOLDER or OWNER/NAME, on whose vision tower the "
            "cell is (--backbone vlm:MODEL)."
        ),
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="With --captions: what the model is asked.")] = None,
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
    if score:
        defaults = ConceptOptions()
        names = ("amplify", "suppress", "scorer", "matcher", "threshold", "alpha", "gamma", "all_labels")
        given = {name: getattr(concepts, name) for name in names if getattr(concepts, name) != getattr(defaults, name)}
        _refuse("--score", **given, image=image, keep=keep, captions=captions, prompt=prompt)
    elif method or random_units:
        raise UserError("--method and --random-units belong to --score: add it, or leave them out.")
    elif len(cell or ()) != 1:
        raise UserError("Name one cell with --cell (`harness export - --what cells` lists them), or use --score.")
    elif captions is None and prompt is not None:
        raise UserError("--prompt belongs to --captions: add it, or leave the prompt out.")
    elif captions is not None and not image:
        raise UserError("Name the images to describe with --image FILE.")
    opened = open_store(compute.store, read_only=not (keep or score))
    if keep or score:
        take_in_waiting(opened)
    where: dict[str, Any] = {"device": compute.device, "cache": compute.cache}

    def suite() -> Suite:
        return choice.choose(scale=scale).suite

    if score:
        from harness.steering.steering_score import ScoreSettings
        from harness.steering.steering_scores import score_steering

        settings = ScoreSettings(
            concepts.kappa, patches=concepts.patches, controls=concepts.controls, seed=concepts.seed
        )
        chosen: dict[str, Any] = {"cells": cell or (), "methods": method or (), "random_units": random_units}
        with reporting(as_json) as reporter:
            scored = score_steering(opened, suite(), settings, **chosen, **where, reporter=reporter)
        return print_scores(scored, as_json)
    wanted = concepts.settings()
    from harness.steering.matchers import default_matcher

    assert cell is not None
    with reporting(as_json) as reporter:
        if concepts.matcher is None:
            reporter.say(default_matcher().note)
        if captions is None:
            from harness.steering.steering import steer as steer_cell

            steered = steer_cell(opened, suite(), cell[0], wanted, images=image, keep=keep, reporter=reporter, **where)
        else:
            from harness.steering.captions import PROMPT
            from harness.steering.steered_captions import steer_captions

            described = steer_captions(
                opened,
                cell[0],
                captions,
                [Path(file) for file in image or ()],
                wanted,
                keep=keep,
                prompt=prompt or PROMPT,
                device=compute.device,
                progress=reporter.progress,
            )
    return print_steered(steered, as_json) if captions is None else print_captions(described, as_json)


def _refuse(option: str, **others: Any) -> None:
    given = [
        f"--{name.replace('_', '-')}" for name, value in others.items() if value is not None and value is not False
    ]
    if given:
        raise UserError(f"{', '.join(given)} cannot be used with {option}, which steers the classes of the images.")
