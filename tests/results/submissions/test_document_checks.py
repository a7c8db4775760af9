"""One document by itself: every field has a form, and what its identity determines is recomputed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from submission_store import document_of

from results.submissions.document_checks import document_problems

Document = dict[str, Any]
Kind = tuple[Document, PurePosixPath]


@pytest.fixture(scope="module")
def documents(repository: Path) -> dict[str, Kind]:
    """Return kind -> a document of it, and its path."""
    root = repository / "results"
    kinds = {"cell": "elude-1", **{kind: kind for kind in ("group", "images", "tournament")}}
    paths = {kind: document_of(repository, name) for kind, name in kinds.items()}
    return {
        kind: (json.loads(path.read_text(encoding="utf-8")), PurePosixPath(path.relative_to(root)))
        for kind, path in paths.items()
    }


def set_value(**values: Any) -> Callable[[Document], object]:
    """Return a change of fields of the cell."""
    return lambda document: document["cell"].update(values)


def set_score(key: str, **values: Any) -> Callable[[Document], object]:
    return lambda document: document["scores"].setdefault(key, {}).update(values)


def test_right_documents_have_no_problem(documents: dict[str, Kind]) -> None:
    for document, path in documents.values():
        assert [*document_problems(document, path)] == []


@pytest.mark.parametrize(
    ("edit", "field", "words"),
    [
        # form
        (lambda d: d.update(kind="cel"), "kind", "one of cell, group"),
        (lambda d: d.update(kind=["cell"]), "kind", "one of cell, group"),
        (lambda d: d.update(format=2), "format", "is not 1"),
        (lambda d: d.update(format=True), "format", "is not 1"),
        (lambda d: d.pop("scores"), "scores", "is missing"),
        (lambda d: d.update(more=1), "more", "no part of a cell document"),
        (lambda d: d.update(cell=[]), "cell", "must be an object"),
        (lambda d: d.update(scores=[]), "scores", "must be an object"),
        (lambda d: d.update(scores={}), "scores", "1 to 2000 scores"),
        (lambda d: d.update(flags=[]), "flags", "must be an object"),
        (lambda d: d.update(tables=[]), "tables", "must be an object"),
        (lambda d: d.update(curves={"loss": {"step": [1], "value": []}}), "curves.loss", "as many steps"),
        (lambda d: d.update(curves={"a\u202eb": {}}), "curves.a\\u202eb", "plain name"),
        (lambda d: d.update(curves={"a": {"step": [1] * 101, "value": [1.0] * 101}}), "curves.a", "at most 100"),
        (lambda d: d.update(curves={str(number): {} for number in range(201)}), "curves", "at most 200 series"),
        (lambda d: d.update(curves={"loss": {"step": ["1"], "value": [1.0]}}), "curves.loss", "whole number"),
        (lambda d: d["run"].update(started_at="yesterday"), "run.started_at", "a time in UTC"),
        (lambda d: d["run"].update(started_at="1970-01-01T00:00:00+00:00"), "run.started_at", "2020 to 2199"),
        (lambda d: d["run"].pop("run_id"), "run.run_id", "is missing"),
        (lambda d: d["submission"].update(note=3), "submission.note", "must be text"),
        # fields
        (set_value(n_units="8"), "cell.n_units", "whole number from 0"),
        (set_value(n_units=True), "cell.n_units", "whole number"),
        (set_value(n_units=2**40), "cell.n_units", "2147483647"),
        (set_value(seconds=-1.0), "cell.seconds", "at least 0"),
        (set_value(seconds="NaN"), "cell.seconds", "at least 0"),
        (set_value(label=""), "cell.label", "not empty"),
        (set_value(label="x" * 401), "cell.label", "at most 400"),
        (set_value(label="a\u202eb"), "cell.label", "hidden control characters"),
        (set_value(label="a\nb"), "cell.label", "hidden control characters"),
        (set_value(dataset=None), "cell.dataset", "null"),
        (set_value(notes="one"), "cell.notes", "a list"),
        (set_value(notes=["a\x1b[2J"]), "cell.notes", "hidden control characters"),
        (set_value(claims={"lossless": "yes"}), "cell.claims", "known form"),
        (set_value(artifact="../../x"), "cell.artifact", "is unknown"),
        (set_score("r2", direction="higher"), "scores.r2", "METRIC@VERSION"),
        (set_score("r2@01", direction="higher"), "scores.r2@01", "METRIC@VERSION"),
        (set_score("r2@1#0123456789abcdef", direction="higher"), "scores.r2@1#0123456789abcdef", "wrong hash"),
        (set_score("r\u00b2@1", direction="higher"), "scores.r\u00b2@1", "METRIC@VERSION"),
        (set_score("r2@1", value="big"), "scores.r2@1.value", "NaN"),
        (set_score("r2@1", value=[1]), "scores.r2@1.value", "a finite number"),
        (set_score("r2@1", n=-1), "scores.r2@1.n", "from 0"),
        (set_score("r2@1", direction="up"), "scores.r2@1.direction", "higher, lower, none"),
        (set_score("r2@1", params={"k": 1}), "scores.r2@1", "hash of its parameters"),
        # identity
        (lambda d: d.update(cell_id="x"), "cell_id", "16 hexadecimal digits"),
        (lambda d: d.update(cell_id="a" * 17), "cell_id", "16 hexadecimal digits"),
        (lambda d: d["identity"].update(token_seed=7), "cell_id", "hash of the identity"),
        (lambda d: d["identity"].pop("probing"), "identity", "lacks probing"),
        (lambda d: d.update(identity={"cell": 1}), "identity", "lacks backbone"),
        (lambda d: d.update(identity="x"), "identity", "must be an object"),
        (set_value(backbone="vit"), "cell.backbone", "its identity says 'tiny_vit'"),
        (set_value(config={"k": 3}), "cell.config", "its identity says"),
        (set_value(config_id="0" * 16), "cell.config_id", "its identity says"),
        (set_value(evaluation_fingerprint="0" * 16), "cell.evaluation_fingerprint", "its identity says"),
        (set_value(token_seed=2), "cell.token_seed", "its identity says 1"),
        (lambda d: d["scores"].update({"r2@2": d["scores"].pop("r2@1")}), "scores.r2@2", "identity names version 1"),
        (lambda d: d["tables"]["units"].pop("rows"), "tables.units.rows", "is missing"),
        (lambda d: d["tables"].update(scores={}), "tables.scores", "is unknown"),
    ],
)
def test_each_change_of_a_cell_is_named(
    documents: dict[str, Kind], edit: Callable[[Document], object], field: str, words: str
) -> None:
    require_named(documents["cell"], edit, field, words)


def require_named(kind: Kind, edit: Callable[[Document], object], field: str, words: str) -> None:
    document, path = copy.deepcopy(kind[0]), kind[1]
    edit(document)
    problems = [*document_problems(document, path)]
    assert [why for name, why in problems if name == field and words in why], problems
    assert all(why.endswith(".") and "\n" not in name + why for name, why in problems)


@pytest.mark.parametrize(
    ("kind", "edit", "field", "words"),
    [
        ("images", lambda d: d["images"].pop(3), "images", "in the order of their indices"),
        ("images", lambda d: d["images"][3].update(index="3"), "images[3].index", "whole number"),
        ("images", lambda d: d["images"][3].update(name="a\u202eb"), "images[3].name", "hidden control"),
        ("images", lambda d: d.update(images={}), "images", "must be a list"),
        ("images", lambda d: d.update(fingerprint="0" * 16), "", "belongs into _images/0000000000000000.json"),
        ("group", lambda d: d["group"].update(cell_ids=["a"]), "group.cell_ids", "two or more cells"),
        ("group", lambda d: d["group"]["cell_ids"].append("0" * 16), "group_id", "not the hash of the cells"),
        ("tournament", lambda d: d["judging"].pop("panel"), "judging.panel", "is missing"),
        ("tournament", lambda d: d["win_rates"].append(d["win_rates"][0]), "win_rates", "twice"),
        ("tournament", lambda d: d.update(tournament=".." * 8), "tournament", "a hash"),
    ],
)
def test_each_change_of_another_document_is_named(
    documents: dict[str, Kind], kind: str, edit: Callable[[Document], object], field: str, words: str
) -> None:
    require_named(documents[kind], edit, field, words)


def test_the_order_of_cells_does_not_change_their_group(documents: dict[str, Kind]) -> None:
    document, path = copy.deepcopy(documents["group"])
    document["group"]["cell_ids"].reverse()
    assert [*document_problems(document, path)] == []


@pytest.mark.parametrize("odd", [None, 3, "x", [], [[]], {}, {"kind": None}, True, float("inf"), {"a": {"b": [{}]}}])
def test_no_part_of_any_content_is_a_traceback(documents: dict[str, Kind], odd: object) -> None:
    """Each part of each document, and each of its parts, is replaced by something else."""
    for document, path in documents.values():
        for name, part in document.items():
            [*document_problems({**document, name: odd}, path)]
            for inner in part if isinstance(part, dict) else ():
                [*document_problems({**document, name: {**part, inner: odd}}, path)]
            for position in range(min(len(part), 2)) if isinstance(part, list) else ():
                [*document_problems({**document, name: [*part[:position], odd, *part[position + 1 :]]}, path)]
