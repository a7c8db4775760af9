"""Judging from a store to a board: pairs, grids, stored replies, the proxy panel, never twice."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from judging_store import make_store, pictures
from PIL import Image
from typer.testing import CliRunner

from harness import judging
from harness.cli import app
from harness.datasets.base import ImageSet
from harness.judging.pairs import draw, units_of
from harness.judging.scoring import sampling_units
from harness.suites import Judging, load_suite
from judges.base import Judge, Keep, Question, Reply
from judges.grids import Album
from judges.panel import PANELS, Panel, Wanted, make_panel
from judges.panels.proxy import ENCODERS, ProxyJudge, tightness
from judges.prompt import Prompt
from methods.errors import UserError
from results import Store, leaderboard, open_store
from results.boards.text import render_text
from results.store import judgments
from results.store.judgments import ReplyRecord, TournamentRecord

pytestmark = pytest.mark.run

CELLS = [f"{method}-{seed}" for seed in (1, 2) for method in ("identity", "random_split", "pure")]


class Scripted(Judge):
    """Prefers the grid with fewer different classes of pictures, and does what its name says besides."""

    kind = "scripted"
    asked: list[tuple[str, str, str, int]] = []

    def __init__(self, name: str) -> None:
        self.name = name

    def ask(self, questions: Sequence[Question], prompt: Prompt, album: Album, keep: Keep) -> None:
        replies: list[Reply] = []
        for number, question in enumerate(questions):
            key = self.key(question, prompt)
            self.asked.append((self.id, key.grid_a, key.grid_b, question.attempt))
            if self.name == "breaks" and number == 7:
                raise SystemExit(0)
            if self.name == "dies" and number == 7:
                signal.raise_signal(signal.SIGINT)
            a, b = (len({tile.index // 16 for tile in grid.tiles}) for grid in (question.grid_a, question.grid_b))
            text: str | None = json.dumps({"reasoning_a": "", "reasoning_b": "", "answer": "A" if a < b else "B"})
            if self.name == "stutters" and question.attempt < 3:
                text = "I prefer grid"
            if self.name == "mumbles":
                text = "no JSON"
            if self.name == "silent":
                text = None
            replies.append(Reply(key, question.attempt, text, "stop" if text else "timeout"))
            if self.name in ("dies", "breaks") or number + 1 == len(questions):
                keep(replies)
                replies = []


PANELS.add("scripted", lambda wanted: tuple(Scripted(str(entry["name"])) for entry in wanted.judges))


@pytest.fixture(scope="module")
def images(photo_folder: Path) -> ImageSet:
    return pictures(photo_folder)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, images: ImageSet) -> Path:
    return make_store(tmp_path_factory.mktemp("recorded") / "r.duckdb", images).path


@pytest.fixture
def store(recorded: Path, tmp_path: Path) -> Store:
    return open_store(shutil.copy(recorded, tmp_path / "r.duckdb"), read_only=False)


@pytest.fixture(autouse=True)
def nobody_was_asked() -> Iterator[None]:
    Scripted.asked.clear()
    yield


def scripted(*names: str, **settings: object) -> Judging:
    values = {"pairs": 10, "controls": 4, **settings}
    return Judging(panel="scripted", judges=tuple({"name": name} for name in names), **values)  # type: ignore[arg-type]


def judged(store: Store, images: ImageSet, settings: Judging, cells: Sequence[str] = CELLS) -> pd.DataFrame:
    contests = judging.judge(store, cells, images, settings, folder=store.path.parent / "grids")
    assert len(contests) == 1
    rates = judgments.win_rates(store)
    return rates[rates["tournament"] == contests[0].tournament].set_index("label")


def test_the_better_method_wins_and_the_board_shows_the_interval_and_n(store: Store, images: ImageSet) -> None:
    rates = judged(store, images, scripted("x", "y", "z"))
    assert rates.index.tolist() == ["pure", "identity", "random_split"]
    assert rates["win_rate"]["pure"] == 1.0 and rates["rank"].tolist() == [1, 2, 3]
    assert rates["n"].tolist() == [80] * 3  # 2 opponents x 10 pairs x 2 orders x 2 token seeds
    assert rates["cell_ids"]["pure"] == ["pure-1", "pure-2"]
    (board,) = leaderboard(store)
    (column,) = (column for column in board.columns if column.metric == "win_rate")
    assert column.panel == "scripted:x+y+z"
    row = next(row for row in board.rows if row.label == "pure").metrics["win_rate"]
    assert row.rank == 1 and row.n_observations == 80 and row.interval is not None and row.interval[1] == 1.0
    text = " ".join(render_text(board).split())
    assert "100.00 [" in text and "over 80 comparisons" in text


def test_nothing_is_asked_twice_and_another_method_adds_only_its_own_pairs(store: Store, images: ImageSet) -> None:
    two = [cell for cell in CELLS if not cell.startswith("pure")]
    judged(store, images, scripted("x"), two)
    before = len(Scripted.asked)
    assert before == len(set(Scripted.asked)) == 2 * 10 * 2 + 4
    judged(store, images, scripted("x"), two)
    assert len(Scripted.asked) == before
    judged(store, images, scripted("x"))
    added = Scripted.asked[before:]
    assert not {asked[:3] for asked in added} & {asked[:3] for asked in Scripted.asked[:before]}
    assert 2 * 2 * 10 * 2 <= len(added) <= 2 * 2 * 10 * 2 + 4


def test_a_killed_process_loses_only_the_call_in_flight(store: Store, images: ImageSet) -> None:
    with pytest.raises(KeyboardInterrupt):
        judged(store, images, scripted("dies"))
    assert len(store.query("SELECT * FROM replies")) == 7
    assert len(judging.rescore(store)) == 1
    assert judgments.tournaments(store)["n_missing"][0] == 6 * 10 * 2 + 4 - 7
    (board,) = leaderboard(store)
    assert any("is not complete" in note for note in board.notes)
    # The next try asks from the eighth question on.
    first = Scripted.asked[7][:3]
    with pytest.raises(KeyboardInterrupt):
        judged(store, images, scripted("dies"))
    assert Scripted.asked[8][:3] == first and len(store.query("SELECT * FROM replies")) == 14


def test_a_judge_that_fails_does_not_keep_the_others_from_judging(store: Store, images: ImageSet) -> None:
    with pytest.raises(UserError, match=r"^The judge 'breaks' of the panel 'scripted' failed in ask: SystemExit: 0"):
        judged(store, images, scripted("breaks", "y", "z", pairs=10))
    replies = store.query("SELECT * FROM replies")["judge"].str.split("[/#]").str[1].value_counts()
    assert replies.to_dict() == {"breaks": 7, "y": 124, "z": 124}
    # Two of three agree, and their judgments are scored.
    assert judgments.win_rates(store)["n"].sum() > 0


def test_invalid_replies_are_repeated_at_most_twice_and_stored_raw(store: Store, images: ImageSet) -> None:
    judged(store, images, scripted("stutters", "mumbles", "silent", pairs=3, controls=0))
    rows = store.query("SELECT * FROM replies").assign(who=lambda frame: frame["judge"].str.split("[/#]").str[1])
    counts = rows.groupby("who")["attempt"].agg(["size", "max"])
    questions = 6 * 3 * 2
    for name in ("stutters", "mumbles"):
        assert counts.loc[name].tolist() == [3 * questions, 3]
    assert counts.loc["silent"].tolist() == [questions, 1]
    assert (rows[rows["who"] == "mumbles"]["raw"] == "no JSON").all()
    health = pd.DataFrame(judgments.tournaments(store)["health"][0]).set_index("judge")
    assert sorted(health["invalid_rate"]) == [0.0, 1.0, 1.0]
    shares = health.rename(index=lambda name: name.split("/")[1].split("#")[0])
    assert shares["first_invalid_rate"].tolist()[0::2] == [1.0, 1.0], "mumbles and stutters"
    assert shares["retried_rate"]["stutters"] == 1.0 and shares["n_first"]["silent"] == 0
    # One valid vote of three decides nothing.
    rates = judgments.win_rates(store)
    assert (rates["n"] == 0).all() and judgments.tournaments(store)["n_ties"][0] == questions
    # A reply that never came is asked for again; three that were no verdict are not.
    Scripted.asked.clear()
    judged(store, images, scripted("stutters", "mumbles", "silent", pairs=3, controls=0))
    assert {asked[0].split("#")[0] for asked in Scripted.asked} == {"scripted/silent"}


def test_scoring_again_asks_nobody_and_gives_the_same(store: Store, images: ImageSet) -> None:
    before = judged(store, images, scripted("x", "y", "z"))
    Scripted.asked.clear()
    judging.rescore(store)
    assert not Scripted.asked
    after = judgments.win_rates(store).set_index("label")
    pd.testing.assert_frame_equal(before.drop(columns="judged_at"), after.drop(columns="judged_at"))


def test_a_tournament_of_an_older_definition_keeps_its_identity_and_is_scored_by_the_newer(
    store: Store, images: ImageSet
) -> None:
    judged(store, images, scripted("x", "y", "z"))
    fresh = judgments.tournaments(store)
    with store.writing() as opened:
        opened.execute("UPDATE tournaments SET settings = json_merge_patch(settings, '{\"version\": 1}')")
        opened.execute("UPDATE win_rates SET new_low = NULL, new_high = NULL, n_units = NULL")
    (board,) = leaderboard(store)
    assert any("older definition" in note for note in board.notes)
    Scripted.asked.clear()
    judged(store, images, scripted("x", "y", "z"))
    again = judgments.tournaments(store)
    assert not Scripted.asked and again["tournament"].tolist() == fresh["tournament"].tolist()
    assert again["settings"][0] == fresh["settings"][0] and again["settings"][0]["version"] == 2


def test_units_are_the_sampling_units_of_the_interval(store: Store, images: ImageSet) -> None:
    """18 units of each method can be drawn, with the same index for both token seeds; parts share their neuron."""
    rates = judged(store, images, scripted("x", "y", "z", pairs=20))
    assert rates["n_units"].tolist() == [18] * 3
    assert rates["new_low"]["identity"] < rates["win_rate"]["identity"] < rates["new_high"]["identity"]
    with store.writing() as opened:
        opened.execute("UPDATE units SET parent = unit // 6 WHERE cell_id LIKE 'pure%' OR cell_id LIKE 'identity%'")
    judging.rescore(store)
    again = judgments.win_rates(store).set_index("label")
    assert again["n_units"].to_dict() == {"pure": 4, "identity": 4, "random_split": 18}
    answers = judgments.judgments(store, again["tournament"].iloc[0])
    names = sampling_units(answers.assign(method_a=answers["cell_a"].str.split("-").str[0]), "a")
    assert set(names[answers["cell_a"] == "pure-1"]) == {f"neuron {number}" for number in range(4)}
    assert set(names[answers["cell_a"] == "random_split-2"]) <= {f"random_split {number}" for number in range(20)}


def test_only_units_that_are_alive_and_have_nine_images_are_drawn(store: Store, images: ImageSet) -> None:
    judged(store, images, scripted("x"))
    shown = store.query("SELECT unit_a, unit_b FROM comparisons")
    assert not {0, 1} & {*shown["unit_a"], *shown["unit_b"]}
    assert units_of(store, "pure-1", 9).unit.tolist() == list(range(2, 20))
    assert (
        units_of(store, "pure-1", 3).unit.tolist() == list(range(1, 20)) and units_of(store, "pure-1", 1).n_alive == 19
    )


def test_draws_are_even_and_a_longer_one_continues_a_shorter() -> None:
    assert draw(3, 100, 50)[:20] == draw(3, 100, 20) and len(set(draw(3, 100, 100))) == 100
    assert sorted(draw(5, 4, 10)[:8]) == [0, 0, 1, 1, 2, 2, 3, 3]
    counts = np.bincount([draw(seed, 10, 1)[0] for seed in range(5000)], minlength=10)
    assert counts.min() > 400 and counts.max() < 600


def test_the_proxy_prefers_tight_grids_and_is_called_a_proxy(store: Store, images: ImageSet) -> None:
    encoders = ({"name": "colour_texture"}, {"name": "gradients"}, {"name": "efficientnet_lite0"})
    settings = Judging(panel="proxy", judges=encoders[:1], pairs=10, controls=30)
    rates = judged(store, images, settings)
    assert rates.index.tolist() == ["pure", "identity", "random_split"]
    assert not list(store.path.parent.glob("grids/*"))  # nothing is drawn for those who look at features
    health = judgments.tournaments(store)["health"][0][0]
    assert health["swap_consistency"] == 1 and health["position_bias"] == 0 and 0.2 < health["control_a"] < 0.8
    (board,) = leaderboard(store)
    assert next(column for column in board.columns if column.metric == "win_rate").panel.startswith("proxy:")
    assert any("a proxy panel of encoders, no language model" in note for note in board.notes)


def test_two_panels_are_never_in_one_column(store: Store, images: ImageSet) -> None:
    judged(store, images, Judging(panel="proxy", judges=({"name": "colour_texture"},), pairs=10))
    judged(store, images, scripted("x"))
    (board,) = leaderboard(store)
    columns = [column for column in board.columns if column.metric == "win_rate"]
    assert [column.panel for column in columns] == ["proxy:colour_texture", "scripted:x"]
    assert any("not ranked together" in note and "different panels" in note for note in board.notes)


def test_a_proxy_panel_never_holds_the_backbone_under_test() -> None:
    for backbone in ("efficientnet_lite0", "timm:tf_efficientnet_lite0.in1k", "dinov2_small_saliency", "tiny_vit"):
        fit = [encoder.name for encoder in ENCODERS if encoder.may_judge(backbone)]
        assert not any(name in backbone for name in fit) and len(fit) >= 3
    with pytest.raises(UserError, match="may not judge"):
        make_panel("proxy", Wanted("timm:vit_base_patch14_dinov2", ({"name": "dinov2_small_saliency"},)))


def test_tightness() -> None:
    assert tightness(np.eye(3)) == 0 and tightness(np.ones((4, 1))) == 1 and tightness(np.ones((1, 1))) == -np.inf


def test_a_panel_is_odd_and_of_one_kind() -> None:
    with pytest.raises(UserError, match="odd number"):
        Panel("scripted", (Scripted("x"), Scripted("y")))
    with pytest.raises(UserError, match="must be of its kind"):
        Panel("vllm", (Scripted("x"),))
    with pytest.raises(UserError, match="twice"):
        Panel("scripted", (Scripted("x"), Scripted("x"), Scripted("y")))
    with pytest.raises(UserError, match=r"There is no judge panel 'proxi'. Did you mean proxy"):
        make_panel("proxi", Wanted("tiny_vit"))


def test_other_images_are_refused(store: Store, images: ImageSet) -> None:
    with pytest.raises(UserError, match="are not those that"):
        judged(store, images.subset(range(20)), scripted("x"))


def test_outlined_grids_are_other_grids_under_another_prompt(store: Store, images: ImageSet) -> None:
    judged(store, images, scripted("x", pairs=2, style="outlined"))
    judged(store, images, scripted("x", pairs=2))
    assert sorted(judgments.tournaments(store)["prompt_version"]) == ["1", "1+outlined"]
    (board,) = leaderboard(store)
    assert len([column for column in board.columns if column.metric == "win_rate"]) == 2


def test_40500_judgments_are_scored_again(tmp_path: Path, images: ImageSet) -> None:
    store = make_store(tmp_path / "r.duckdb", images, n_units=2)
    generator = np.random.default_rng(0)
    cells = CELLS[:3]
    n = 13_500
    a = generator.integers(0, 3, n // 2)
    b = (a + generator.integers(1, 3, n // 2)) % 3
    frame = pd.DataFrame(
        {
            "pair_id": np.repeat([f"p{number}" for number in range(n // 2)], 2),
            "order": np.tile([0, 1], n // 2),
            "cell_a": [cells[i] for pair in zip(a, b, strict=True) for i in pair],
            "unit_a": 0,
            "grid_a": [f"g{number}" for number in range(n)],
            "cell_b": [cells[i] for pair in zip(b, a, strict=True) for i in pair],
            "unit_b": 0,
            "grid_b": [f"h{number}" for number in range(n)],
        }
    )
    record = TournamentRecord(
        tournament="t", panel="vllm:x+y+z", judges=("x", "y", "z"), prompt_version="1", settings={"pairs": 50}
    )
    judgments.record_tournament(store, record, pd.DataFrame(), frame)
    for judge in "xyz":
        answers = generator.integers(0, 2, n)
        judgments.record_replies(
            store,
            [
                ReplyRecord(judge=judge, prompt_version="1", grid_a=f"g{i}", grid_b=f"h{i}", attempt=1,
                            answer="AB"[answers[i]], raw="{}")
                for i in range(n)
            ],
        )  # fmt: skip
    judging.rescore(store)
    assert judgments.win_rates(store)["n"].sum() == 2 * n


def test_the_verb_counts_judges_and_scores_again(tmp_path: Path, photo_folder: Path) -> None:
    suite = tmp_path / "own.toml"
    suite.write_text(
        f'name = "own"\n[seeds]\ntokens = [1, 2]\n[data]\ndataset = "folder:{photo_folder}"\nevaluation = 40\n'
        '[[targets]]\nbackbone = "tiny_vit"\n[[methods]]\nname = "identity"\n[[methods]]\nname = "random_split"\n'
    )
    loaded = judging.evaluation_images(load_suite(str(suite)))
    store = make_store(tmp_path / "r.duckdb", loaded)
    common = ["judge", "--suite", str(suite), "--store", str(store.path), "--json"]
    panel = ["--panel", "proxy", "--judge", "colour_texture", "--pairs", "5"]
    planned = json.loads(CliRunner().invoke(app, [*common, *panel, "--dry-run"]).stdout)
    assert planned[0]["n_pairs"] == 10 and planned[0]["left"] == planned[0]["calls"] > 20
    assert store.query("SELECT * FROM tournaments").empty
    done = json.loads(CliRunner().invoke(app, [*common, *panel]).stdout)
    assert done["contests"][0]["asked"] == planned[0]["calls"] and done["boards"][0]["rows"]
    again = json.loads(CliRunner().invoke(app, [*common, *panel]).stdout)
    assert again["contests"][0] == {**done["contests"][0], "asked": 0, "kept": planned[0]["calls"]}
    (health,) = done["health"]
    assert health["first_invalid"] == health["retried"] == 0 and health["judge"].startswith("proxy/colour_texture")
    assert json.loads(CliRunner().invoke(app, [*common, "--rescore"]).stdout)["rescored"]
    printed = CliRunner().invoke(app, ["judge", "--rescore", "--store", str(store.path)]).stdout
    assert "first_invalid" in printed and "1 tournaments scored again." in printed


def test_proxy_embeds_every_image_once(store: Store, images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    import judges.panels.proxy as proxy

    seen: list[int] = []

    def embed(pictures: Sequence[Image.Image]) -> np.ndarray:
        seen.append(len(pictures))
        return np.stack([np.asarray(picture.resize((4, 4)), dtype=float).ravel() for picture in pictures])

    encoder = proxy.Encoder("counted", 1, lambda: embed)
    monkeypatch.setattr(proxy, "ENCODERS", (encoder,))
    judged(store, images, Judging(panel="proxy", judges=({"name": "counted"},), pairs=10))
    assert sum(seen) <= len(images)
    assert ProxyJudge(encoder).id.startswith("proxy/counted#")
