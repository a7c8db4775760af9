"""Model card of a pushed cell: ``README.md`` with its front matter.

Texts of a store come from anyone: they are put in by :mod:`harness.hub.markdown` only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness import provenance
from harness.hub import weights
from harness.hub.cell import PushedCell
from harness.hub.config_file import FILE as CONFIG_FILE
from harness.hub.markdown import block, code, quoted, table, text
from methods import METHODS
from methods.registry import is_built_in
from results.boards.board import Board, Column, Row, digits_of
from results.boards.lead_columns import LEADS
from results.boards.value_text import value_text

FILE = "README.md"

#: Metrics of the first table, in order.
_MAIN = tuple(metric for group in LEADS.values() for metric in group)
_SCORE_COLUMNS = ("value", "±", "error over", "n", "unit", "better")
_BACKBONE = re.compile(r"(?P<source>hf|timm):(?P<name>[A-Za-z0-9][A-Za-z0-9._/-]{0,150})")


def card_text(pushed: PushedCell, repository: str, *, title: str | None, license_id: str | None) -> str:
    """Return the model card.

    Args:
        repository: ``USER/NAME``, validated.
        title: heading; default: the method and its layer.
        license_id: identifier of the licence of the weights; None: not stated.
    """
    heading = title or f"{pushed.text('label')} on {pushed.text('backbone_title') or pushed.text('backbone')}"
    parts = [
        _front_matter(pushed, license_id),
        f"# {text(heading, 150)}",
        _introduction(pushed),
        *_flag_line(pushed),
        "## Load it",
        *_loading(pushed, repository),
        "## Measured scores",
        *_scores(pushed),
        "## Flags",
        *_flags(pushed),
        "## What it was measured on",
        _measured_on(pushed),
        "## Limits",
        *_limits(pushed, license_id),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(pushed: PushedCell, license_id: str | None) -> str:
    method = pushed.text("method")
    family = METHODS.get(method).spec.family
    tags = ["disentanglement-harness", "interpretability", "vision", method]
    tags += ["sparse-autoencoder", "sae"] if family == "sae" else [family]
    lines = ["---", 'library_name: "disentanglement-harness"', "tags:"]
    lines += [f"- {quoted(tag)}" for tag in dict.fromkeys(tags)]
    if license_id is not None:
        lines.append(f"license: {quoted(license_id)}")
    if base := base_model(pushed.text("backbone")):
        lines.append(f"base_model: {quoted(base)}")
    return "\n".join([*lines, "---"])


def base_model(backbone: str) -> str | None:
    """Return the repository of a backbone on the Hub; None if its name does not say it."""
    matched = _BACKBONE.fullmatch(backbone)
    if matched is None or ".." in backbone or "--" in backbone:
        return None
    name = matched["name"]
    if matched["source"] == "timm":
        return None if "/" in name else f"timm/{name}"
    return name if name.count("/") == 1 and not name.endswith("/") else None


def _introduction(pushed: PushedCell) -> str:
    cell = pushed.cell
    harness_version = provenance.versions().get("harness", "of an unknown version")
    what = {"input": "reads the input", "output": "reads the output"}[weights.reads_of(pushed)]
    return (
        f"Fitted weights of the method {code(pushed.text('method'))} (version {code(pushed.method_version)}), which "
        f"{what} of the layer {code(pushed.text('site'))} of {code(pushed.text('backbone'))} and decomposes it into "
        f"{_number(cell['n_units'])} units. The layer has {_number(cell['d_in'])} inputs and {_number(cell['d_out'])} "
        f"outputs. Fitted and measured by disentanglement-harness {harness_version}; the complete settings, seeds, "
        f"fingerprints and scores are in `{CONFIG_FILE}`."
    )


def _flag_line(pushed: PushedCell) -> Iterator[str]:
    """Yield the names of the flags, near the top of the card."""
    if pushed.row is not None and pushed.row.flags:
        names = ", ".join(text(flag.name, 40) for flag in pushed.row.flags)
        yield f"**Flagged: {names}.** The section [Flags](#flags) says why, and what it means for the scores."


# ---- loading


def _loading(pushed: PushedCell, repository: str) -> Iterator[str]:
    method = pushed.text("method")
    if not is_built_in(METHODS.get(method)):
        yield (
            f"The method {code(method)} comes with a plugin: load its file first (`--plugin FILE` on the command line, "
            "or import it in Python)."
        )
    if weights.is_pretrained_loadable(method):
        yield from _as_pretrained(pushed, repository)
        return
    yield (
        f"{code(method)} is no sparse autoencoder or dictionary of the layer's output, so `pretrained_sae` cannot take "
        f"it. Its own class loads the file:"
    )
    yield block(
        "python",
        [
            "import torch",
            "from huggingface_hub import hf_hub_download",
            "from methods import METHODS",
            "",
            f"path = hf_hub_download({quoted(repository)}, {quoted(weights.FILE)})",
            f"method = METHODS.get({quoted(method)}).load(path)",
            _example(pushed),
            f"codes = method.encode(x)  # (n, {_number(pushed.cell['n_units'])})",
        ],
    )


def _as_pretrained(pushed: PushedCell, repository: str) -> Iterator[str]:
    reference = f"hf:{repository}"
    yield "In Python:"
    yield block(
        "python",
        [
            "import torch",
            "from methods import pretrained",
            "",
            f"sae = pretrained.load({quoted(reference)})",
            _example(pushed),
            f"codes = sae.encode(x)  # (n, {_number(pushed.cell['n_units'])})",
            "x_hat = sae.decode(codes)",
            "atoms = sae.dictionary().atoms",
        ],
    )
    yield (
        "In a suite, as a row beside other methods of the same layer (`harness run --suite FILE.toml`). `extends` "
        "names the suite whose images, metrics and seeds are used:"
    )
    yield block(
        "toml",
        [
            'name = "pretrained"',
            f"description = {quoted(f'Weights of {repository}.')}",
            'extends = "demo"',
            'replaces = ["targets", "methods"]',
            "",
            "[[targets]]",
            f"backbone = {quoted(pushed.text('backbone'))}",
            f"site = {quoted(pushed.text('site'))}",
            "",
            "[[methods]]",
            'name = "pretrained_sae"',
            f"label = {quoted(repository)}",
            f"config = {{ weights = {quoted(reference)} }}",
        ],
    )
    yield (
        f"`{reference}@REVISION` pins a commit. The weights need huggingface_hub "
        '(`pip install "disentanglement-harness[hf]"`); without a network they are taken from its cache.'
    )


def _example(pushed: PushedCell) -> str:
    """Return a line of Python that makes an input, so that the code works as it is pasted."""
    reads = weights.reads_of(pushed)
    width = _number(pushed.cell["d_in" if reads == "input" else "d_out"])
    return f"x = torch.randn(4, {width})  # in place of the layer's {reads}, one row per token"


# ---- scores and flags


def _scores(pushed: PushedCell) -> Iterator[str]:
    if not pushed.scores:
        yield "The cell has no scores."
        return
    order = {metric: index for index, metric in enumerate(_MAIN)}
    main = sorted((one for one in pushed.scores if one["metric"] in order), key=lambda one: order[one["metric"]])
    others = [one for one in pushed.scores if one["metric"] not in order]
    yield (
        f"Of this cell: token seed {_number(pushed.cell['token_seed'])}, initialisation seed "
        f"{_number(pushed.cell['init_seed'])}. ± is one standard error within the cell, over what the next column "
        "names; it does not include the spread over seeds. n is the number of units, images or tokens behind a value."
    )
    if main:
        header = ("metric", "meaning", *_SCORE_COLUMNS)
        yield table(header, [[code(one["metric"], 80), _meaning(one), *_score_cells(one)] for one in main])
    if others:
        yield f"<details><summary>All {len(pushed.scores)} scores</summary>"
        yield _score_table([*main, *others])
        yield "</details>"
    if pushed.board is not None and pushed.row is not None and pushed.row.n_seeds > 1:
        yield (
            f"Mean over the {pushed.row.n_seeds} cells of this configuration, each with other seeds, of which this is "
            "one. Here ± is the standard error of the mean, from the spread over seeds and the errors within cells; "
            "[low, high] is a 95 % interval."
        )
        yield _mean_table(pushed.board, pushed.row)


def _score_table(scores: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [code(score["metric"], 80), *_score_cells(score), _number(score["version"]), _parameters(score)]
        for score in scores
    ]
    return table(("metric", *_SCORE_COLUMNS, "version", "parameters"), rows)


def _meaning(score: Mapping[str, Any]) -> str:
    leads = {metric: lead for group in LEADS.values() for metric, lead in group.items()}
    return text(leads[score["metric"]].explanation)


def _parameters(score: Mapping[str, Any]) -> str:
    return code(json.dumps(score["params"], sort_keys=True), 120) if score["params"] else "-"


def _mean_table(board: Board, row: Row) -> str:
    columns = [column for column in board.columns if column.metric in _MAIN and column.key in row.metrics]
    columns.sort(key=lambda column: _MAIN.index(column.metric))
    rows = [(code(column.name_with_unit, 80), text(value_text(row, column, ranked=False), 80)) for column in columns]
    return table(("metric", "mean"), rows)


def _score_cells(score: Mapping[str, Any]) -> list[str]:
    unit, value = str(score["unit"] or ""), float(score["value"])
    column = Column(
        key=str(score["metric"]),
        metric=str(score["metric"]),
        version=1,
        params={},
        panel=None,
        evaluation_fingerprint=None,
        unit=unit,
        direction="none",
        device=None,
        digits=digits_of(unit, [value]),
    )
    error = score["uncertainty"]
    return [
        _finite(column.text(value)),
        "-" if error is None else _finite(column.text(float(error))),
        text(score["uncertainty_kind"] or "", 60),
        _number(score["n"]),
        "%" if unit == "fraction" else text(unit, 30),
        "-" if score["direction"] == "none" else text(score["direction"], 10),
    ]


def _flags(pushed: PushedCell) -> Iterator[str]:
    if pushed.row is None:
        yield "No board of the store has this cell, so its flags are not known."
        return
    if not pushed.row.flags:
        yield "None. Flags are reasons, computed from measurements, why values may mislead."
        return
    yield (
        "A flag is a reason, computed from measurements, why values may mislead. A flagged row has no rank on its "
        "board."
    )
    yield "\n".join(f"- **{text(flag.name, 40)}**: {text(flag.sentence)}" for flag in pushed.row.flags)


# ---- circumstances


def _measured_on(pushed: PushedCell) -> str:
    cell = pushed.cell
    rows: list[tuple[str, str]] = [
        ("backbone", code(cell["backbone"])),
        ("layer", code(cell["site"])),
        ("image set", code(cell["dataset"] or "")),
        ("probing images and tokens", code(cell["probing_fingerprint"] or "")),
        ("evaluation images and head", code(cell["evaluation_fingerprint"] or "")),
        ("token seed, initialisation seed", f"{_number(cell['token_seed'])}, {_number(cell['init_seed'])}"),
        ("settings", code(json.dumps(cell["config"], sort_keys=True))),
        ("cell", code(cell["cell_id"])),
        ("suite", code(cell["suite"] or "")),
        ("device", code(cell["device"] or "")),
    ]
    return table(("", ""), rows)


def _limits(pushed: PushedCell, license_id: str | None) -> Iterator[str]:
    yield "\n".join(
        [
            "- The weights belong to this layer of this backbone with its preprocessing. On another layer of the same "
            "width they load, and mean nothing.",
            "- Scores depend on the images, the token seed and the metric's version. Compare them only with scores of "
            "the same evaluation images, metric version and parameters; a small image set gives wide errors.",
            "- A unit's images show what activates it most, not what it causes.",
            "- The scores were written by whoever pushed them. To check them, run the suite above on the same images.",
        ]
    )
    if license_id is None:
        yield "No licence is stated for these weights: ask their author before you use them."
    notes = [note for note in (pushed.cell["notes"] or []) if isinstance(note, str)][:20]
    if notes:
        yield "Notes of the run:"
        yield "\n".join(f"- {text(note)}" for note in notes)


def _number(value: Any) -> str:
    return "-" if value is None else str(int(value))


def _finite(number: str) -> str:
    return number if number not in ("nan", "inf", "-inf") else "undefined"
