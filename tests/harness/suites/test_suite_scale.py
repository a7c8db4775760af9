"""``--scale tiny`` end to end on a network of three layers, and the verbs that must know of it afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import Field
from typer.testing import CliRunner

from harness.cli import app
from harness.errors import UserError
from harness.suites import MethodEntry, load_suite, parse_suite
from harness.suites.tiny import TOKENS, scaled
from methods.base import MethodConfig

pytestmark = pytest.mark.run

SUITE = """
name = "mine"
[seeds]
tokens = [1, 2]
[probing]
tokens_per_image = 500
[[targets]]
backbone = "tiny_vit"
[[methods]]
name = "identity"
[[methods]]
name = "elude"
config = { top_k = 100000, min_cluster_size = 1000 }
[[methods]]
name = "elude"
label = "smaller"
config = { top_k = 100000, min_cluster_size = 900 }
"""


def call(*words: str) -> str:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, f"{words}:\n{done.output}\n{done.exception!r}"
    return done.output


def test_a_scaled_run_is_read_and_judged_at_its_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_STORE", str(tmp_path / "r.duckdb"))
    (tmp_path / "mine.toml").write_text(SUITE)
    name = str(tmp_path / "mine.toml")
    common = ("--suite", name, "--scale", "tiny")
    ran = json.loads(call("run", *common, "--device", "cpu", "--json"))
    # Settings that differ in the suite differ at the scale: three rows, two token seeds.
    assert (ran["finished"], ran["failed"], ran["left_out"]) == (6, 0, [])
    assert {row["n_finished"] for board in ran["boards"] for row in board["rows"]} == {2}
    assert json.loads(call("run", *common, "--device", "cpu", "--json"))["kept"] == 6
    # `judge` finds these cells with the scale, and not without it.
    asked = ("--set", "judging.pairs=1", "--set", "judging.min_images=1", "--set", "judging.controls=0")
    rows = json.loads(call("judge", *common, *asked, "--dry-run", "--json"))
    assert {row["n_methods"] for row in rows} == {3}
    # Three pairs of methods, one pair of units, two token seeds.
    assert {row["n_pairs"] for row in rows} == {3 * 1 * 2}
    without = CliRunner().invoke(app, ["judge", "--suite", name, "--dry-run"])
    assert isinstance(without.exception, UserError) and "--scale" in str(without.exception)
    wrong = CliRunner().invoke(app, ["judge", *common, "--set", "judging.pair=1", "--dry-run"])
    assert isinstance(wrong.exception, UserError) and "Did you mean pairs" in str(wrong.exception)
    found = json.loads(call("doctor", *common, "--json"))
    assert found["estimate"]["cells"] == 6 and all(need["ok"] for need in found["needs"])


def test_what_shrinks_stays_in_order_and_apart() -> None:
    for name in ("paper", "table7", "demo"):
        suite = load_suite(name)
        small = scaled(suite, "tiny").suite
        pairs: dict[str, dict[int, int]] = {}
        for leaf, tiny in zip(suite.leaves, small.leaves, strict=True):
            for target, stands in zip(leaf.targets, tiny.targets, strict=True):
                for entry, own in zip(leaf.methods_of(target), tiny.methods_of(stands), strict=True):
                    for key in ("top_k", "min_cluster_size", "min_samples"):
                        if entry.config.get(key) is not None:
                            before = pairs.setdefault(key, {}).setdefault(entry.config[key], own.config[key])
                            assert before == own.config[key]
        for key, values in pairs.items():
            ordered = [values[value] for value in sorted(values)]
            assert ordered == sorted(set(ordered)), (name, key, values)
            assert max(ordered) <= TOKENS


def test_a_plugin_that_names_its_settings_likewise_is_scaled_or_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from methods import METHODS

    class Config(MethodConfig):
        epochs: int = 40
        batch_size: str = Field("large")
        expansion_factor: float | None = None
        top_k: list[int] = Field(default_factory=lambda: [1, 2])

    method = METHODS.get("random_split")
    monkeypatch.setattr(method, "Config", Config)
    suite = parse_suite(
        {"name": "x", "targets": [{"backbone": "tiny_vit"}], "methods": [{"name": "random_split", "config": {}}]}
    )
    elude = {"name": "elude", "config": {"top_k": 90, "min_cluster_size": 3}}
    suite = suite.model_copy(update={"methods": (*suite.methods, MethodEntry.model_validate(elude))})
    [leaf] = scaled(suite, "tiny").suite.leaves
    assert leaf.methods_of(leaf.targets[0])[0].config == {"epochs": 2}


def test_planted_layers_have_no_stand_ins() -> None:
    with pytest.raises(UserError, match=r"planted measures planted layers, such as planted:.*without --scale"):
        scaled(load_suite("planted"), "tiny")
