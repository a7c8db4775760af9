"""Every page of the app on a small store, and on stores that are empty, missing, newer, in use or hostile."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("streamlit")
pytest.importorskip("plotly")

from app_store import DROP, SCRIPT, make_images, make_store
from streamlit.testing.v1 import AppTest

import results.app
from harness import cli
from harness.commands import app as verb
from harness.errors import UserError
from results import RunRecord, Store, open_store
from results.app import queries, queries_judged
from results.app.figures import labels
from results.app.figures.front import front_figure, marker_size
from results.app.figures.labels import label_places
from results.app.pictures import Seen, Tile, find, seen_of, strip
from results.app.screens.history import with_store
from results.app.source import PageStore
from results.app.standings import ErrorKinds, points
from results.app.words import distinct, figure_text, plain
from results.leaderboard import leaderboard
from results.liveness import alive
from results.paper_points import published_points

MAIN = Path(results.app.__file__).with_name("main.py")
PAGES = ("front", "board", "method", "units", "versus", "judged", "history")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("app")
    make_images(folder / "pictures")
    return make_store(folder / "results.duckdb")


@pytest.fixture
def here(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("HARNESS_STORE", str(store.path))
    monkeypatch.setenv("HARNESS_IMAGES", str(store.path.parent / "pictures"))
    monkeypatch.setattr(sys, "argv", ["streamlit"])
    yield store


def opened(page: str, **parameters: str) -> AppTest:
    """The app on one page; a page is reached as in a browser, through the front."""
    test = AppTest.from_file(str(MAIN), default_timeout=30).run()
    if page != "front" or parameters:
        test.switch_page(f"screens/{page}.py")
        for name, value in parameters.items():
            test.query_params[name] = value
        test.run()
    return test


def texts(test: AppTest) -> str:
    """Everything that is written on a page."""
    kinds = ("title", "header", "subheader", "markdown", "caption", "text", "info", "warning", "error", "code")
    written = [str(element.value) for kind in kinds for element in test.get(kind)]
    for frame in [*test.get("dataframe"), *test.get("table")]:
        written.append(frame.value.to_csv())
    return "\n".join(written)


def box(test: AppTest, label: str) -> Any:
    """The select box with this label."""
    return next(element for element in test.selectbox if element.label == label)


def require_sound(test: AppTest) -> None:
    assert [element.message for element in test.exception] == []
    assert [element.value for element in test.error] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_without_an_error(here: Store, page: str) -> None:
    test = opened(page)
    require_sound(test)
    assert len(test.title) == 1


def test_the_front_shows_shares_and_what_is_missing(here: Store) -> None:
    test = opened("front")
    frame = test.dataframe[0].value.set_index("method")
    assert frame.loc["TopK SAE", "on the front"] == "yes"
    assert frame.loc["backbone only", "on the front"] == "no"
    assert frame.loc["TopK SAE", "front share"] > 90
    assert frame.loc[DROP, "front share"] < 5
    assert "all its cells failed" in texts(test)


def test_other_axes_and_a_metric_without_a_direction(here: Store) -> None:
    test = opened("front")
    box(test, "Horizontal axis").set_value("latency_ms").run()
    require_sound(test)
    assert "latency (ms)" in test.dataframe[0].value.columns
    box(test, "Horizontal axis").set_value("expansion_factor").run()
    require_sound(test)
    assert "There is no front" in texts(test)


def test_published_figures_are_off_until_they_are_asked_for(here: Store) -> None:
    test = opened("front")
    assert "were not measured here" not in texts(test)
    before = test.dataframe[0].value
    test.toggle[0].set_value(True).run()
    require_sound(test)
    assert "were not measured here" in texts(test)
    # They are in the figure alone: no row, no share and no line comes from them.
    assert test.dataframe[0].value.equals(before)


def test_published_marks_are_hollow_and_take_no_part_in_the_line(here: Store) -> None:
    board = next(board for board in leaderboard(here) if board.backbone == "vit")
    x, y = (next(c for c in board.columns if c.metric == metric) for metric in ("accuracy", "ms_score"))
    found = points(board.rows, x, y, ErrorKinds(queries.error_kinds(here)))
    shown = [own for own in published_points() if own.setting.startswith("AugReg")]
    alone, both = front_figure(found, x, y), front_figure(found, x, y, shown)
    assert [list(trace.x) for trace in alone.data] == [list(trace.x) for trace in both.data[: len(alone.data)]]
    added = both.data[len(alone.data) :]
    assert len(added) == len(shown) == 10
    assert all(trace.marker.symbol.endswith("-open") for trace in added)
    assert not any(trace.marker.symbol.endswith("-open") for trace in alone.data if trace.mode != "lines")
    assert both.layout.xaxis.title.text == "accuracy (%), higher is better ↑"
    line = alone.data[0]
    assert line.name == "Pareto line" and list(line.x) == sorted(line.x) and list(line.y) == sorted(line.y)[::-1]


def test_a_mark_grows_with_the_expansion_factor() -> None:
    sizes = [marker_size(factor) for factor in (None, 1.0, 2.0, 8.0, 1e9)]
    assert sizes == sorted(sizes) and sizes[0] == sizes[1] and sizes[-1] == 40


def test_the_leaderboard_marks_best_and_failed_and_says_what_is_not_comparable(here: Store) -> None:
    test = opened("board")
    written = texts(test)
    table = test.get("table")[0].value
    assert "**61" not in written
    elude = table.loc["ELUDe"]
    assert any("**60\\.50" in cell and "★" in cell and "rank 1" in cell.replace("\xa0", " ") for cell in elude)
    assert set(table.loc["broken\xa0SAE"][1:]) == {"failed"}
    assert f"broken SAE: ValueError: {SCRIPT}" in written
    assert "win\\_rate is judged by a proxy panel" in written
    assert len(test.get("download_button")) == 4


def test_the_weighted_aggregate_follows_its_sliders(here: Store) -> None:
    test = opened("board")
    before = test.dataframe[0].value.set_index("method")["aggregate"]
    # ELUDe: MS score 0.605, R2 1, accuracy 0.8 with weights 1, 0.5 and 0.5.
    assert before["ELUDe"] == pytest.approx((0.605 + 0.5 * 1.0 + 0.5 * 0.8) / 2)
    for slider in test.slider:
        slider.set_value(1.0 if slider.key == "weight_accuracy" else 0.0)
    test.run()
    require_sound(test)
    assert test.dataframe[0].value.set_index("method")["aggregate"].to_dict() == pytest.approx(
        {"TopK SAE": 0.85, "ELUDe": 0.8, "backbone only": 0.8, DROP: 0.7, "broken SAE": np.nan}, nan_ok=True
    )
    for slider in test.slider:
        slider.set_value(0.0)
    test.run()
    require_sound(test)
    assert "Give at least one metric a weight" in texts(test)


def test_the_method_page_has_stability_curves_and_provenance(here: Store) -> None:
    test = opened("method", cell="topk_sae-123")
    require_sound(test)
    written = texts(test)
    assert test.title[0].value == "TopK SAE"
    assert "Stability over seeds" in written and "std over pairs" in written
    assert "Training" in written and "MS scores of its units" in written
    verdicts = test.get("table")[0].value
    assert verdicts.loc["unsupervised", "measured"] == "**yes**"
    assert verdicts.loc["unsupervised", "evidence"] == "labels not read during fit \\(2 of 2 cells\\)"
    # It claims not to be lossless, and nothing was measured that could say so.
    assert verdicts.loc["lossless", ["measured", "it claims"]].tolist() == ["**unknown**", "no"]
    assert "topk_sae-42" in written and "evaluation split evaluation-1" in written


def test_a_method_of_which_every_cell_failed_says_why(here: Store) -> None:
    test = opened("method", cell="broken-42")
    assert [element.message for element in test.exception] == []
    assert "failed. ValueError" in test.error[0].value
    assert "All cells of this method failed" in texts(opened("units", cell="broken-42"))


def test_units_are_sorted_with_undefined_scores_last(here: Store) -> None:
    test = opened("units", cell="elude-42")
    require_sound(test)
    assert "12 units, 11 alive, 11 with an MS score, parts of 6 parents" in texts(test)
    frame = queries.unit_page(here, "elude-42", "identity-42", sort="MS score, low first", alive_only=False, limit=50)
    scores = frame["ms_score"].astype(float).to_numpy()
    assert np.isnan(scores[-1]) and not np.isnan(scores[:-1]).any()
    assert list(scores[:-1]) == sorted(scores[:-1])
    for sort in queries.SORTS:
        assert len(queries.unit_page(here, "elude-42", "identity-42", sort=sort, limit=4)) == 4


def test_the_gain_is_over_the_parent_in_the_unmodified_layer(here: Store) -> None:
    frame = queries.unit_page(here, "elude-42", "identity-42", sort="number", alive_only=False, limit=50)
    parents = here.units("identity-42").set_index("unit")["ms_score"]
    for row in frame.to_dict("records"):
        score, parent = (here.units("elude-42")["ms_score"][row["unit"]], parents[row["parent"]])
        if np.isnan(score) or np.isnan(parent):
            assert row["gain"] is None or np.isnan(row["gain"])
        else:
            assert row["gain"] == pytest.approx(score - parent)
    assert queries.reference_cell(here, "elude-123") == "identity-123"
    assert queries.reference_cell(here, "identity-other") == "identity-other"


def test_a_unit_stands_beside_its_parent_with_its_siblings(here: Store) -> None:
    test = opened("units", cell="elude-42", unit="5")
    require_sound(test)
    written = texts(test)
    assert "Unit 5" in written and "Parent: original unit 2" in written and "Its 2 sub-units" in written
    assert "1 of 12 maxima at CLS" in written
    assert len(test.get("image")) == 3
    assert "no unit 99" in texts(opened("units", cell="elude-42", unit="99"))
    assert "no unit x" in texts(opened("units", cell="elude-42", unit="x"))


def test_missing_image_files_are_said_to_be(here: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HARNESS_IMAGES", str(tmp_path))
    test = opened("units", cell="elude-42", unit="5")
    require_sound(test)
    assert "image files are not there" in texts(test) and "--images" in texts(test)


def test_compare_has_differences_and_pictures_of_wins_and_losses(here: Store) -> None:
    test = opened("versus", a="elude-42", b="identity-42")
    require_sound(test)
    frame = test.dataframe[0].value.set_index("metric")
    assert frame.loc["MS score", "A minus B"] == "+20.00"
    assert "Best wins of A" in texts(test)
    judged = opened("versus", a="elude-42", b="topk_sae-42")
    require_sound(judged)
    assert "Clearest wins of A before the judges" in texts(judged)
    assert "not comparable" in texts(opened("versus", a="elude-42", b="identity-other"))
    assert "two different methods" in texts(opened("versus", a="elude-42", b="elude-123"))


def test_judges_shows_replies_as_they_are(here: Store) -> None:
    test = opened("judged", tournament="tournament-1", pair="pair/0", order="1")
    require_sound(test)
    shown = [element.value for element in test.get("text")]
    assert f"A: {SCRIPT}" in shown
    assert "Consensus: 0 : 3, ELUDe" in shown
    assert any("Drawn from the unit's top images" in element.value for element in test.caption)
    assert "no such comparison" in texts(opened("judged", pair="nothing"))


def test_votes_are_counted_as_the_statistics_count_them(here: Store) -> None:
    frame = queries_judged.presentations(here, "tournament-1", limit=50).set_index(["pair_id", "order"])
    assert len(frame) == 8
    assert frame.loc[("pair/0", 0), ["n_a", "n_b", "consensus"]].tolist() == [3, 0, "A"]
    assert frame.loc[("pair/1", 1), ["n_a", "n_b", "consensus"]].tolist() == [1, 2, "B"]
    assert frame.loc[("pair/3", 0), ["n_a", "n_b", "n_valid"]].tolist() == [1, 1, 2]
    for shown, count in (("judges disagree", 6), ("judges agree", 2), ("ties and undecided", 2)):
        assert len(queries_judged.presentations(here, "tournament-1", shown=shown)) == count
    assert len(queries_judged.presentations(here, "tournament-1", shown="invalid or missing replies")) == 2
    assert queries_judged.presentations(here, "tournament-1", cells_a=["mine-42"]).empty


def test_runs_shows_the_command_and_why_cells_failed(here: Store) -> None:
    test = opened("history")
    require_sound(test)
    written = texts(test)
    assert "harness run --suite demo" in written and SCRIPT in written and "Traceback" in written


def test_a_run_that_lives_and_one_that_was_killed(here: Store) -> None:
    for run_id in ("living", "killed"):
        here.start_run(RunRecord(run_id=run_id, suite=run_id, n_planned=3))
    with alive(here.path, "living"):
        test = opened("history")
    require_sound(test)
    labels_of = {name: [run.label for run in test.expander if name in run.label] for name in ("living", "killed")}
    assert [label.endswith("running") for label in labels_of["living"]] == [True], labels_of
    assert [label.endswith("died") for label in labels_of["killed"]] == [True], labels_of
    assert any("killed" in warning.value for warning in test.warning)
    require_sound(opened("history"))


def test_a_hostile_name_is_shown_and_harms_nothing(here: Store) -> None:
    test = opened("method", cell="mine-42")
    require_sound(test)
    assert test.title[0].value == plain(DROP)
    # The note is data in Markdown: every mark of it is escaped, and no element takes HTML.
    assert plain(SCRIPT) in test.info[0].value
    assert not any(element.allow_html for element in test.markdown)
    assert len(here.scores()) > 40
    # What streamlit would turn into other signs and pictures, escaped or not.
    assert plain("a -- b") == "a \N{WORD JOINER}\\-\\- b" and plain("a--b") == "a\\-\\-b"
    assert plain(":smile:") == "\\:\N{WORD JOINER}smile\\:" and plain("10:30") == "10\\:30"
    assert figure_text("<b>x</b> & y") == "&lt;b&gt;x&lt;/b&gt; &amp; y"


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_store_has_its_sentence(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = open_store(tmp_path / "empty.duckdb", read_only=False).path
    monkeypatch.setenv("HARNESS_STORE", str(path))
    test = opened(page)
    require_sound(test)
    assert "`harness" in test.info[0].value


def test_a_store_that_cannot_be_read_has_its_sentence(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = tmp_path / "newer.duckdb"
    newer.write_bytes(store.path.read_bytes())
    with duckdb.connect(str(newer)) as connection:
        connection.execute("UPDATE meta SET schema_version = 99")
    other = tmp_path / "text.duckdb"
    other.write_text("no database")
    for path, words in (
        (tmp_path / "none.duckdb", "no results store"),
        (newer, "version 99"),
        (other, "not a results"),
    ):
        monkeypatch.setenv("HARNESS_STORE", str(path))
        for page in PAGES:
            test = opened(page)
            assert [element.message for element in test.exception] == []
            assert words in test.error[0].value.replace("\\", "")


def test_a_store_that_is_being_written_has_its_sentence(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("results.connection.READ_PATIENCE_S", 0.2)
    monkeypatch.setattr("results.connection.reading.__wrapped__.__defaults__", (0.2,))
    busy = tmp_path / "busy.duckdb"
    busy.write_bytes(store.path.read_bytes())
    code = f"import duckdb, sys; c = duckdb.connect({str(busy)!r}); print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        monkeypatch.setenv("HARNESS_STORE", str(busy))
        test = opened("front")
        assert [element.message for element in test.exception] == []
        assert "is writing to" in test.error[0].value
    finally:
        holder.communicate("")
    test.run()
    require_sound(test)


def test_the_app_imports_neither_torch_nor_the_harness() -> None:
    pages = ", ".join(f"results.app.screens.{page}" for page in PAGES)
    code = (
        f"import results.app.main, results.app.downloads, {pages}, sys; "
        "print([name for name in ('torch', 'harness', 'methods', 'judges') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_a_name_that_leads_out_of_the_folder_finds_nothing(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "secret.png").write_bytes(b"x")
    (tmp_path / "images" / "a.png").write_bytes(b"x")
    places = [tmp_path / "images"]
    assert find("a.png", places) == tmp_path / "images" / "a.png"
    for name in ("../secret.png", str(tmp_path / "secret.png"), "a\0.png", "", None, "x" * 5000):
        assert find(name, places) is None


def test_the_place_of_the_maximum_is_outlined_where_the_token_lies(tmp_path: Path) -> None:
    import io

    from PIL import Image

    Image.new("RGB", (64, 64), (0, 0, 0)).save(tmp_path / "black.png")
    # Token 5 of a 4 x 4 layout: row 1, column 1, so between a quarter and a half in both directions.
    made = strip([Tile("black.png", 5)], [tmp_path], Seen(side=4), tile_px=80, columns=1)
    pixels = np.asarray(Image.open(io.BytesIO(made)).convert("RGB")).astype(int)
    rows, columns = np.nonzero((pixels[..., 0] > 150) & (pixels[..., 1] < 100))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == pytest.approx((18, 41, 18, 41), abs=2)
    assert seen_of({"evaluation": {"preprocessing": {"fit": "crop", "size": 28, "resize": 32}}}, 15) == Seen(
        share=0.875, side=4
    )
    assert seen_of(None, 16).side == 5
    assert seen_of({"evaluation": {"preprocessing": {"fit": "squash"}}}, None) == Seen(squash=True)


def test_the_verb_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(verb.importlib.util, "find_spec", lambda name: None)
    found = CliRunner().invoke(cli.app, ["app"])
    assert isinstance(found.exception, UserError)
    assert "pip install 'disentanglement-harness[app]'" in str(found.exception)
    monkeypatch.undo()
    found = CliRunner().invoke(cli.app, ["app", "--images", str(tmp_path / "none")])
    assert isinstance(found.exception, UserError) and "--images" in str(found.exception)


def test_the_verb_refuses_a_port_in_use() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = CliRunner().invoke(cli.app, ["app", "--address", "127.0.0.1", "--port", str(port)])
    assert isinstance(found.exception, UserError) and f"--port {port + 1}" in str(found.exception)


def test_a_choice_is_in_the_address_and_an_address_is_a_choice(here: Store) -> None:
    test = opened("front")
    # The second choice counts as the first does, although the address holds the first.
    for metric in ("latency_ms", "r2", "latency_ms"):
        box(test, "Horizontal axis").set_value(metric).run()
        assert box(test, "Horizontal axis").value == metric
        assert test.query_params["x"] == metric or test.query_params["x"] == [metric]
    # A link to other axes on the same page, and what it does not name stays.
    test.query_params["x"] = "expansion_factor"
    test.run()
    assert (box(test, "Horizontal axis").value, box(test, "Vertical axis").value) == ("expansion_factor", "ms_score")
    # What nobody knows is the default, and no error.
    test.query_params["x"] = SCRIPT
    test.run()
    require_sound(test)
    assert box(test, "Horizontal axis").value == "accuracy"
    # Another page keeps the board, and the method page says that it does not know a cell.
    box(test, "Backbone").set_value("z_cnn").run()
    require_sound(test)
    test.switch_page("screens/board.py").run()
    assert box(test, "Backbone").value == "z_cnn"
    assert "does not have" in texts(opened("method", cell="nobody"))


def test_a_seed_is_chosen_within_its_method(here: Store) -> None:
    test = opened("units", cell="elude-123")
    assert box(test, "Seeds").value == "elude-123"
    box(test, "Seeds").set_value("elude-42").run()
    require_sound(test)
    assert box(test, "Seeds").value == "elude-42"
    box(test, "Seeds").set_value("elude-123").run()
    assert box(test, "Seeds").value == "elude-123"
    test.query_params["cell"] = "topk_sae-123"
    test.run()
    require_sound(test)
    assert box(test, "Seeds").value == "topk_sae-123"


def test_options_that_read_the_same_are_told_apart() -> None:
    assert distinct(["a", "b", "a", "a (2)", "a"]) == ["a", "b", "a (2)", "a (2) (2)", "a (3)"]


def test_names_of_marks_lie_neither_on_each_other_nor_on_marks() -> None:
    generator = np.random.default_rng(0)
    marks = [(5.0, 5.0), (5.0, 5.0), (5.4, 5.1), *map(tuple, generator.uniform(0, 10, (6, 2)))]
    names = [f"method {number}" for number in range(len(marks))]
    places = label_places(names, marks, (0.0, 10.0), (0.0, 10.0))
    assert len({places[0], places[1]}) == 2
    centres = [(labels.WIDTH_PX * x / 10, labels.HEIGHT_PX * y / 10) for x, y in marks]
    boxes = [labels._box(*own) for own in zip(places, names, centres, strict=True)]
    for number, own in enumerate(boxes):
        assert all(labels._shared(own, other) == 0 for other in boxes[:number])
    assert label_places([], [], (0.0, 1.0), (0.0, 1.0)) == []
    assert label_places(["a"], [(1.0, 1.0)], (1.0, 1.0), (1.0, 1.0)) == ["top right"]


def test_the_command_that_goes_on_names_the_store_in_full() -> None:
    path = Path("/somewhere/with space/results.duckdb")
    whole = "harness run --suite demo --store '/somewhere/with space/results.duckdb'"
    assert with_store("harness run --suite demo --store results.duckdb", path) == whole
    assert (
        with_store("harness run --store=results.duckdb", path)
        == "harness run '--store=/somewhere/with space/results.duckdb'"
    )
    for other in ("harness run --suite demo", "harness run --store other.duckdb", "harness run 'open"):
        assert with_store(other, path) == other


def test_a_page_keeps_the_store_open_and_lets_a_waiting_run_write(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "own.duckdb"
    path.write_bytes(store.path.read_bytes())
    opened_store = PageStore(path)
    count = "SELECT count(*) AS n FROM cells"
    before = int(opened_store.query(count)["n"][0])

    def write() -> None:
        with open_store(path, read_only=False).writing() as connection:
            connection.execute("DELETE FROM cells WHERE cell_id = 'mine-42'")

    writer = threading.Thread(target=write)
    writer.start()
    # The run has closed the turnstile and waits for the page; the page must not wait for the run.
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        assert int(opened_store.query(count)["n"][0]) == before
    assert writer.is_alive()
    opened_store.close()
    writer.join(30)
    assert not writer.is_alive()
    assert int(opened_store.query(count)["n"][0]) == before - 1
    opened_store.close()


def test_pages_are_named_in_the_navigation() -> None:
    from results.app.places import _TITLES

    assert tuple(_TITLES) == PAGES
