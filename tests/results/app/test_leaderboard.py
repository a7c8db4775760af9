"""The leaderboard under Streamlit's test runner: sections, ranks, marks, order, columns and the weighted score."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

pytest.importorskip("streamlit")

import flagged_store
from app_pages import board_rows, board_tables, opened, require_sound, show, store_in, texts
from app_store import DROP, SCRIPT
from flagged_store import record
from streamlit.testing.v1 import AppTest

from results import Store, open_store

pytestmark = pytest.mark.run

FLAGGED = {"copies": "collapsed", "broken net": "below floor", "guesses": "at chance", "single": "one seed"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return store_in(tmp_path_factory.mktemp("app"))


@pytest.fixture
def here(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    return show(store, monkeypatch)


@pytest.fixture(scope="module")
def flagged(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return flagged_store.make_store(tmp_path_factory.mktemp("flagged") / "results.duckdb")


def titles(test: AppTest, table: int = 0) -> list[str]:
    return [header["title"] for header in board_tables(test)[table]["headers"]]


def test_five_lead_columns_with_one_number_per_cell(here: Store) -> None:
    test = opened("leaderboard")
    require_sound(test)
    assert titles(test) == ["MS score", "R2", "Win rate", "Stability", "Fit", "Seeds"]
    elude = board_rows(board_tables(test)[0])["ELUDe"]
    assert {name: cell["text"] for name, cell in elude["cells"].items()} == {
        "MS score": "60.5",
        "R2": "100",
        "Win rate": "75.0",
        "Stability": "–",
        "Fit": "1.00",
        "Seeds": "2",
    }
    score = elude["cells"]["MS score"]
    assert score["is_best"] and "60.5 %" in score["help"] and "95 % interval" in score["help"]
    low, mean, high = score["bar"]
    assert 0 <= low < mean < high <= 1
    # The interval is text, too.
    assert " to " in score["spoken"]
    # A pooled value has an interval of its own: that for new units.
    assert elude["cells"]["Win rate"]["spoken"] == "(55.0 to 95.0)"


def test_a_proxy_panel_wears_its_badge_and_is_named_where_there_is_none(here: Store) -> None:
    test = opened("leaderboard", by="win_rate")
    require_sound(test)
    (header,) = (header for header in board_tables(test)[0]["headers"] if header["title"] == "Win rate")
    assert header["badge"]["name"] == "proxy panel at chance"
    assert "alpha 0.30 for 4 pairs" in header["badge"]["sentence"]
    assert "not language models" in header["badge"]["sentence"]
    assert "By proxy win rate, nothing is ranked: the judges" in texts(test)
    measurements = opened("method", cell="topk_sae-42").dataframe[0].value
    assert "proxy win rate ↑" in measurements["metric"].tolist()


def test_the_legend_explains_the_signs_of_the_table_and_no_others(here: Store) -> None:
    (table, weighted) = board_tables(opened("leaderboard"))
    assert [entry["kind"] for entry in table["legend"]] == ["best", "tied", "bar", "given", "better"]
    assert weighted["legend"] == []
    given = {name for name, row in board_rows(table).items() if row["cells"]["R2"]["is_given"]}
    assert given == {"ELUDe"}


def test_failed_rows_notes_and_downloads_are_below_the_table(here: Store) -> None:
    test = opened("leaderboard")
    written = texts(test)
    broken = board_rows(board_tables(test)[0])["broken SAE"]
    assert broken["section"] == "Failed" and {c["text"] for n, c in broken["cells"].items() if n != "Seeds"} == {
        "failed"
    }
    assert f"broken SAE: ValueError: {SCRIPT}" in written
    assert "win\\_rate is judged by a proxy panel" in written and "panel agreement 0\\.30" in written
    assert len(test.get("download_button")) == 4


def test_texts_of_the_store_are_data_of_the_table(here: Store) -> None:
    test = opened("leaderboard")
    row = board_rows(board_tables(test)[0])[DROP]
    assert row["link"] in ("method?cell=mine-42", "method?cell=mine-123") and row["rank"] == "3"
    # The component's code is the same for every store.
    assert all(DROP not in element.proto.js_content for element in test.get("bidi_component"))


def test_rows_that_cannot_be_told_apart_share_a_range_of_ranks(flagged: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    show(flagged, monkeypatch)
    test = opened("leaderboard")
    require_sound(test)
    rows = board_rows(board_tables(test)[0])
    assert {name: row["rank"] for name, row in rows.items() if row["section"] == ""} == {
        "good": "1–2",
        "exact": "1–3",
        "fair": "2–4",
        "third": "2–4",
    }
    tied = [name for name, row in rows.items() if row["cells"]["MS score"]["is_tied"]]
    assert tied == ["good", "exact"] and rows["good"]["cells"]["MS score"]["is_best"]
    written = texts(test)
    assert "**good** (" in written and "cannot be told apart" in written and "The best control has" in written


def test_flagged_virtual_and_control_rows_stand_apart_in_every_order(
    flagged: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(flagged, monkeypatch)
    for address in ({}, {"order": "worst", "by": "ms_score"}, {"by": "r2"}):
        test = opened("leaderboard", **address)
        require_sound(test)
        (table, _) = board_tables(test)
        assert [section["heading"].split(":")[0] for section in table["sections"]] == [
            "",
            "Flagged",
            "Virtual",
            "Controls",
        ]
        rows = board_rows(table)
        assert {name for name, row in rows.items() if row["section"] == "Flagged"} == set(FLAGGED)
        for name, flag in FLAGGED.items():
            (badge,) = rows[name]["badges"]
            assert badge["name"] == flag and badge["sentence"]
        assert {name for name, row in rows.items() if row["section"] == "Controls"} == {"backbone only", "random atoms"}
        # No mark and no rank but among the methods without a flag; the virtual row has one of its own.
        apart = [row for row in rows.values() if row["section"] in ("Flagged", "Controls")]
        assert all(row["rank"] == "–" for row in apart)
        assert not any(cell["is_best"] or cell["is_tied"] for row in apart for cell in row["cells"].values())
    # Lossless: R2 follows from it.
    assert rows["exact"]["rank"] == "–" and "losslessness" in rows["exact"]["rank_help"]


def test_the_address_holds_order_columns_and_weights(here: Store) -> None:
    test = opened("leaderboard", by="accuracy", order="worst", more="faithfulness,nothing", weights="0.0,1.0,0.0")
    require_sound(test)
    table, weighted = board_tables(test)
    assert table["sorted_by"] == "accuracy" and table["order"] == "ascending"
    assert list(board_rows(table))[:3] == [DROP, "ELUDe", "TopK SAE"]
    assert titles(test)[:3] == ["MS score", "R2", "Accuracy"]
    assert board_rows(weighted)["ELUDe"]["cells"]["Score"]["text"] == "100"
    # What nobody knows is the default.
    test = opened("leaderboard", by=SCRIPT, order="?", more=SCRIPT, weights="1,nan,7")
    require_sound(test)
    assert board_tables(test)[0]["sorted_by"] == "ms_score" and titles(test)[1] == "R2"
    assert board_rows(board_tables(test)[1])["ELUDe"]["cells"]["Score"]["text"] == "86.8"


def test_groups_of_columns_are_unfolded_behind_their_lead_column(here: Store) -> None:
    test = opened("leaderboard")
    (more,) = (element for element in test.button_group if element.label.startswith("More columns"))
    more.set_value(["cost"]).run()
    require_sound(test)
    assert titles(test) == ["MS score", "R2", "Win rate", "Stability", "Fit", "Expansion", "Latency", "Seeds"]
    assert test.query_params["more"] == "cost"


def test_the_weighted_score_follows_presets_and_sliders(here: Store) -> None:
    test = opened("leaderboard")

    def scores() -> dict[str, str]:
        rows = board_rows(board_tables(test)[1])
        return {name: row["cells"]["Score"]["text"] for name, row in rows.items()}

    # Balanced: MS score 0.605, R2 1 and a fit of 1 s, which counts as 1.
    assert scores()["ELUDe"] == f"{100 * (0.605 + 1 + 1) / 3:.1f}"
    assert "With these weights **ELUDe is first in" in texts(test) and "draws of all means" in texts(test)
    (preset,) = (element for element in test.button_group if element.label == "Weights")
    preset.set_value("faithful").run()
    require_sound(test)
    assert test.query_params["weights"] == "0.2,1.0,0.2"
    assert scores()["ELUDe"] == f"{100 * (0.2 * 0.605 + 1 + 0.2) / 1.4:.1f}"
    assert [slider.value for slider in test.slider] == [0.2, 1.0, 0.2]
    for slider in test.slider:
        slider.set_value(0.0)
    test.run()
    require_sound(test)
    assert "Give at least one axis a weight" in texts(test)


def test_the_weighted_score_ranks_candidates_and_names_controls_above_them(
    flagged: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(flagged, monkeypatch)
    test = opened("leaderboard", weights="0.0,1.0")
    rows = board_rows(board_tables(test)[1])
    assert {name for name, row in rows.items() if row["rank"] != "–"} == {"good", "fair", "third", "exact"}
    assert {name for name, row in rows.items() if row["cells"]["First in"]["text"] != "–"} == {
        "good",
        "fair",
        "third",
        "exact",
    }
    assert "Without a score, because a metric with a weight is missing: ghost" in texts(test)


def test_the_time_of_the_fit_has_its_range_over_seeds(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "timed.duckdb"
    path.write_bytes(store.path.read_bytes())
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE cells SET fit_seconds = token_seed WHERE method = 'topk_sae'")
    monkeypatch.setenv("HARNESS_STORE", str(path))
    test = opened("leaderboard")
    require_sound(test)
    fit = board_rows(board_tables(test)[0])["TopK SAE"]["cells"]["Fit"]
    # Student's t with one degree of freedom would reach from below 0 to ten minutes.
    assert (fit["text"], fit["spoken"]) == ("82.5", "(42.0 to 123)") and "range over seeds 42 to 123" in fit["help"]


def test_a_board_of_single_seeds_has_no_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path / "r.duckdb", read_only=False)
    record(store, "one", [0.60])
    record(store, "two", [0.50], r2=0.9)
    show(store, monkeypatch)
    test = opened("leaderboard")
    require_sound(test)
    assert {row["rank"] for row in board_rows(board_tables(test)[0]).values()} == {"–"}
    written = texts(test)
    assert "No method without a flag is ranked" in written and "no place is certain" in written
