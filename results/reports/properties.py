"""Measured version of Table 1: stable, training-free, explicit, lossless and unsupervised methods.

A verdict is "yes", "no" or "unknown", follows from measurements alone, and comes with its evidence. The method's own
claims and the paper's table are shown beside it and never change it. The thresholds are the constants below;
docs/stability.md gives the reasons for their values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from results.boards.board import BoardKey
from results.boards.seeds import without_sweeps
from results.store.records import grouped, records_of, scores_by_metric
from results.store.stability_versions import counts_every_atom

if TYPE_CHECKING:
    from results.store import Store

#: Mean matched cosine of all atoms over pairs of runs. The paper ticks 86.85 (archetypal SAE) and crosses 81.42 (TopK
#: SAE). As in the paper, the value is not corrected for chance (about .13 there).
STABLE = 0.85
#: Share of the tested units whose edit changes the decoded output.
EXPLICIT = 0.99
#: Bound on 1 - R2, and on the largest logits difference as a share of the largest logit: rounding of float32 sums.
LOSSLESS_R2 = 1e-6
LOSSLESS_LOGITS = 1e-3

PROPERTIES = ("stable", "training_free", "explicit", "lossless", "unsupervised")

Scores = Mapping[str, Mapping[str, Any]]


class ClaimVerdict(NamedTuple):
    """Verdict on one property of one method."""

    verdict: str
    """"yes", "no" or "unknown" """
    evidence: str
    """one sentence"""
    claimed: bool | None
    """the method's own claim"""
    published: bool | None
    """entry in the paper's Table 1; None: the method is not in it"""

    @property
    def contradicts_claim(self) -> bool:
        return self._is_against(self.claimed)

    @property
    def contradicts_published(self) -> bool:
        return self._is_against(self.published)

    def _is_against(self, expected: bool | None) -> bool:
        return expected is not None and self.verdict in ("yes", "no") and (self.verdict == "yes") != expected


class _Finding(NamedTuple):
    """Finding of one cell on a property."""

    verdict: str
    evidence: str
    badness: float = 0.0
    """of two cells with the same verdict, the one with the larger badness is reported"""


class MethodProperties(NamedTuple):
    """The verdicts on one configuration of a method on one board."""

    backbone: str
    site: str
    evaluation_fingerprint: str | None
    probing_fingerprint: str | None
    label: str
    method: str
    config_id: str
    cell_ids: tuple[str, ...]
    verdicts: Mapping[str, ClaimVerdict]


def properties(store: Store, *, backbone: str | None = None, site: str | None = None) -> list[MethodProperties]:
    """Return the verdicts on every method of a store, ordered by backbone, site and label.

    Raises:
        StoreError: the store cannot be read.
    """
    from results.store import group_scores

    cells = [cell for cell in records_of(store.cells(backbone=backbone, site=site)) if cell["status"] == "finished"]
    scores = scores_by_metric(store.scores(backbone=backbone, site=site))
    groups = records_of(group_scores.group_scores(store))
    published = _published()
    boards = grouped(cells, BoardKey.of)
    members = grouped(
        [cell for board_cells in boards.values() for cell in without_sweeps(board_cells)[0]],
        lambda cell: (*BoardKey.of(cell), str(cell["label"] or ""), str(cell["config_id"] or "")),
    )
    return [_of_method(members[key], scores, groups, published) for key in sorted(members)]


def properties_json(rows: Iterable[MethodProperties]) -> list[dict[str, Any]]:
    """Return the verdicts as JSON content."""
    return [
        {
            **{name: value for name, value in row._asdict().items() if name != "verdicts"},
            "cell_ids": list(row.cell_ids),
            "properties": {
                name: {
                    **verdict._asdict(),
                    "contradicts_claim": verdict.contradicts_claim,
                    "contradicts_published": verdict.contradicts_published,
                }
                for name, verdict in row.verdicts.items()
            },
        }
        for row in rows
    ]


def _of_method(
    cells: Sequence[Mapping[str, Any]],
    scores: Mapping[str, Scores],
    groups: Sequence[Mapping[str, Any]],
    published: Mapping[str, Mapping[str, bool]],
) -> MethodProperties:
    head = cells[0]
    ids = {cell["cell_id"] for cell in cells}
    cell_scores = [scores.get(cell["cell_id"], {}) for cell in cells]
    measured = {
        "stable": _stable([group for group in groups if group["cell_ids"] and set(group["cell_ids"]) <= ids]),
        **{name: _over_cells(cell_scores, *source) for name, source in _EVIDENCE.items()},
    }
    claims = head["claims"] or {}
    printed = published.get(_plain_name(head["method"])) or published.get(_plain_name(head["label"])) or {}
    verdicts = {
        name: ClaimVerdict(*measured[name], claimed=_claimed(claims, name), published=printed.get(name))
        for name in PROPERTIES
    }
    fields = ("backbone", "site", "evaluation_fingerprint", "probing_fingerprint", "label", "method", "config_id")
    return MethodProperties(**{name: head[name] for name in fields}, cell_ids=tuple(sorted(ids)), verdicts=verdicts)


def _over_cells(cells: Sequence[Scores], metric: str, judge: Callable[[Scores, Any], _Finding]) -> tuple[str, str]:
    """Combine the findings of cells: one cell that lacks a property decides, one that was not measured leaves it open.

    The worst cell is reported.
    """
    details = [scores.get(metric, {}).get("details") for scores in cells]
    findings = grouped(
        [
            judge(scores, evidence) if _is_complete(metric, evidence) else _Finding("unknown", "not measured")
            for scores, evidence in zip(cells, details, strict=True)
        ],
        lambda finding: finding.verdict,
    )
    verdict = next(verdict for verdict in ("no", "unknown", "yes") if verdict in findings)
    evidence = max(findings[verdict], key=lambda finding: finding.badness).evidence
    if len(cells) == 1:
        return verdict, evidence
    worst = ", the worst is reported" if len({finding.evidence for finding in findings[verdict]}) > 1 else ""
    return verdict, f"{evidence} ({len(findings[verdict])} of {len(cells)} cells{worst})"


def _stable(groups: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    stability = _largest(groups, "stability")
    tokens = ""
    if token_sensitivity := _largest(groups, "token_sensitivity"):
        tokens = f"; {token_sensitivity['value']:.4f} over other token sets, not part of the verdict"
    if stability is None:
        return "unknown", f"not measured: it needs several initialisation seeds on one token set{tokens}"
    details = stability["details"] or {}
    text = f"stability {stability['value']:.4f} over {stability['n']} pairs of runs"
    if not counts_every_atom(stability) and not _counts_agree(details):
        version = f"version {stability['version']} of the metric, which leaves silent units out"
        return "unknown", f"{text} by {version}; `harness stability` measures the newest version{tokens}"
    if details.get("identical_pairs"):
        text += f", {details['identical_pairs']} of them bit-identical"
    text += f" (yes from {STABLE}"
    chance = details.get("chance")
    if chance is not None:
        text += f", chance {chance:.3f}"
    text += f"){tokens}"
    if stability["value"] < STABLE:
        return "no", text
    if chance is not None and chance >= STABLE and details.get("identical_pairs") != stability["n"]:
        return "unknown", f"{text}; random dictionaries of this shape reach the threshold"
    return "yes", text


def _counts_agree(details: Mapping[str, Any]) -> bool:
    """Return whether version 1 of ``stability`` counted every atom, so that its value is that of version 2 too."""
    silent, zero, atoms = (details.get(name) for name in ("silent", "zero", "atoms"))
    if silent is None or zero is None or atoms is None or any(silent):
        return False
    return details.get("matching") == "per parent unit" or (not any(zero) and len(set(atoms)) == 1)


def _largest(groups: Sequence[Mapping[str, Any]], metric: str) -> Mapping[str, Any] | None:
    """Return the score of the newest version, and of several such the one over most cells."""
    candidates = [group for group in groups if group["metric"] == metric and _finite(group["value"])]
    return max(candidates, key=lambda group: (group["version"], len(group["cell_ids"])), default=None)


def _training_free(_: Scores, details: Mapping[str, Any]) -> _Finding:
    if not details["alone"]:
        return _Finding("unknown", "another fit ran in the same process at the same time")
    steps, passes, changed = (details[name] for name in ("optimizer_steps", "gradient_passes", "changed_leaves"))
    if steps:
        return _Finding("no", f"{steps} optimiser steps during fit", steps)
    if changed:
        return _Finding(
            "no", f"{changed} tensors that received a gradient changed during fit, without an optimiser", changed
        )
    if passes:
        return _Finding(
            "unknown", f"{passes} gradients computed during fit; no tensor that received one changed", passes
        )
    return _Finding("yes", "no gradient and no optimiser step during fit")


def _explicit(scores: Scores, details: Mapping[str, Any]) -> _Finding:
    if details["virtual"]:
        return _Finding("no", "its units are not in the model: the layer's output is passed through unchanged")
    share = scores["evidence_editable_units"]["value"]
    if not _finite(share):
        return _Finding("unknown", "no unit is alive")
    text = f"editing changes the decoded output for {share:.1%} of {details['tested']} units (yes from {EXPLICIT:.0%})"
    return _Finding("yes" if share >= EXPLICIT else "no", text, -share)


def _lossless(scores: Scores, details: Mapping[str, Any]) -> _Finding:
    gap, scale = scores["evidence_logits_gap"]["value"], details.get("largest_logit")
    if not _finite(gap) or not _finite(scale):
        # If the unmodified network gave finite numbers, the method is the cause.
        return _Finding("no" if _finite(scale) else "unknown", "the network gave NaN or infinity", math.inf)
    share = gap / scale if scale else (math.inf if gap else 0.0)
    text = f"logits differ by at most {share:.1e} of the largest"
    if details["virtual"]:
        text = f"{text}: the layer's output is passed through"
        return _Finding("yes" if share <= LOSSLESS_LOGITS else "no", text, share)
    r2 = scores.get("r2")
    if r2 is None or not _finite(r2["value"]):
        return _Finding("unknown", f"{text}, R2 not measured", share)
    loss = 1 - r2["value"]
    text += f", 1 - R2 = {max(0.0, loss):.1e} (yes up to {LOSSLESS_LOGITS:g} and {LOSSLESS_R2:g})"
    good = share <= LOSSLESS_LOGITS and loss <= LOSSLESS_R2
    return _Finding("yes" if good else "no", text, max(share / LOSSLESS_LOGITS, loss / LOSSLESS_R2))


def _unsupervised(_: Scores, details: Mapping[str, Any]) -> _Finding:
    reads = details["label_reads"]
    if reads:
        return _Finding("no", f"labels read {reads} time{'s' if reads != 1 else ''} during fit", reads)
    return _Finding("yes", "labels not read during fit")


#: Property -> the metric whose details are its evidence, and the function that judges them.
_EVIDENCE: Mapping[str, tuple[str, Callable[[Scores, Any], _Finding]]] = {
    "training_free": ("evidence_gradients", _training_free),
    "explicit": ("evidence_editable_units", _explicit),
    "lossless": ("evidence_logits_gap", _lossless),
    "unsupervised": ("evidence_labels", _unsupervised),
}


#: Metric -> entries of its details that its judgement needs.
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "evidence_gradients": ("alone", "optimizer_steps", "gradient_passes", "changed_leaves"),
    "evidence_editable_units": ("virtual", "tested"),
    # The largest logit may be undefined.
    "evidence_logits_gap": ("virtual",),
    "evidence_labels": ("label_reads",),
}


def _is_complete(metric: str, evidence: Mapping[str, Any] | None) -> bool:
    """Return whether the details of a metric are there; the store of somebody else may hold anything in them."""
    return evidence is not None and all(evidence.get(name) is not None for name in _NEEDED[metric])


def _claimed(claims: Mapping[str, Any], name: str) -> bool | None:
    if name == "unsupervised":
        return None if claims.get("supervised") is None else not claims["supervised"]
    return None if claims.get(name) is None else bool(claims[name])


def _published() -> dict[str, dict[str, bool]]:
    from results.published.tables import published_table

    rows = published_table(1).to_dict("records")
    return {_plain_name(row["method"]): {name: bool(row[name]) for name in PROPERTIES} for row in rows}


def _plain_name(name: str) -> str:
    """Return the name in plain form: ``topk_sae`` and ``TopK SAE`` are the same name."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
