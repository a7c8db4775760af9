"""Robustness of codes: are probes on the codes of a method better under a disturbance than probes on the layer?

Two comparisons answer the claim that monosemantic features are more robust (Zhang et al. 2024). The *gain* is the
accuracy of probes on the codes less that on the layer. The gain *beyond the control* is that of the method less that of
a random control with as many units: a gain that random units have too is not due to what the units mean. Each is a yes
if it is above 0, a no if it is below, and otherwise not decidable, with p-values corrected by Holm over all rows of the
store except for controls, separately for each comparison.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from results.boards.board import LARGEST
from results.boards.chance import MATCHED_FACTOR
from results.comparison.intervals import holm
from results.comparison.robust_sides import (
    LEVEL,
    UNDEFINED,
    Difference,
    Side,
    from_error,
    gain_beyond_clean,
    gain_of,
    side_of,
    unpaired,
)
from results.store import Store
from results.store.records import records_of

#: Metric -> the disturbance in words.
KINDS: Mapping[str, str] = {
    "robust_corruption": "corrupted images",
    "robust_labels": "wrong labels",
    "robust_few_shot": "few images",
    "probe_transfer": "another image set",
}
#: Verdicts; controls make no claim and have none.
YES, NO, OPEN, NONE = "yes", "no", "not decidable", ""
#: Most points of a curve that are read.
_MOST_POINTS = 1000
_POINT = ("codes", "layer", "gain", "error", "n", "at_chance", "clean", "corruption", "severity", "share", "shots")

RULE = (
    f"yes: the difference is above 0 with p < {1 - LEVEL:.2f} after Holm's correction over the rows that are no "
    "controls; no: below 0; not decidable: neither, or neither probe beats always naming the most frequent class. "
    "Claim: yes if both comparisons are, no if one is no."
)


class Robustness(NamedTuple):
    """One cell under one kind of disturbance."""

    cell_id: str
    label: str
    method: str
    backbone: str
    site: str
    dataset: str
    evaluation_fingerprint: str
    """identity of the evaluation images: splits of one set differ in it"""
    token_seed: int | None
    init_seed: int | None
    n_units: int | None
    d_out: int | None
    is_control: bool
    kind: str
    metric: str
    codes: float
    """mean accuracy over the levels of probes on codes"""
    layer: float
    """the same on the layer"""
    majority: float
    """accuracy of the most frequent class"""
    at_chance: bool
    """neither accuracy is above that of the most frequent class, by its 95 % interval"""
    clean_codes: float
    """accuracy without a disturbance"""
    clean_layer: float
    gain: Difference
    p_holm: float | None
    verdict: str
    """"yes", "no" or "not decidable": more robust than the layer? Empty for controls"""
    beyond_clean: Difference
    """gain less that without a disturbance: how much less accuracy the codes lose"""
    control: str | None
    """label of the count-matched random control; None if there is none"""
    control_cell: str | None
    beyond_control: Difference
    """gain less that of the control"""
    control_p_holm: float | None
    control_verdict: str
    claim: str
    """"yes" if both verdicts are, "no" if one is, else "not decidable\""""
    curve: list[dict[str, Any]]
    """accuracies of each level, the undisturbed one first"""

    @property
    def layer_and_images(self) -> tuple[str, str, str, str]:
        """Backbone, site, image set, and identity of its split: rows that differ in it have no layer in common."""
        return self.backbone, self.site, self.dataset, self.evaluation_fingerprint


class Answer(NamedTuple):
    """Answer to the claim for one cell, over the kinds of disturbance."""

    cell_id: str
    label: str
    backbone: str
    site: str
    dataset: str
    token_seed: int | None
    n_kinds: int
    yes: int
    no: int
    answer: str
    """"yes" if every kind is, "no" if one is, else "not decidable\""""


class _Scored(NamedTuple):
    """Scores of one metric of one cell."""

    cell: Mapping[str, Any]
    main: Mapping[str, Any]
    codes: Side | None
    layer: Side | None
    layer_score: Mapping[str, Any] | None
    gain: Difference

    @property
    def accuracy(self) -> float:
        return _number(self.main.get("value"))


def robustness(store: Store) -> list[Robustness]:
    """Return one row per finished cell and kind of disturbance, in the order of the cells.

    Raises:
        StoreError: if the store cannot be read.
    """
    frame = store.cells().sort_values(["started_at", "cell_id"], kind="stable")
    cells = {str(cell["cell_id"]): cell for cell in records_of(frame) if cell["status"] == "finished"}
    rows = [row for metric in KINDS for row in _rows(cells, _scored(store, cells, metric), metric)]
    order = {cell_id: number for number, cell_id in enumerate(cells)}
    return _decided(sorted(rows, key=lambda row: order[row.cell_id]))


def _scored(store: Store, cells: Mapping[str, Mapping[str, Any]], metric: str) -> list[_Scored]:
    """Return the scores of a metric, of its newest version."""
    by_name = {name: store.scores(metric=name) for name in (metric, f"{metric}_layer", f"{metric}_gain")}
    newest = {name: _newest(frame) for name, frame in by_name.items()}
    made = []
    for cell_id, main in newest[metric].items():
        if cell_id not in cells:
            continue
        layer, gain = newest[f"{metric}_layer"].get(cell_id), newest[f"{metric}_gain"].get(cell_id, {})
        sides = side_of(main), side_of(layer)
        if sides[0] is not None and sides[1] is not None and sides[0].fits(sides[1]):
            difference = gain_of(sides[0], sides[1])
        else:
            sides = None, None
            difference = from_error(gain.get("value"), gain.get("uncertainty"), gain.get("n"))
        made.append(_Scored(cells[cell_id], main, *sides, layer, difference))
    return made


def _newest(frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return cell id -> its score of the highest version."""
    return {str(score["cell_id"]): score for score in sorted(records_of(frame), key=lambda s: s["version"] or 0)}


def _rows(cells: Mapping[str, Mapping[str, Any]], scored: Sequence[_Scored], metric: str) -> Iterator[Robustness]:
    for each in scored:
        cell, details = each.cell, _mapping(each.main.get("details"))
        majority = _number(details.get("majority"))
        layer = _number((each.layer_score or {}).get("value"))
        control = _control(each, scored)
        beyond_clean, clean = UNDEFINED, (math.nan, math.nan)
        if each.codes is not None and each.layer is not None:
            beyond_clean = gain_beyond_clean(each.codes, each.layer)
            clean = float(each.codes.clean.mean()), float(each.layer.clean.mean())
        yield Robustness(
            cell_id=str(cell["cell_id"]),
            label=str(cell["label"] or cell["method"]),
            method=str(cell["method"]),
            backbone=str(cell["backbone"]),
            site=str(cell["site"]),
            dataset=str(cell["dataset"] or ""),
            evaluation_fingerprint=str(cell["evaluation_fingerprint"] or ""),
            token_seed=_whole(cell["token_seed"]),
            init_seed=_whole(cell["init_seed"]),
            n_units=_whole(cell["n_units"]),
            d_out=_whole(cell["d_out"]),
            is_control=bool(_mapping(cell["claims"]).get("control_for")) or cell["method"] == "identity",
            kind=KINDS[metric],
            metric=metric,
            codes=each.accuracy,
            layer=layer,
            majority=majority,
            at_chance=all(_is_at_chance(score, majority) for score in (each.main, each.layer_score)),
            clean_codes=clean[0],
            clean_layer=clean[1],
            gain=each.gain,
            p_holm=None,
            verdict=OPEN,
            beyond_clean=beyond_clean,
            control=None if control is None else str(control.cell["label"] or control.cell["method"]),
            control_cell=None if control is None else str(control.cell["cell_id"]),
            beyond_control=UNDEFINED if control is None else _beyond(each, control),
            control_p_holm=None,
            control_verdict=OPEN,
            claim=OPEN,
            curve=_curve(details.get("curve")),
        )


def _control(row: _Scored, scored: Sequence[_Scored]) -> _Scored | None:
    """Return the random control of the same layer, images and token seed, with the closest number of units.

    As on the boards, it names the family of the row among those that it is a control for. Its accuracy has no part in
    the choice, which would favour a "no".
    """
    same = ("backbone", "site", "evaluation_fingerprint", "probing_fingerprint", "token_seed")
    family, units = _mapping(row.cell["claims"]).get("family"), _whole(row.cell["n_units"])
    controls = [
        other
        for other in scored
        if other is not row
        and family is not None
        and units is not None
        # Controls that are trained in part have learnt something.
        and bool(_mapping(other.cell["claims"]).get("training_free"))
        and family in (_mapping(other.cell["claims"]).get("control_for") or [])
        and all(other.cell[name] == row.cell[name] for name in same)
        and other.main.get("version") == row.main.get("version")
        and other.main.get("params") == row.main.get("params")
        and abs((_whole(other.cell["n_units"]) or 0) - units) <= MATCHED_FACTOR * units
        and math.isfinite(other.accuracy)
    ]

    def distance(other: _Scored) -> tuple[int, str, str]:
        difference = abs((_whole(other.cell["n_units"]) or 0) - (units or 0))
        return difference, str(other.cell["label"]), str(other.cell["cell_id"])

    return min(controls, key=distance) if controls else None


def _beyond(row: _Scored, control: _Scored) -> Difference:
    """Return the gain of a row less that of its control. The layer is the same, so it is that of their accuracies."""
    sides = row.codes, control.codes
    if sides[0] is None or sides[1] is None or not sides[0].fits(sides[1]):
        return unpaired(row.gain, control.gain)
    return gain_of(sides[0], sides[1])


def _is_at_chance(score: Mapping[str, Any] | None, majority: float) -> bool:
    value = _number((score or {}).get("value"))
    error = _number((score or {}).get("uncertainty"))
    low = value - 1.96 * (error if math.isfinite(error) else 0.0)
    return not math.isfinite(low) or low <= majority


def _decided(rows: Sequence[Robustness]) -> list[Robustness]:
    """Return the rows with corrected p-values and verdicts."""
    # Controls make no claim, so their rows are no hypotheses. Rows at chance are: the data do not choose the family.
    first = holm([None if row.is_control else row.gain.p for row in rows])
    second = holm([None if row.is_control else row.beyond_control.p for row in rows])
    made = []
    for row, p, of_control in zip(rows, first, second, strict=True):
        verdicts = _verdict(row.gain, p), _verdict(row.beyond_control, of_control)
        if row.at_chance or row.is_control:
            verdicts = (NONE, NONE) if row.is_control else (OPEN, OPEN)
        claim = NO if NO in verdicts else YES if set(verdicts) == {YES} else verdicts[0] and OPEN
        made.append(
            row._replace(
                p_holm=p,
                verdict=verdicts[0],
                control_p_holm=of_control,
                control_verdict=verdicts[1],
                claim=claim,
            )
        )
    return made


def _verdict(difference: Difference, p: float | None) -> str:
    if p is None or p >= 1 - LEVEL:
        return OPEN
    return YES if difference.value > 0 else NO


def answers(rows: Sequence[Robustness]) -> list[Answer]:
    """Return the answer for each cell that is no control."""
    made = []
    for cell_id in dict.fromkeys(row.cell_id for row in rows if not row.is_control):
        of_cell = [row for row in rows if row.cell_id == cell_id]
        yes, no = (sum(row.claim == verdict for row in of_cell) for verdict in (YES, NO))
        answer = NO if no else YES if yes == len(of_cell) else OPEN
        first = of_cell[0]
        layer = first.backbone, first.site, first.dataset
        made.append(Answer(cell_id, first.label, *layer, first.token_seed, len(of_cell), yes, no, answer))
    return made


def as_json(rows: Sequence[Robustness]) -> dict[str, Any]:
    """Return rows, answers and the rule of the verdicts as plain objects. NaN stays NaN."""
    differences = ("gain", "beyond_clean", "beyond_control")
    objects = [row._asdict() | {name: getattr(row, name)._asdict() for name in differences} for row in rows]
    return {"rule": RULE, "rows": objects, "answers": [answer._asdict() for answer in answers(rows)]}


def _curve(points: Any) -> list[dict[str, Any]]:
    """Return the points of a curve, as far as they hold numbers, short texts and flags under the names of a point."""
    if not isinstance(points, list):
        return []
    made = []
    for point in points[:_MOST_POINTS]:
        if not isinstance(point, Mapping) or not all(math.isfinite(_number(point.get(s))) for s in ("codes", "layer")):
            continue
        entries = {name: point[name] for name in _POINT if name in point}
        made.append({n: v for n, v in entries.items() if v is None or isinstance(v, (int, float, str, bool))})
    return made


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> float:
    """Return a number as float; NaN for anything else, and for numbers that only a damaged store has."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST
    return float(value) if is_number else math.nan


def _whole(value: Any) -> int | None:
    number = _number(value)
    return int(number) if math.isfinite(number) else None
