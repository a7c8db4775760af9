"""`harness.evaluate`: the cells and scores of the command line, for methods, files, fits and objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from command_line import harness as run_command
from evaluations import (
    METHOD,
    METRICS,
    SETTINGS,
    SITE,
    TOPK,
    Evaluate,
    ModuleSAE,
    Rotation,
    collect,
    values,
    weights_file,
)
from torch import Tensor

import methods
from harness.errors import UserError
from methods.pretrained import load
from results import open_store
from results.store.records import DEVICE_UNITS

pytestmark = pytest.mark.run


def command_line(arguments: dict[str, Any], store: Path, *words: str) -> None:
    settings = [*SETTINGS, f"evaluation.metrics=[{', '.join(map(repr, METRICS))}]"]
    run_command(
        *("run", "--suite", "demo", "--backbone", "tiny_vit", "--site", SITE, "--dataset", arguments["dataset"]),
        *("--evaluation", "18", "--token-seed", "42", "--store", str(store)),
        *(word for text in settings for word in ("--set", text)),
        *words,
        cwd=store.parent,
    )


def test_cells_and_scores_are_those_of_the_command_line(
    arguments: dict[str, Any], evaluate: Evaluate, tmp_path: Path, width: int
) -> None:
    file = weights_file(tmp_path, width)
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "r.duckdb"
    command_line(arguments, other, "--method", METHOD, "--dictionary", f"{file}:mine")
    written = open_store(other).scores()
    frame = evaluate([METHOD, f"{file}:mine"])
    assert len(frame["cell_id"].unique()) == 3, "the demo suite has two random dictionaries"
    assert set(frame["cell_id"]) == set(written["cell_id"])
    both = frame.merge(written, on=["cell_id", "metric"], suffixes=("", "_of_cli"))
    assert len(both) == len(frame) >= 3 * len(METRICS)
    both = both[~both["unit"].isin(DEVICE_UNITS)]
    pd.testing.assert_series_equal(both["value"], both["value_of_cli"], check_names=False, check_exact=True)
    assert both["label"].equals(both["label_of_cli"])
    # A later run of the command line keeps the cells.
    before = open_store(tmp_path / "r.duckdb").cells()["started_at"].tolist()
    command_line(arguments, tmp_path / "r.duckdb", "--method", METHOD, "--dictionary", f"{file}:mine")
    assert open_store(tmp_path / "r.duckdb").cells()["started_at"].tolist() == before


def test_a_file_and_its_loaded_form_have_the_same_scores(evaluate: Evaluate, tmp_path: Path, width: int) -> None:
    file = weights_file(tmp_path, width)
    from_file = evaluate(file)
    loaded = evaluate({"loaded": load(file)})
    assert from_file["cell_id"][0] != loaded["cell_id"][0]
    assert values(from_file) == values(loaded)
    assert evaluate({"loaded": load(file)})["cell_id"][0] == loaded["cell_id"][0], "kept, by its content"


def test_a_fit_on_collected_tokens_is_the_fit_of_the_run(
    evaluate: Evaluate, arguments: dict[str, Any], tmp_path: Path
) -> None:
    site, tokens = collect(arguments, tmp_path)
    config = {"expansion_factor": 2, "k": 4, "epochs": 2, "batch_size": 64}
    fit = methods.create("topk_sae", **config).fit(tokens, site, seed=42)
    frame = evaluate({"by hand": fit, "by the run": methods.create("topk_sae", **config)})
    by_hand, by_run = (values(frame[frame["label"] == label]) for label in ("by hand", "by the run"))
    assert by_hand == {name: value for name, value in by_run.items() if not name.startswith("fit_")}
    with pytest.raises(UserError, match="2 rows have the label"):
        evaluate([methods.create("topk_sae", k=2), methods.create("topk_sae", k=3)])


def test_a_fitted_split_keeps_its_claims_and_its_exactness(
    evaluate: Evaluate, arguments: dict[str, Any], tmp_path: Path
) -> None:
    layer = "blocks.1.mlp.fc2"
    site, tokens = collect(arguments, tmp_path, layer)
    config = {"top_k": 60, "min_cluster_size": 6}
    fit = methods.create("elude", **config).fit(tokens, site)
    frame = evaluate({"fit": fit, "run": methods.create("elude", **config)}, site=layer)
    fitted, run = (values(frame[frame["label"] == label]) for label in ("fit", "run"))
    assert fitted == {name: value for name, value in run.items() if not name.startswith("fit_")}
    assert fitted["agreement"] == 1 and fitted["r2"] == pytest.approx(1)
    cell = open_store(tmp_path / "r.duckdb").cells().set_index("label").loc["fit"]
    assert cell["claims"]["family"] == "split" and cell["claims"]["lossless"]
    assert "on tokens that it does not know" in " ".join(cell["notes"])


def test_an_object_is_known_by_its_content(evaluate: Evaluate, width: int) -> None:
    first = evaluate(Rotation(width))
    assert values(first)["r2"] == pytest.approx(1, abs=1e-5) and values(first)["l0"] == width
    assert values(first)["effective_rank"] == pytest.approx(width, rel=1e-4), "atoms are decoded from the codes"
    assert first["label"].unique().tolist() == ["Rotation"]
    assert evaluate({"again": Rotation(width)})["cell_id"][0] == first["cell_id"][0]
    assert evaluate(Rotation(width, seed=1))["cell_id"][0] != first["cell_id"][0]


def test_other_metrics_of_an_object_are_measured_in_another_call(evaluate: Evaluate, width: int) -> None:
    evaluate(Rotation(width))
    later = evaluate(Rotation(width), metrics=["l0", "r2", "max_collinearity"])
    assert "max_collinearity" in set(later["metric"])


def test_a_module_is_measured_in_evaluation_mode_and_left_alone(evaluate: Evaluate, width: int) -> None:
    torch.manual_seed(0)
    module = ModuleSAE(width).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    frame = evaluate(module)
    assert module.training and all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert values(frame)["effective_rank"] > 1
    with torch.no_grad():
        module.decoder.bias.add_(1)
    assert evaluate(module)["cell_id"][0] != frame["cell_id"][0]


def test_several_seeds_are_cells_of_one_row(evaluate: Evaluate) -> None:
    assert set(evaluate("identity", seed=9)["flags"]) == {"one seed"}
    frame = evaluate("identity", seed=[1, 2, 3])
    l0 = frame[frame["metric"] == "l0"]
    assert l0["token_seed"].tolist() == [1, 2, 3] and len(set(l0["cell_id"])) == 3
    assert set(frame["flags"]) == {""}


def test_the_store_is_that_of_the_environment(
    evaluate: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_STORE", str(tmp_path / "named.duckdb"))
    evaluate("identity", store=None, metrics=["l0"])
    assert (tmp_path / "named.duckdb").exists()


class FailsToEncode(Rotation):
    def encode(self, x: Tensor) -> Tensor:
        raise RuntimeError("no luck")


class PairOfCodes(Rotation):
    def encode(self, x: Tensor) -> Any:
        return x, x


class SquaredDecoder(Rotation):
    def decode(self, codes: Tensor) -> Tensor:
        return codes**2


class DependsOnTheBatch(Rotation):
    def encode(self, x: Tensor) -> Tensor:
        return (x - x.mean(0)) @ self.matrix


def test_a_decoder_that_is_not_affine_is_measured_without_atoms(evaluate: Evaluate, width: int) -> None:
    frame = evaluate({"squared": SquaredDecoder(width), "rotation": Rotation(width)}, metrics=["r2", "effective_rank"])
    assert set(frame[frame["label"] == "squared"]["metric"]).isdisjoint({"effective_rank", "effective_rank_share"})
    assert "r2" in set(frame[frame["label"] == "squared"]["metric"])
    assert "effective_rank" in set(frame[frame["label"] == "rotation"]["metric"])


def test_what_cannot_be_measured_is_refused_in_a_sentence(evaluate: Evaluate, width: int, tmp_path: Path) -> None:
    refusals: dict[str, Any] = {
        "'nope' is neither a method nor a file. Did you mean": "nope",
        "there is no file or folder 'nope.safetensors'": Path("nope.safetensors"),
        "an object of the type int cannot be evaluated: it has no encode()": 3,
        "the class Rotation cannot be evaluated": Rotation,
        "nothing to evaluate was given": [],
        "'' is no label": {"": "identity"},
        "FailsToEncode fails on rows (n, 24) of the layer's output: RuntimeError: no luck.": FailsToEncode(width),
        "Give the layer that it was trained on: the output of this one has 24 features.": Rotation(width + 1),
        "PairOfCodes.encode returns a tuple; it must return one tensor of shape (n, n_units)": PairOfCodes(width),
        "change with the batch it is in": DependsOnTheBatch(width),
    }
    for sentence, item in refusals.items():
        with pytest.raises(UserError) as refused:
            evaluate(item)
        assert sentence in str(refused.value)
    assert not [name for name in methods.METHODS.entries if name.startswith("python_object")]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"metrics": "r2"}, "evaluate: metrics = 'r2': give a list of ids"),
        ({"metrics": 3}, "evaluate: metrics = 3: give a list of ids"),
        ({"metrics": []}, "evaluate: metrics = []: give a list of ids"),
        ({"settings": "probing.crops=1"}, "evaluate: settings = 'probing.crops=1': give a list of texts"),
        ({"settings": None}, "evaluate: settings = None: give a list of texts"),
        ({"settings": ["seeds.tokens=[1]"]}, "has no effect: give seed=SEED"),
        ({"settings": ["method.topk_sae.k=3"]}, "has no effect: no row has the name 'topk_sae'"),
        ({"seed": [1, 1]}, "evaluate: seed = [1, 1] contains a seed twice"),
        ({"device": 3}, "--device 3 is not available: use auto"),
        ({"dataset": "/tmp"}, "is a folder: give 'folder:/tmp'"),
        ({"metrics": ["rr2"]}, "There is no metric 'rr2'. Did you mean r2?"),
        ({"seed": "x"}, "evaluate: seed = 'x': give a whole number"),
        ({"seed": []}, "evaluate: seed = []: give a whole number"),
        ({"seed": True}, "evaluate: seed = True: give a whole number"),
        ({"backbone": None}, "evaluate: backbone = None: give the name of a backbone"),
        ({"backbone": "tiny_vti"}, "Did you mean tiny_vit"),
        ({"site": "blocks.99"}, "The backbone has no layer 'blocks.99'"),
        ({"suite": 3}, "evaluate: suite = 3: give the name of a suite"),
        ({"store": 3}, "store = 3: give the path of a DuckDB file"),
        ({"evaluation": float("nan")}, "evaluate: evaluation = nan"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_computed(
    evaluate: Evaluate, tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError) as refused:
        evaluate("identity", **changes)
    assert sentence in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_an_interruption_is_raised_and_finished_cells_are_kept(
    evaluate: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.evaluation import evaluate as module
    from harness.progress import Silent

    class Stops(Silent):
        def cell(self, title: str, outcome: str) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "reporter_of", lambda progress: Stops())
    with pytest.raises(KeyboardInterrupt):
        evaluate(["identity", METHOD])
    monkeypatch.undo()
    assert open_store(tmp_path / "r.duckdb").cells()["status"].tolist() == ["finished"]


def test_one_content_is_one_row(evaluate: Evaluate, width: int) -> None:
    for same in ({"a": Rotation(width), "b": Rotation(width)}, {"a": "identity", "b": methods.create("identity")}):
        with pytest.raises(UserError, match="'a' and 'b' are the same method with the same settings"):
            evaluate(same)


def test_a_class_has_the_settings_that_its_name_has(evaluate: Evaluate) -> None:
    settings = [*SETTINGS, "method.topk_sae.epochs=1", "method.topk_sae.batch_size=64"]
    by_name = evaluate("topk_sae", settings=settings)
    assert evaluate(methods.METHODS.get("topk_sae"), settings=settings)["cell_id"][0] == by_name["cell_id"][0]
    # Of a method that the suite does not list, too.
    assert evaluate("pca", settings=[*SETTINGS, "method.pca.n_components=3"])["n_units"][0] == 3


def test_without_a_site_the_rows_are_those_of_one_layer(
    evaluate: Evaluate, arguments: dict[str, Any], tmp_path: Path
) -> None:
    suite = tmp_path / "two.toml"
    suite.write_text(
        f"""
name = "two"
[data]
dataset = "{arguments["dataset"]}"
evaluation = 18
[[targets]]
backbone = "tiny_vit"
site = "blocks.0.mlp.fc2"
[[targets.methods]]
name = "random_split"
config = {{ parts = 2 }}
[[targets]]
backbone = "tiny_vit"
site = "blocks.1.mlp.fc2"
[[targets.methods]]
name = "random_split"
config = {{ parts = 3 }}
"""
    )
    frame = evaluate({"mine": "random_split"}, suite=suite, site=None, dataset=None, evaluation=None)
    assert set(frame["site"]) == {"blocks.0.mlp.fc2"} and set(frame["label"]) == {"mine"}


def test_nothing_is_written_for_a_refused_call(evaluate: Evaluate, arguments: dict[str, Any], tmp_path: Path) -> None:
    site, tokens = collect(arguments, tmp_path)
    fit = methods.create("topk_sae", **TOPK).fit(tokens, site)
    before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    for changes in ({"device": "cuda:77"}, {"metrics": ["rr2"]}):
        with pytest.raises(UserError):
            evaluate({"a": fit}, **changes)
    with pytest.raises(UserError):
        evaluate({"a": fit, "b": 3})
    assert {path for path in tmp_path.rglob("*") if "cache" not in path.parts} == before
