"""`harness verify --strict`: nothing in a right folder, and every contradiction named with its file and field."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from submission_store import document_of

from results.submissions.files import FolderProblem
from results.submissions.folder import read_folder
from results.submissions.identities import identity_hash
from results.submissions.strict import StrictVerdict, verify_strict
from results.submissions.text import render

Document = dict[str, Any]


def test_a_right_folder_has_no_problem(repository: Path) -> None:
    verdict = verify_strict(repository)
    assert verdict.problems == []
    assert verdict.counts == {"files": 37, "cell": 8, "group": 1, "images": 1, "tournament": 1}
    assert verdict.checked["tournaments"] and verdict.checked["units"] and verdict.checked["unit maps"]


def test_the_folder_results_is_the_same_as_its_repository(repository: Path) -> None:
    verdict = verify_strict(repository / "results")
    assert (verdict.problems, verdict.counts["cell"]) == ([], 8)


def score(key: str, **values: Any) -> Callable[[Document], object]:
    return lambda document: document["scores"].setdefault(key, {}).update(values)


def newer_version(document: Document) -> None:
    document["scores"]["token_sensitivity@3"] = document["scores"].pop("token_sensitivity@2")


#: Document, its change, and the problem: the field, and words of the reason.
CONTRADICTIONS: list[tuple[str, Callable[[Document], object], str, str]] = [
    ("images", lambda d: d.update(images=d["images"][:10]), "", "the set has 0 to 9"),
    ("group", lambda d: d["scores"]["token_sensitivity@2"].update(value=2.0), "", "must be between"),
    ("group", newer_version, "scores.token_sensitivity@3", "knows up to version 2"),
    ("tournament", lambda d: d["win_rates"][0].update(win_rate=0.9), "", "and the mean over its opponents is 0.8"),
    ("elude-1", score("r2@1", value=1.5), "", "is 1.5; it must be at most 1"),
    ("elude-1", score("accuracy@1", value=0.77), "", "not a whole number"),
    ("elude-2", score("ms_score@1", value=0.9), "", "mean over its alive unit rows"),
    ("elude-2", lambda d: d["cell"].update(n_units=9), "", "8 rows"),
    ("topk_sae-2", lambda d: d["flags"].update(collapsed="so it is"), "flags.collapsed", "does not follow"),
    ("topk_sae-2", score("accuracy@1", value=0.25), "flags", "lack 'below floor'"),
    ("topk_sae-2", score("kl@9", direction="lower", value=0.1), "scores.kl@9", "knows up to version 1"),
    ("random_split-1", lambda d: d["tables"]["units"].update(rows=7), "", "has 8 rows, and"),
    ("random_split-2", lambda d: d["tables"]["units"].update(sha256="0" * 64), "", "its hash is another one"),
    ("random_dictionary-1", lambda d: d["tables"].pop("units"), "", "is a table that no document names"),
    (
        "random_dictionary-2",
        lambda d: d["run"].update(command="rm -rf /"),
        "run",
        "differs from the run of the same id",
    ),
]


@pytest.fixture(scope="module")
def contradictory(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> list[FolderProblem]:
    """Return the problems of a folder with all of `CONTRADICTIONS`."""
    folder = Path(shutil.copytree(repository, tmp_path_factory.mktemp("contradictory") / "repository"))
    for kind, edit, _, _ in CONTRADICTIONS:
        rewrite(document_of(folder, kind), edit)
    return verify_strict(folder).problems


@pytest.mark.parametrize(("kind", "field", "words"), [(kind, *named) for kind, _, *named in CONTRADICTIONS])
def test_what_contradicts_other_rows_is_named(
    contradictory: list[FolderProblem], repository: Path, kind: str, field: str, words: str
) -> None:
    named = [problem for problem in contradictory if problem.field == field and words in problem.why]
    assert named, "\n".join(map(str, contradictory))
    start = str(document_of(repository, kind).relative_to(repository / "results")).removesuffix(".json")
    # Those of images are of the cells that refer to them, and those of several cells together of no file.
    assert kind == "images" or any(problem.file.startswith(start) or not problem.file for problem in named)
    assert all("\n" not in str(problem) for problem in contradictory)


def test_text_in_another_form_is_a_problem(copied: Path) -> None:
    """A key twice, or other spaces: what a reviewer reads must be what the program reads."""
    path = document_of(copied)
    text = path.read_text(encoding="utf-8")
    for odd in (
        text.replace('"d_in": 4', '"d_in": 4,\n  "d_in": 5', 1),
        text.rstrip("\n"),
        json.dumps(json.loads(text)),
    ):
        path.write_text(odd, encoding="utf-8")
        problems = read_folder(copied).problems
        assert any("is not written as `harness submit` writes it" in problem.why for problem in problems)


def test_a_cell_in_two_files_is_a_problem(copied: Path) -> None:
    path = document_of(copied)
    other = path.parent.parent / "topk_sae"
    for file in path.parent.glob(f"{path.stem}*"):
        shutil.copy(file, other)
    (problem, *_) = [p for p in verify_strict(copied).problems if p.file.endswith(f"topk_sae/{path.name}")]
    assert "wrong path" in problem.why and f"elude/{path.name}" in problem.why


def test_a_result_that_is_counted_twice_is_a_problem(copied: Path) -> None:
    """The same seeds under another identity, which differs in what no board distinguishes."""
    path = document_of(copied)
    document = json.loads(path.read_text(encoding="utf-8"))
    document["identity"]["site_note"] = "again"
    document["cell_id"] = identity_hash(document["identity"])
    document["tables"] = {}
    path.with_name(f"{document['cell_id']}.json").write_text(render(document), encoding="utf-8")
    assert any("has the same seeds" in problem.why for problem in verify_strict(copied).problems)


def without(folder: Path, *methods: str) -> StrictVerdict:
    for method in methods:
        shutil.rmtree(folder / "results" / "tiny_vit" / "blocks.1.mlp.fc2" / method)
    return verify_strict(folder)


def test_a_board_without_random_control_is_a_problem(copied: Path) -> None:
    shutil.rmtree(copied / "results" / "_tournaments")
    verdict = without(copied, "random_dictionary", "random_split")
    (problem,) = verdict.problems
    assert "has no random control" in problem.why and "random_dictionary" in problem.why


def test_a_method_without_its_control_is_a_warning(copied: Path) -> None:
    verdict = without(copied, "random_split")
    assert verdict.problems == []
    assert [w for w in verdict.warnings if "(ELUDe) has no random control of its family" in w.why]


def test_one_seed_is_a_warning(copied: Path) -> None:
    path = document_of(copied)
    shutil.rmtree(copied / "results" / "_tournaments")
    for file in path.parent.glob(f"{path.stem}*"):
        file.unlink()
    verdict = verify_strict(copied)
    assert verdict.problems == []
    assert [w for w in verdict.warnings if "(ELUDe on the board" in w.why and "is flagged one seed" in w.why]


def test_what_a_reviewer_should_know(copied: Path) -> None:
    rewrite(document_of(copied, "elude-1"), score("mine@1", direction="none", value=1.0))
    rewrite(document_of(copied, "elude-2"), score("l0@1", direction="none", value=1.0))
    rewrite(document_of(copied, "topk_sae-1"), lambda document: document.pop("run"))
    changed_code = {"run_id": "run-2", "code_revision": "1234567+changes"}
    rewrite(document_of(copied, "topk_sae-2"), lambda document: document["run"].update(changed_code))
    images = document_of(copied, "images")
    rewrite(images, lambda document: document.update(fingerprint="0" * 16), images.with_name(f"{'0' * 16}.json"))
    verdict = verify_strict(copied)
    assert verdict.problems == []
    words = ("does not have (a plugin's?)", "version 2 is computed now", "has no code revision", "ask for the change")
    for part in (*words, "no cell was measured on"):
        assert [warning for warning in verdict.warnings if part in warning.why], part


def test_a_score_of_a_group_is_the_mean_of_its_pairs(copied: Path) -> None:
    rewrite(document_of(copied, "group"), score("token_sensitivity@2", value=0.52))
    assert "the mean over its 1 pairs of cells is 0.42" in " ".join(map(str, verify_strict(copied).problems))


def test_cells_that_should_agree_are_compared(copied: Path) -> None:
    rewrite(document_of(copied, "elude-2"), lambda document: document["cell"]["claims"].update(lossless=True))
    rewrite(document_of(copied, "topk_sae-1"), lambda document: document["cell"].update(label="ELUDe"))
    rewrite(document_of(copied, "topk_sae-2"), lambda document: document["cell"].update(fit_seconds=1000.0))
    warnings = {warning.field: str(warning) for warning in verify_strict(copied).warnings}
    assert "same method and settings: lossless." in warnings["cell.claims"]
    assert "'ELUDe' is also that of another method" in warnings["cell.label"]
    assert "is 0.333333, and 1000 for the same method and device" in warnings["cell.fit_seconds"]


def test_what_a_run_writes_and_a_document_lacks_is_named(copied: Path) -> None:
    path = document_of(copied, "elude-1")
    rewrite(path, lambda document: document["scores"]["r2@1"].pop("uncertainty"))
    rewrite(path, lambda document: document["tables"].pop("outcomes"))
    path.with_suffix(".outcomes.parquet").unlink()
    warnings = [str(warning) for warning in verify_strict(copied).warnings if path.name in warning.file]
    assert any("scores have no standard error: " in warning and "r2" in warning for warning in warnings)
    assert any("tables lack outcomes" in warning for warning in warnings)


def rewrite(path: Path, edit: Callable[[Document], object], target: Path | None = None) -> None:
    """Change a document, and write it as `harness submit` would."""
    document = json.loads(path.read_text(encoding="utf-8"))
    edit(document)
    (target or path).write_text(render(document), encoding="utf-8")
