"""Printing of ``harness steer``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.commands.output import out, print_json, print_table, print_text_table

if TYPE_CHECKING:
    from harness.steering.steered import Steered, SteeredUnit
    from harness.steering.steered_captions import SteeredCaptions
    from harness.steering.steering_scores import SteeringScore

#: Units that are printed.
_MOST_UNITS = 20


def print_steered(steered: Steered, as_json: bool) -> None:
    """Print the units, and the classes whose probability changes most."""
    from harness.steering.kept_effects import gained_and_lost

    gained, lost = gained_and_lost(steered)
    if as_json:
        images = [image._asdict() for image in steered.images]
        units = [unit._asdict() for unit in steered.units]
        return print_json(
            {**steered._asdict(), "settings": steered.settings._asdict(), "units": units, "images": images}
        )
    out(f"{steered.method} at {steered.layer}: {len(steered.units)} units edited, matched by {steered.matcher}.")
    _print_units(steered.units)
    n = len(steered.images)
    of = steered.images[0].name if n == 1 else f"mean of {n} images"
    out(f"\nProbability of the classes in %, {of}; control: as many random units, change of equal size.")
    before, after, control = (steered.mean(name) for name in ("before", "after", "control"))
    rows = [name for name, _ in (*gained, *lost)]
    number = {name: position for position, name in enumerate(steered.classes)}
    print_table(
        [
            {
                "class": name,
                "before": f"{100 * before[number[name]]:.2f}",
                "after": f"{100 * after[number[name]]:.2f}",
                "change": f"{100 * (after - before)[number[name]]:+.2f}",
                "control": f"{100 * (control - before)[number[name]]:+.2f}",
            }
            for name in dict.fromkeys(rows)
        ]
    )
    if steered.n_uncontrolled:
        out(f"On {steered.n_uncontrolled} images no other unit is active: their control is the unmodified network.")
    divergence = sum(image.divergence for image in steered.images) / n
    of_control = sum(image.control_divergence for image in steered.images) / n
    out(f"Change of the distribution, KL(before || after): {divergence:.3f} nats; control {of_control:.3f}.")


def print_captions(described: SteeredCaptions, as_json: bool) -> None:
    """Print the units, and the captions without and with the edit."""
    if as_json:
        units = [unit._asdict() for unit in described.units]
        captions = [each._asdict() for each in described.captions]
        return print_json({**described._asdict(), "units": units, "captions": captions})
    out(f"{described.method}: {len(described.units)} units edited, matched by {described.matcher}.")
    _print_units(described.units)
    out("")
    from harness.steering.captions import captions_table

    print_text_table(captions_table(list(described.captions)))


def _print_units(units: Sequence[SteeredUnit]) -> None:
    print_table(
        [
            {
                "unit": unit.unit,
                "label": unit.label,
                "concept": unit.concept,
                "similarity": f"{unit.similarity:.2f}",
                "p": "" if unit.p_value is None else f"{unit.p_value:.3f}",
                "factor": f"{unit.factor:g}",
            }
            for unit in units[:_MOST_UNITS]
        ]
    )
    if len(units) > _MOST_UNITS:
        out(f"... and {len(units) - _MOST_UNITS} more (--json has all).")


def print_scores(scored: Sequence[SteeringScore], as_json: bool) -> None:
    """Print the steering scores of cells."""
    if as_json:
        return print_json(
            [
                {
                    **each._asdict(),
                    "scores": {
                        s.metric: {"value": s.value, "uncertainty": s.uncertainty, "n": s.n} for s in each.scores
                    },
                    "effects": [effect._asdict() for effect in each.effects],
                }
                for each in scored
            ]
        )
    rows = []
    for each in scored:
        scores = {score.metric: score for score in each.scores}
        rows.append(
            {
                "layer": each.layer,
                "method": each.label,
                "token_seed": each.token_seed,
                **{
                    title: _number(scores[metric]) if metric in scores else ""
                    for title, metric in (
                        ("score", "steering_effect"),
                        ("gain", "steering_gain"),
                        ("collateral", "steering_collateral"),
                        ("change", "steering_change"),
                    )
                },
            }
        )
    print_table(rows)
    for each in scored:
        if each.problem:
            out(f"{each.label} at {each.layer}, token seed {each.token_seed}: {each.problem}")
    out(
        "Nats, less those of random units with a change of equal size. score = gain - collateral; gain: rise of a "
        "class's log-odds on its images; collateral: KL on the other images; change: norm of the change over that of "
        "the layer's output, a fraction; ± standard error over classes."
    )


def _number(score: Any) -> str:
    error = "" if score.uncertainty is None else f" ± {score.uncertainty:.3f}"
    return f"{score.value:.3f}{error}"


def _as_json(score: Any) -> dict[str, Any]:
    return {"value": score.value, "uncertainty": score.uncertainty, "n": score.n}
