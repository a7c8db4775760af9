"""Command lines with mistakes in them: one sentence, exit code 2, and nothing that was there is lost."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from harness import cli
from harness.commands.output import print_json
from results import CellRecord, ScoreRecord, open_store

pytestmark = pytest.mark.run


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two methods on one layer."""
    opened = open_store(tmp_path_factory.mktemp("recorded") / "r.duckdb", read_only=False)
    for method, value in (("elude", 0.6), ("topk_sae", 0.5)):
        for seed in (1, 2):
            cell = CellRecord(
                cell_id=f"{method}{seed}", status="finished", backbone="net", site="layer", method=method, suite="mine",
                label=method, config_id=method, token_seed=seed, init_seed=0,
            )  # fmt: skip
            opened.record(cell, [ScoreRecord(metric="ms_score", value=value), ScoreRecord(metric="r2", value=value)])
    return opened.path


@pytest.fixture
def store(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the store in the folder that the commands are given in."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copy(recorded, tmp_path / "r.duckdb"))


def refusal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    """Return the error stream without line ends; the exit code is 2."""
    monkeypatch.setattr(sys, "argv", ["harness", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--evaluation", "inf"], "less than or equal to"),
        (["run", "--backbone", "timm:"], "'timm:' is not a backbone: the prefixes are timm, hf, torchhub"),
        (["run", "--backbone", "hf:"], "'hf:' is not a backbone"),
        (["run", "--backbone", "tim:resnet18"], "'tim:resnet18' is not a backbone"),
        (["doctor", "--suite", "demo", "--dataset", "foto"], "There is no dataset 'foto'. Did you mean photos?"),
        (["run", "--dataset", "photos:abc"], "photos:abc: give the number of images after the colon"),
        (["run", "--set", "evaluation.metrics=[]"], "evaluation.metrics = []"),
        (["compare", "elude", "topk_sae", "--store", "r.duckdb", "--seed", "-1"], "Invalid value for '--seed'"),
        (["compare", "elude", "topk_sae", "--store", "r.duckdb", "--table", "3"], "--against published"),
        (["compare", "--against", "published", "--store", "r.duckdb", "--site", "layer"], "two rows"),
        (["compare", "elude", "topk_sae", "--store", "r.duckdb", "--backbone", "nte"], "Did you mean net?"),
        (["leaderboard", "--store", "r.duckdb", "--suite", "mne"], "no cell in this store has it. Did you mean mine?"),
        (["leaderboard", "--store", "r.duckdb", "--metric", "r2"], "--metric chooses columns of `--by`"),
        (["leaderboard", "--store", "r.duckdb", "--by", "method", "--metric", "r3"], "has the metric 'r3'"),
        (["efficiency", "--store", "r.duckdb", "--backbone", "x"], "--backbone x: no cell in this store has it"),
        (["stability", "--store", "r.duckdb", "--suite", "x"], "--suite x: no cell in this store has it"),
        (["properties", "--store", "r.duckdb", "--site", "x"], "--site x: no cell in this store has it"),
        (["export", "x.html", "--store", "r.duckdb", "--y", "ms"], "No board here has the metric 'ms'"),
        (["export", "x.csv", "--store", "r.duckdb", "--y", "r2"], "only an HTML page"),
        (["export", "x.csv", "--store", "r.duckdb", "--what", "cells", "--metric", "r2"], "--what scores"),
        (["export", "x.csv", "--store", "r.duckdb", "--what", "scores", "--metric", "r3"], "nothing to export"),
        (["judge", "--store", "r.duckdb", "--rescore", "--dry-run"], "give one of the two"),
        (["sweep", "--backbone", "hf:"], "'hf:' is not a backbone"),
        (["list", "methods", "--backbone", "net"], "--backbone belongs to `harness list sites`"),
        (["new", "method", "elude.py"], "There is a method 'elude' already"),
    ],
)  # fmt: skip
def test_a_mistake_is_a_sentence(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    before = store.read_bytes()
    said = refusal(capsys, monkeypatch, *words)
    assert message in said and "Traceback" not in said
    assert store.read_bytes() == before
    assert {path.name for path in store.parent.iterdir()} <= {"r.duckdb", "r.duckdb.lock"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--pairs", "0"], "greater than or equal to 1"),
        (["--style", "wavy"], "judging.style = 'wavy': it should be 'plain' or 'outlined'."),
    ],
)
def test_settings_of_judges_are_checked_like_those_of_a_suite(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    # A cell of the demo, as far as the choice of cells looks.
    monkeypatch.setattr("harness.judging.cells_in_store", lambda *_: ["elude1"])
    assert message in refusal(capsys, monkeypatch, "judge", "--store", "r.duckdb", *words)


@pytest.mark.parametrize("url", ["http://[bad/v1", "http://localhost:99999/v1", "ftp://host/v1", "host:8000"])
def test_the_address_of_a_judge_is_checked_before_anybody_is_asked(url: str) -> None:
    from judges.panel import Wanted, make_panel
    from methods.errors import UserError

    with pytest.raises(UserError, match="The server of 'm' has no valid address"):
        make_panel("openai", Wanted("net", ({"name": "m", "base_url": url},)))
    make_panel("openai", Wanted("net", ({"name": "m", "base_url": "http://localhost:8000/v1"},)))


@pytest.mark.parametrize("words", [["judge"], ["judge", "--rescore"], ["stability"], ["leaderboard"]])
def test_no_store_is_made_by_asking_for_one(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    assert "There is no results store at" in refusal(capsys, monkeypatch, *words, "--store", "typo.duckdb")
    assert not list(store.parent.glob("typo*"))


@pytest.mark.parametrize(
    "words", [["export", "r.duckdb", "--format", "csv"], ["compare", "elude", "topk_sae", "--output", "r.duckdb"]]
)
def test_a_store_is_never_written_over(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    before = store.read_bytes()
    said = refusal(capsys, monkeypatch, *words, "--store", "r.duckdb")
    assert "r.duckdb is a results store, which would be overwritten" in said
    assert store.read_bytes() == before


def test_a_name_between_colons_is_no_picture(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from io import StringIO

    from rich.console import Console

    from harness.progress import Terminal

    assert ":heart:" in refusal(capsys, monkeypatch, "run", "--suite", ":heart:")
    written = StringIO()
    shown = Terminal(Console(file=written, force_terminal=True, width=80))
    shown.start(1, 0)
    shown.progress(0, 1, "step of :heart: [x]")
    shown.say("a :heart: [y]")
    shown.cell("b :heart:", "c :heart:")
    assert shown.bars is not None
    shown.bars.refresh()
    shown.stop()
    text = written.getvalue()
    assert text.count(":heart:") >= 4 and "[x]" in text and "[y]" in text


def test_json_holds_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": float("nan"), "b": [1.5, float("inf"), {"c": (float("-inf"), 2)}], "d": Path("x")})
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {
        "a": None, "b": [1.5, None, {"c": [None, 2]}], "d": "x",
    }  # fmt: skip


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    from harness.errors import UserError
    from harness.suites import load_suite

    file = tmp_path / "mine.toml"
    file.write_bytes(b'\xef\xbb\xbfname = "mine"\r\nextends = "demo"\r\n')
    assert load_suite(str(file)).name == "mine"
    file.write_bytes(b'\xef\xbb\xbfname = "mine"\r\nextends = "demo"\r\n[seeds]\r\ntokns = [1]\r\n')
    with pytest.raises(UserError, match=r"mine\.toml, line 4: There is no setting 'seeds\.tokns'"):
        load_suite(str(file))


def test_a_wrong_entry_of_a_list_is_one_mistake() -> None:
    from harness.errors import UserError
    from harness.suites import load_suite, with_overrides

    with pytest.raises(UserError) as refused:
        with_overrides(load_suite("demo"), token_seeds=(-1,))
    assert str(refused.value) == "command line: seeds.tokens.0 = -1: it must be at least 0."


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(13, "Permission denied", "/of/others/r.duckdb"), "'/of/others/r.duckdb' cannot be used (Perm"),
        (OSError(28, "No space left on device"), "No space left on device: free some disk space"),
    ],
)
def test_what_the_system_refuses_is_a_sentence(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: OSError, message: str
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("results.store.Store.query", refused)
    assert message in refusal(capsys, monkeypatch, "leaderboard", "--store", "r.duckdb")


def test_a_suite_in_a_closed_folder_is_not_called_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.errors import UserError
    from harness.suites import load_suite

    def refused(self: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_file", refused)
    with pytest.raises(UserError, match=r"The suite file 'of/others\.toml' cannot be read \(Permission denied\)"):
        load_suite("of/others.toml")


def test_the_room_of_a_cache_that_another_run_is_changing_is_counted(tmp_path: Path) -> None:
    from threading import Event, Thread

    from harness.doctor.environment import used_bytes

    (tmp_path / "kept").write_bytes(bytes(10))
    assert used_bytes(tmp_path) == 10 and used_bytes(tmp_path / "absent") == 0
    over = Event()

    def churn() -> None:
        while not over.is_set():
            for number in range(20):
                (tmp_path / f"of{number}").mkdir()
                (tmp_path / f"of{number}" / "x").write_bytes(b"")
            for number in range(20):
                (tmp_path / f"of{number}" / "x").unlink()
                (tmp_path / f"of{number}").rmdir()

    thread = Thread(target=churn)
    thread.start()
    try:
        assert {used_bytes(tmp_path) for _ in range(200)} == {10}
    finally:
        over.set()
        thread.join()


def test_executors_are_listed() -> None:
    from harness.listing import listing

    rows = {row["name"]: row["what"] for row in listing("executors")}
    assert {"local", "ray"} <= set(rows) and all(rows.values())


@pytest.mark.parametrize("text", ["extra = 5", "[extra]\na = 1"])
def test_where_sections_of_plugins_are_kept_is_no_setting(tmp_path: Path, text: str) -> None:
    from harness.errors import UserError
    from harness.suites import load_suite

    file = tmp_path / "mine.toml"
    file.write_text(f'name = "mine"\nextends = "demo"\n{text}\n')
    with pytest.raises(UserError, match=r"mine\.toml, line 3: There is no setting 'extra'\."):
        load_suite(str(file))


def test_an_empty_list_is_told_how_much_it_needs() -> None:
    from harness.errors import UserError
    from harness.suites import load_suite, with_settings

    with pytest.raises(UserError, match=r"seeds\.tokens = \[\]: it needs at least 1 entry\."):
        with_settings(load_suite("demo"), ["seeds.tokens=[]"])
    with pytest.raises(UserError, match=r"stability\.init = \[1\]: it needs at least 2 entries\."):
        with_settings(load_suite("demo"), ["stability.init=[1]"])


def test_a_terminal_without_arrows_shows_question_marks_and_json_escapes(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(store, read_only=False).relabel({f"elude{seed}": "größer → kleiner" for seed in (1, 2)})

    def printed(*words: str) -> str:
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="latin-1"))
        monkeypatch.setattr(sys, "argv", ["harness", "leaderboard", "--store", str(store), *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code in (0, None)
        sys.stdout.flush()
        return written.getvalue().decode("latin-1")

    assert "größer ? kleiner" in printed()
    labels = {row["label"] for board in json.loads(printed("--json")) for row in board["rows"]}
    assert labels == {"größer → kleiner", "topk_sae"}


def test_settings_that_do_not_go_together_are_a_plain_sentence() -> None:
    import methods

    with pytest.raises(methods.UserError, match=r"^elude: min_cluster_size = 1000 is larger than top_k = 9"):
        methods.create("elude", top_k=9)


def test_a_line_of_a_log_stays_one_line() -> None:
    from rich.console import Console

    from harness.progress import Terminal

    written = io.StringIO()
    shown = Terminal(Console(file=written, width=80))
    outcome = ", ".join(f"metric_{number} 0.{number:04d}" for number in range(20))
    shown.say(outcome)
    shown.cell("a method (token seed 1, init seed 42)", outcome)
    assert written.getvalue().splitlines() == [outcome, f"  a method (token seed 1, init seed 42): {outcome}"]


@pytest.mark.parametrize(
    "words",
    [
        ("{}",), ("list", "{}"), ("list", "--{}"), ("leaderboard", "--store", "{}"), ("run", "--suite", "{}"),
        ("run", "--set", "{}=1"), ("run", "--set", "data.dataset={}"), ("run", "--dataset", "folder:{}"),
        ("run", "--backbone", "timm:{}"), ("run", "--plugin", "{}.py"), ("run", "--checkpoint", "{}"),
        ("run", "--device", "cuda:{}"), ("run", "--executor", "{}"), ("check", "{}"), ("check", "pca", "--kind", "{}"),
        ("compare", "{}", "topk_sae", "--store", "r.duckdb"), ("export", "{}", "--store", "r.duckdb"),
        ("export", "b.csv", "--store", "r.duckdb", "--metric", "{}"), ("validity", "--seed", "{}"),
        ("new", "{}", "x.py"), ("new", "method", "{}"), ("merge", "{}", "r.duckdb", "{}"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "value", ["x" * 100_000, "9" * 5000, "a\u202eb\x1b[31m" * 2000], ids=["long", "number", "control"]
)
def test_long_values_do_not_fill_the_terminal(store: Path, capsys, monkeypatch, words, value) -> None:
    text = refusal(capsys, monkeypatch, *(word.format(value) for word in words))
    assert len(text) < 1200  # with the frame and the usage of an error of typer
    assert "\u202e" not in text and "\x1b[31m" not in text


@pytest.mark.parametrize(
    "words", [("export", "{}", "--format", "csv"), ("compare", "elude", "topk_sae", "--output", "{}")]
)
@pytest.mark.parametrize("path", ["", ".", "/", "folder", "pipe", "link"])
def test_an_export_replaces_files_only(store: Path, capsys, monkeypatch, words, path) -> None:
    os.mkfifo(store.parent / "pipe")
    (store.parent / "folder").mkdir()
    (store.parent / "link").symlink_to("pipe")
    text = refusal(capsys, monkeypatch, *(word.format(path) for word in words), "--store", "r.duckdb")
    assert "give the path of a file" in text
    assert (store.parent / "pipe").is_fifo() and (store.parent / "link").is_symlink()
