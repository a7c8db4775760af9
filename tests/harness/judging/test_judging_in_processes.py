"""Tournaments by judges that load a model: the vllm panel on a stand-in for vLLM, from a store to a win rate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from judging_store import make_store, pictures
from typer.testing import CliRunner

from harness import judging
from harness.cli import app
from harness.datasets.base import ImageSet
from harness.progress import Silent
from harness.suites import Judging, parse_suite
from methods.errors import UserError
from results import Store
from results.store import judgments

pytestmark = pytest.mark.run

CELLS = [f"{method}-1" for method in ("identity", "random_split", "pure")]
SUPPORT = Path(__file__).parents[2] / "support"


class Notes(Silent):
    """Messages and progress of a judging."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.steps: list[tuple[int, int, str]] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)

    def progress(self, done: int, total: int, what: str) -> None:
        self.steps.append((done, total, what))


@pytest.fixture(scope="module")
def images(photo_folder: Path) -> ImageSet:
    return pictures(photo_folder)


@pytest.fixture
def store(tmp_path: Path, images: ImageSet) -> Store:
    return make_store(tmp_path / "r.duckdb", images, seeds=(1,))


@pytest.fixture(autouse=True)
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes that are started import the stand-in."""
    monkeypatch.syspath_prepend(str(SUPPORT / "stub_vllm"))
    monkeypatch.setenv("STUB_VLLM", str(tmp_path))
    monkeypatch.setattr("judges.processes.visible_gpus", lambda: ())


def judged(store: Store, images: ImageSet, *models: str, **given: Any) -> list[judging.JudgedContest]:
    settings = Judging(panel="vllm", judges=tuple({"name": model} for model in models), pairs=3, controls=2)
    return judging.judge(store, CELLS, images, settings, folder=store.path.parent / "grids", **given)


def notes(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "notes").read_text().splitlines()]


def replies(store: Store) -> dict[str, int]:
    judges = store.query("SELECT judge FROM replies")["judge"].str.extract(r"vllm/(.*)#")[0]
    return {str(name): int(count) for name, count in judges.value_counts().items()}


def test_models_one_after_the_other_from_a_store_to_win_rates(store: Store, images: ImageSet, tmp_path: Path) -> None:
    reporter, released = Notes(), list[int]()
    [contest] = judged(
        store, images, "m", "n", "o", reporter=reporter, release=lambda: released.append(len(reporter.said))
    )
    n_questions = 3 * 3 * 2 + 2
    assert contest.asked == 3 * n_questions and replies(store) == dict.fromkeys("mno", n_questions)
    assert judgments.win_rates(store)["n"].tolist() == [12] * 3
    assert [(note["model"], note["started"]) for note in notes(tmp_path)] == [
        (name, started) for name in "mno" for started in (True, False)
    ]
    assert len({note["process"] for note in notes(tmp_path)}) == 3
    assert released == [0], "before the first model is loaded, and once"
    assert reporter.steps[-1] == (3 * n_questions, 3 * n_questions, "replies of 3 judges")
    # Nothing is open any more: no model is loaded, and nothing needs to be released.
    judged(store, images, "m", "n", "o", release=lambda: released.append(-1))
    assert len(notes(tmp_path)) == 6 and released == [0]


def test_a_model_that_dies_or_does_not_start_leaves_the_others_their_gpus(
    store: Store, images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("judges.processes.visible_gpus", lambda: ("4", "7"))
    with pytest.raises(UserError) as failed:
        judged(store, images, "too large", "dies", "m")
    assert "vLLM could not start 'too large': CUDA out of memory. If memory is missing" in str(failed.value)
    assert "'dies' of the panel 'vllm' gives no more replies: its process was killed by SIGABRT. The 2 " in str(
        failed.value
    )
    assert replies(store) == {"m": 20, "dies": 2}
    assert {note["gpus"] for note in notes(tmp_path)} <= {"4", "7"}


def test_more_gpus_than_there_are_is_foreseen(store: Store, images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.judging.after_run.visible_gpus", lambda: ("0",))
    wanted = {"panel": "vllm", "judges": [{"name": "m", "tensor_parallel_size": 2}]}
    suite = parse_suite(
        {"name": "s", "judging": wanted, "targets": [{"backbone": "tiny_vit"}], "methods": [{"name": "identity"}]}
    )
    [problem] = judging.panel_problems(suite, ["tiny_vit"])
    assert problem.startswith("Judging will be skipped: The judge 'm' of the panel 'vllm' needs 2 GPUs, and this")


def test_json_of_the_verb_is_all_of_standard_output(
    tmp_path: Path, photo_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    suite = tmp_path / "own.toml"
    suite.write_text(
        f'name = "own"\n[seeds]\ntokens = [1]\n[data]\ndataset = "folder:{photo_folder}"\nevaluation = 40\n'
        '[[targets]]\nbackbone = "tiny_vit"\n[[methods]]\nname = "identity"\n[[methods]]\nname = "random_split"\n'
    )
    from harness.suites import load_suite

    make_store(tmp_path / "r.duckdb", judging.evaluation_images(load_suite(str(suite))), seeds=(1,))
    command = ["judge", "--suite", str(suite), "--store", str(tmp_path / "r.duckdb"), "--json", "--pairs", "2"]
    done = CliRunner().invoke(app, [*command, "--panel", "vllm", "--judge", "m"])
    assert done.exit_code == 0 and json.loads(done.stdout)["contests"][0]["asked"] > 4
    printed = capfd.readouterr()
    assert printed.out == "" and "INFO the stub starts" in printed.err
