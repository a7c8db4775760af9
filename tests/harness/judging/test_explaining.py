"""Explain, then detect, against a server that recognises the classes of pictures."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from class_oracle import (
    COLOURS,
    always,
    asked_concept,
    classes_of,
    coloured_folder,
    coloured_images,
    made_store,
    oracle,
)
from misbehaving_server import Server, serving
from typer.testing import CliRunner

from harness import judging
from harness.cli import app
from harness.datasets.base import ImageSet
from harness.judging.detection_questions import Pictures, control_units, drawn_units
from harness.judging.explaining import ExplainedCells, explain
from harness.judging.explaining_jobs import Explaining
from harness.judging.explaining_plan import plan_explaining
from harness.stats import Detections
from harness.suites import load_suite
from methods.errors import UserError
from results import Store, leaderboard, open_store
from results.boards.text import render_text
from results.store.explanations import explanations
from results.verify import verify

pytestmark = pytest.mark.run

CELLS = ["planted-1", "random-1"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return coloured_images(coloured_folder(tmp_path_factory.mktemp("coloured") / "images"))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, images: ImageSet) -> Path:
    return made_store(tmp_path_factory.mktemp("recorded") / "r.duckdb", images).path


@pytest.fixture
def store(recorded: Path, tmp_path: Path) -> Store:
    return open_store(shutil.copy(recorded, tmp_path / "r.duckdb"), read_only=False)


def settings(*urls: str, **more: Any) -> Explaining:
    judges = tuple({"name": f"model{number}", "base_url": url} for number, url in enumerate(urls))
    options = {"timeout_s": 20.0, "backoff_s": 0.01, "tries": 2, "concurrency": more.pop("concurrency", 8)}
    return Explaining("openai", judges, options, **more)


def explained(store: Store, images: ImageSet, wanted: Explaining, cells: Sequence[str] = CELLS) -> ExplainedCells:
    return explain(store, cells, images, wanted, folder=store.path.parent / "grids")


def test_planted_classes_are_found_and_random_units_are_not(store: Store, images: ImageSet) -> None:
    with serving(lambda number: "right", oracle) as server:
        plan = plan_explaining(store, CELLS, images, settings(server.url))
        done = explained(store, images, settings(server.url))
    planted, random = (next(cell for cell in done.cells if cell.label == label) for label in ("planted", "random"))
    assert planted.score is not None and random.score is not None
    assert planted.score.value == 1.0 and planted.score.n == 16
    # No mistake in 160 answers: the error is that of the answers, and not 0.
    assert planted.score.uncertainty == pytest.approx(math.sqrt((Detections(5, 5, 5, 5).variance or 0) / 16))
    assert abs(random.score.value - 0.5) < 0.1 and abs(random.score.value - 0.5) < 3 * (random.score.uncertainty or 0)
    # Another unit's concept is another class, and is found in some of the negatives.
    assert planted.control is not None and abs(planted.control.value - 0.5) < 0.1
    assert planted.gap is not None and planted.gap.value == pytest.approx(1 - planted.control.value)
    interval = planted.gap.interval()
    assert interval is not None and interval[0] > 0.3
    rows = explanations(store, ["planted-1"])
    assert [list(COLOURS)[::1].index(name) >= 0 for name in rows["concept"]] and len(set(rows["concept"])) == 8
    assert (rows["balanced_accuracy"] == 1).all() and (rows["control_unit"] != rows["unit"]).all()
    assert verify(store).problems == []
    # The plan counted everything before any concept was known: equal pictures with one concept are asked once.
    assert plan[0].calls == 2 * 16 * (1 + 4 * 5) >= done.asked == len(server.seen) and done.kept == 0
    assert set(server.seen.values()) == {1}


def test_nothing_is_asked_twice_and_more_units_add_only_their_own(store: Store, images: ImageSet) -> None:
    with serving(lambda number: "right", oracle) as server:
        first = explained(store, images, settings(server.url, units=6))
        again = explained(store, images, settings(server.url, units=6))
        assert again.asked == 0 and again.kept == first.asked and again.cells == first.cells
        (plan,) = plan_explaining(store, CELLS, images, settings(server.url, units=6))
        assert plan.left == plan.prompt_tokens == 0 and plan.stored == plan.calls == first.asked
        (plan,) = plan_explaining(store, CELLS, images, settings(server.url, units=8))
        more = explained(store, images, settings(server.url, units=8))
        # The concepts of new units change the control of the last old one, too.
        assert 0 < more.asked <= plan.left <= 2 * 2 * (1 + 4 * 5) + 2 * 2 * 5
    assert set(server.seen.values()) == {1}
    assert len(explanations(store, ["planted-1"])) == 8


def test_each_image_is_a_question_of_its_own_and_no_explaining_image_is_asked_about(
    store: Store, images: ImageSet
) -> None:
    pictures = Pictures(images)
    drawn = drawn_units(store, "planted-1", pictures, units=16, images=5, seed=0)
    assert (drawn.n_alive, drawn.n_usable, len(drawn.units)) == (16, 16, 16)
    top = {row.unit: row.top_image.tolist() for row in store.units("planted-1").itertuples()}
    for unit in drawn.units:
        assert list(unit.explaining) == top[unit.unit][0::2] and list(unit.positives) == top[unit.unit][1::2][:5]
        assert len(unit.negatives) == len(set(unit.negatives)) == 5 and not {*unit.negatives} & {*top[unit.unit]}
    # All stored top images are active, so the unit may be active on others.
    assert not any(unit.silent for unit in drawn.units)
    longer = drawn_units(store, "planted-1", pictures, units=7, images=5, seed=0)
    assert longer.units == drawn.units[:7]
    other = drawn_units(store, "planted-1", pictures, units=16, images=5, seed=1)
    assert [unit.unit for unit in other.units] != [unit.unit for unit in drawn.units]
    with serving(lambda number: "right", oracle) as server:
        explained(store, images, settings(server.url, units=3), CELLS[:1])
    contents = [body["messages"][0]["content"] for body in server.bodies]
    assert {len(content) for content in contents} == {2}
    sizes = [len(classes_of(content[0]["image_url"]["url"])) for content in contents]
    assert sizes.count(6) == 3 and sizes.count(1) == len(sizes) - 3
    assert {asked_concept(content[1]["text"]) for content in contents if "Concept: " in content[1]["text"]} <= {
        *COLOURS
    }


def test_units_with_few_images_are_left_out_and_silent_negatives_are_known(store: Store, images: ImageSet) -> None:
    with store.writing() as opened:
        opened.execute(
            "UPDATE units SET top_value = list_transform(top_value, lambda x, i: CASE WHEN i > 7 THEN 0 ELSE x END) "
            "WHERE unit = 3"
        )
        opened.execute(
            "UPDATE units SET top_value = list_transform(top_value, lambda x, i: CASE WHEN i > 8 THEN 0 ELSE x END) "
            "WHERE unit = 4"
        )
        opened.execute("UPDATE units SET alive = false WHERE unit = 5")
    drawn = drawn_units(store, "planted-1", Pictures(images), units=50, images=5, seed=0)
    by_unit = {unit.unit: unit for unit in drawn.units}
    assert (drawn.n_alive, drawn.n_usable) == (15, 14) and not {3, 5} & set(by_unit)
    assert by_unit[4].silent and len(by_unit[4].explaining) == len(by_unit[4].positives) == 4
    assert len(by_unit[4].negatives) == 4 and not by_unit[0].silent


def test_no_image_of_a_unit_has_a_copy_among_its_others(store: Store, images: ImageSet) -> None:
    """The first two images of each class count as equal, then each two neighbours."""
    pictures = Pictures(images)
    pictures.content = lambda index: str(index - 1 if index % 12 == 1 else index)
    drawn = drawn_units(store, "planted-1", pictures, units=16, images=5, seed=0)
    assert len(drawn.units) == 16
    for unit in drawn.units:
        contents = [pictures.content(image) for image in (*unit.explaining, *unit.positives, *unit.negatives)]
        assert len(contents) == len(set(contents))
    pictures.content = lambda index: str(index // 2)
    drawn = drawn_units(store, "planted-1", pictures, units=16, images=5, seed=0)
    assert (len(drawn.units), drawn.n_usable, drawn.n_left_out) == (0, 16, 16)


def test_replies_that_did_not_come_are_named_and_are_not_invalid(store: Store, images: ImageSet) -> None:
    with serving(lambda number: "right", oracle) as server:
        wanted = settings(server.url, units=4)
        explained(store, images, wanted, CELLS[:1])
    first = answers_of_judge(store)
    with store.writing() as opened:
        opened.execute(
            "UPDATE replies SET raw = NULL, answer = NULL WHERE prompt_version = 'detect-1' AND grid_b = (SELECT "
            "min(grid_b) FROM replies WHERE prompt_version = 'detect-1')"
        )
    (cell,) = explained(store, images, wanted, CELLS[:1]).cells  # the server is gone
    assert any("did not come; repeat the command" in note for note in cell.notes)
    details = answers_of_judge(store)
    assert first["missing_replies"] == first["invalid_answers"] == details["invalid_answers"] == 0
    assert details["missing_replies"] > 0
    with serving(lambda number: "right", oracle) as server:
        explained(store, images, dataclasses.replace(wanted, judges=settings(server.url).judges), CELLS[:1])
    assert answers_of_judge(store) == first


def answers_of_judge(store: Store) -> dict[str, Any]:
    return store.scores().set_index("metric")["details"]["autointerp"]["by_judge"][0]


@pytest.mark.parametrize("answer", ["yes", "no"])
def test_a_model_that_always_says_the_same_is_at_chance(store: Store, images: ImageSet, answer: str) -> None:
    with serving(lambda number: "right", always(answer)) as server:
        done = explained(store, images, settings(server.url))
    for cell in done.cells:
        assert cell.score is not None and cell.control is not None and cell.gap is not None
        assert (cell.score.value, cell.control.value, cell.gap.value) == (0.5, 0.5, 0.0)
        interval = cell.gap.interval()
        assert interval is not None and interval[0] < 0 < interval[1]


def test_nonsense_gives_no_score_and_a_sentence(store: Store, images: ImageSet) -> None:
    with serving(lambda number: "prose") as server:
        done = explained(store, images, settings(server.url, units=4), CELLS[:1])
        assert set(server.seen.values()) == {3}, "asked as often as an invalid reply is repeated"
        again = explained(store, images, settings(server.url, units=4), CELLS[:1])
    assert again.asked == 0
    assert done.cells[0].score is None and done.cells[0].notes == (
        "planted, token seed 1: model0 gave no valid concept for any of 4 units, so the method has no score.",
    )
    assert store.scores().empty and explanations(store, CELLS)["concept"].tolist() == [None] * 4
    with serving(lambda number: "right", lambda body: always("maybe")(body)) as server:
        done = explained(store, images, settings(server.url, units=4, concurrency=4), ["random-1"])
    assert "too few valid answers" in done.cells[0].notes[0]


def test_invalid_detections_are_no_votes_and_are_counted(store: Store, images: ImageSet) -> None:
    def half(body: dict[str, Any]) -> str:
        reply = oracle(body)
        # No answer about pictures of two of the classes.
        is_detection = '"answer"' in reply
        classes = classes_of(body["messages"][0]["content"][0]["image_url"]["url"])
        return "I cannot tell." if is_detection and classes[0] in ("red", "blue") else reply

    with serving(lambda number: "right", half) as server:
        done = explained(store, images, settings(server.url), CELLS[:1])
    rows = explanations(store, ["planted-1"]).set_index("unit")
    silent = rows["concept"].isin(["red", "blue"])
    assert silent.sum() == 4 and (rows["n_positive"][silent] == 0).all()
    assert rows["balanced_accuracy"][silent].isna().all() and (rows["balanced_accuracy"][~silent] == 1).all()
    (cell,) = done.cells
    assert cell.score is not None and cell.score.n == 12 and "4 of 16 units have no score by model0" in cell.notes[0]
    details = store.scores().set_index("metric")["details"]["autointerp"]["by_judge"][0]
    assert details["invalid_answers"] == 16 * 10 - rows["n_positive"].sum() - rows["n_negative"].sum() > 20


def test_a_killed_process_asks_nothing_twice(store: Store, images: ImageSet) -> None:
    kill_at = [40]

    def killing(body: dict[str, Any]) -> str:
        kill_at[0] -= 1
        if kill_at[0] == 0:
            signal.raise_signal(signal.SIGINT)
        return oracle(body)

    with serving(lambda number: "right", killing) as server:
        with pytest.raises(KeyboardInterrupt):
            explained(store, images, settings(server.url, concurrency=1, units=4), CELLS[:1])
        n_stored = len(store.query("SELECT * FROM replies"))
        assert 30 <= n_stored <= 40 and store.scores().empty
        done = explained(store, images, settings(server.url, concurrency=1, units=4), CELLS[:1])
    assert done.kept == n_stored and sum(times > 1 for times in server.seen.values()) <= 1
    assert done.asked > 20 and done.cells[0].score is not None and done.cells[0].score.value == 1.0


def test_each_judge_is_alone_and_the_method_has_their_mean(store: Store, images: ImageSet) -> None:
    with (
        serving(lambda number: "right", oracle) as knows,
        serving(lambda number: "right", always("yes")) as one,
        serving(lambda number: "right", always("no")) as two,
    ):
        done = explained(store, images, settings(knows.url, one.url, two.url), CELLS[:1])
    (cell,) = done.cells
    assert cell.score is not None and cell.score.value == pytest.approx(2 / 3)
    details = store.scores().set_index("metric")["details"]["autointerp"]
    assert [judge["value"] for judge in details["by_judge"]] == [1.0, 0.5, 0.5]
    rows = explanations(store, ["planted-1"])
    assert len(rows) == 3 * 16 and rows.groupby("judge")["balanced_accuracy"].mean().tolist() == [1.0, 0.5, 0.5]


def test_a_judge_that_cannot_answer_does_not_keep_the_others_from_it(store: Store, images: ImageSet) -> None:
    with (
        serving(lambda number: "right", oracle) as knows,
        serving(lambda number: "404") as broken,
        serving(lambda number: "right", oracle) as third,
    ):
        with pytest.raises(UserError, match="answered 404"):
            explained(store, images, settings(knows.url, broken.url, third.url), CELLS[:1])
        assert len(knows.seen) == len(third.seen) > 100
        # Not the mean over two of three judges.
        assert store.scores().empty and explanations(store, CELLS).empty


def test_panels_that_compare_are_refused(store: Store, images: ImageSet) -> None:
    with pytest.raises(UserError, match="'proxy' compares grids and cannot name concepts; use a panel of vision-lang"):
        explained(store, images, Explaining("proxy"))
    # Nobody has joined it, so it has no judge that could be asked what it can.
    with pytest.raises(UserError, match="'people' compares grids and cannot name concepts"):
        explained(store, images, Explaining("people"))
    with pytest.raises(UserError, match="are not those that"):
        explained(store, images.subset(range(20)), settings("http://127.0.0.1:9/v1"))


def test_controls_are_a_derangement() -> None:
    assert control_units(["a", None, "b", "c"]) == [2, None, 3, 0]
    assert control_units(["a", None]) == [None, None] and control_units([]) == []
    assert control_units(["a", "b"]) == [1, 0]


def test_boards_show_a_column_per_panel_and_setting(store: Store, images: ImageSet) -> None:
    def column(server: Server, model: str, **more: Any) -> None:
        wanted = settings(server.url, units=4, **more)
        explained(store, images, Explaining("openai", ({"name": model, "base_url": server.url},), wanted.options, 4,
                                            wanted.images))  # fmt: skip

    with serving(lambda number: "right", oracle) as server:
        column(server, "vendor/large")
        (board,) = leaderboard(store)
        text = " ".join(render_text(board, 200).split())
        assert "detection (autointerp): balanced accuracy" in text and "judged by large (openai)" in text
        column(server, "vendor/small")
        column(server, "vendor/small", images=4)
    (board,) = leaderboard(store)
    columns = [column for column in board.columns if column.metric == "autointerp"]
    assert sorted(column.panel or "" for column in columns) == ["openai:large", "openai:small", "openai:small"]
    assert {column.params["images"] for column in columns} == {4, 5} and len({column.key for column in columns}) == 3
    assert any("autointerp" in note and "not ranked together" in note for note in board.notes)
    row = next(row for row in board.rows if row.label == "planted")
    assert row.metrics[columns[0].key].mean == 1.0
    assert "large" in render_text(board, 200)


def test_the_verb_plans_asks_and_prints(tmp_path: Path) -> None:
    folder = coloured_folder(tmp_path / "images")
    suite = tmp_path / "own.toml"
    suite.write_text(
        f'name = "own"\n[seeds]\ntokens = [1]\n[data]\ndataset = "folder:{folder}"\nevaluation = 80\n'
        '[[targets]]\nbackbone = "tiny_vit"\n[[methods]]\nname = "identity"\n'
    )
    store = made_store(tmp_path / "r.duckdb", judging.evaluation_images(load_suite(str(suite))), n_top=8)
    with store.writing() as opened:
        opened.execute("UPDATE cells SET method = 'identity', config = '{}' WHERE cell_id = 'planted-1'")
    with serving(lambda number: "right", oracle) as server:
        common = ["explain", "--suite", str(suite), "--store", str(store.path), "--units", "5"]
        common += ["--panel", "openai", "--judge", f"m@{server.url}"]

        def run(*more: str) -> str:
            done = CliRunner().invoke(app, [*common, *more])
            assert done.exit_code == 0, done.output
            return done.stdout

        (planned,) = json.loads(run("--dry-run", "--json"))
        assert planned["n_units"] == 5 and planned["left"] == 5 * (1 + 4 * 4) and not server.bodies
        done = json.loads(run("--json"))
        assert done["asked"] <= planned["left"] and done["cells"][0]["score"]["n"] == 5
        printed = run()
    assert "control" in printed and f"0 questions asked, {done['asked']} answered before." in printed
