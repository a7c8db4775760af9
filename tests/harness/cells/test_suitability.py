"""Methods on an output site: those that need a linear layer are refused or left out; the others give right scores."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_runs import suite_of

from harness import backbones, datasets
from harness.doctor.verdict import require
from harness.errors import UserError
from harness.metrics import METRICS
from harness.run import run, run_suite
from methods import METHODS
from results import open_store

pytestmark = pytest.mark.run

SITE = {"targets": [{"backbone": "tiny_vit", "site": "blocks.1"}]}


@pytest.fixture(scope="module")
def store(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run at the output of a block with all metrics that suites without a list have, and with times."""
    path = tmp_path_factory.mktemp("output_site") / "r.duckdb"
    metrics = [name for name in METRICS.names() if METRICS.get(name).default] + ["efficiency_ratio"]
    suite = suite_of(
        photo_folder,
        *("identity", "topk_sae", "random_dictionary", "pca"),
        seeds={"tokens": [1]},
        evaluation={"top_images": 6, "batch_size": 5, "metrics": metrics},
        **SITE,
    )
    summary = run(suite, path)
    assert (summary.finished, summary.failed) == (4, 0), open_store(path).cells()["error_message"].tolist()
    return path


def test_methods_that_need_a_layer_are_refused_before_the_run(photo_folder: Path, tmp_path: Path) -> None:
    suite = suite_of(photo_folder, "identity", "elude", "random_split", "topk_sae", **SITE)
    with pytest.raises(UserError) as refused:
        run(suite, tmp_path / "r.duckdb")
    assert str(refused.value) == (
        "ELUDe, random split need the input or the weights of a linear layer, and 'blocks.1' of tiny ViT is a Block, "
        "of which only the output is decomposed. Choose a linear layer, such as blocks.1.mlp.fc2, blocks.1.mlp.fc1, "
        "blocks.1.attn.proj, or leave them out with --skip-missing or --method identity --method topk_sae."
    )
    assert not (tmp_path / "r.duckdb").exists()


def test_they_are_left_out_on_request(photo_folder: Path, tmp_path: Path) -> None:
    suite = suite_of(photo_folder, "identity", "elude", seeds={"tokens": [1]}, **SITE)
    store = tmp_path / "r.duckdb"
    runnable = require(suite, store, skip=True).suite
    summary = run(runnable, store)
    assert summary.finished == 1 and open_store(store).cells()["method"].tolist() == ["identity"]
    assert (
        "Left out at blocks.1 of tiny ViT, which does not suit them: ELUDe."
        in next((tmp_path / "logs").iterdir()).read_text()
    )


def test_nothing_is_left_of_a_suite_of_such_methods(photo_folder: Path, tmp_path: Path) -> None:
    suite = suite_of(photo_folder, "elude", targets=[{**SITE["targets"][0], "skip_unsuitable": True}])
    with pytest.raises(UserError, match=r"^ELUDe needs the input or the weights of a linear layer"):
        run(suite, tmp_path / "r.duckdb")


def test_a_method_that_the_user_names_is_not_left_out_everywhere(photo_folder: Path, tmp_path: Path) -> None:
    output = {**SITE["targets"][0], "skip_unsuitable": True}
    suite = suite_of(photo_folder, "identity", "elude", seeds={"tokens": [1]}, targets=[output])
    with pytest.raises(UserError, match=r"^'elude' would run nowhere: ELUDe needs the input .* such as blocks\.1\.mlp"):
        run_suite(suite, tmp_path / "r.duckdb", named=["identity", "elude"])
    assert not (tmp_path / "r.duckdb").exists()
    # It is left out of one of two layers only, or nobody has named it.
    quick = {"seeds": {"tokens": [1]}, "evaluation": {"top_images": 6, "metrics": ["l0"]}}
    layer = {"backbone": "tiny_vit", "site": "blocks.1.mlp.fc2"}
    both = suite_of(photo_folder, "identity", "random_split", targets=[output, layer], **quick)
    assert run_suite(both, tmp_path / "r.duckdb", named=["random_split"]).finished == 3
    assert run_suite(suite, tmp_path / "s.duckdb", named=["identity"]).finished == 1


def test_which_methods_say_that_they_need_a_layer() -> None:
    specs = {name: METHODS.get(name).spec for name in METHODS.names()}
    needing = {name for name, spec in specs.items() if spec.reads == "input" or spec.needs_weights}
    assert {"elude", "random_split", "pure", "dpcicnn", "transcoder"} <= needing
    assert not needing & {"identity", "topk_sae", "vanilla_sae", "pca", "random_dictionary", "pretrained_sae"}


def test_the_scores_are_those_of_a_hook(store: Path, photo_folder: Path) -> None:
    """Accuracy, agreement and R2 of a fitted SAE by hand: its reconstruction in place of the block's output."""
    opened = open_store(store)
    cell = opened.cells().set_index("method").loc["topk_sae"]
    assert (cell["site"], cell["d_in"], cell["d_out"]) == ("blocks.1", 24, 24)
    sae = METHODS.get("topk_sae").load(store.parent / cell["artifact"])
    backbone = backbones.load("tiny_vit")
    split = datasets.load(f"folder:{photo_folder}").split(evaluation=18)
    images = torch.stack([backbone.preprocessing.center(split.evaluation.open(i)) for i in range(18)])
    outputs: list[torch.Tensor] = []

    def hook(module: object, inputs: object, output: torch.Tensor) -> torch.Tensor:
        reconstructed = sae.decode(sae.encode(output.flatten(0, 1))).reshape(output.shape)
        outputs.extend([output.clone(), reconstructed.clone()])
        return reconstructed

    with torch.inference_mode():
        clean = backbone.features(images)
        handle = backbone.model.get_submodule("blocks.1").register_forward_hook(hook)
        edited = backbone.features(images)
        handle.remove()
    values = opened.scores().set_index(["method", "metric"])["value"]["topk_sae"]
    a, a_hat = (output.flatten(0, 1).double() for output in outputs)
    r2 = 1 - ((a - a_hat) ** 2).sum(0) / ((a - a.mean(0)) ** 2).sum(0)
    assert values["r2"] == pytest.approx(float(r2.mean()), abs=1e-4)
    head = _head(store, backbone)
    same = head(clean).argmax(-1) == head(edited).argmax(-1)
    right = head(edited).argmax(-1) == torch.from_numpy(split.evaluation.labels)
    assert values["agreement"] == float(same.double().mean()) and values["accuracy"] == float(right.double().mean())


def _head(store: Path, backbone: backbones.Backbone) -> torch.nn.Module:
    from safetensors.torch import load_file

    (file,) = (store.parent / "cache" / "heads").glob("*.safetensors")
    tensors = load_file(file)
    head = torch.nn.Linear(tensors["weight"].shape[1], tensors["weight"].shape[0])
    head.load_state_dict(tensors)
    return head.requires_grad_(False)


def test_the_unmodified_output_is_exact(store: Path) -> None:
    values = open_store(store).scores().set_index(["method", "metric"])["value"]["identity"]
    assert values["r2"] == values["agreement"] == 1
    assert values["efficiency_ratio"] > 0


def test_every_metric_of_a_linear_site_is_measured(store: Path, photo_folder: Path, tmp_path: Path) -> None:
    linear = suite_of(photo_folder, "identity", "topk_sae", seeds={"tokens": [1]})
    run(linear, tmp_path / "r.duckdb")
    names = [
        set(open_store(path).scores().groupby("method")["metric"].get_group("topk_sae"))
        for path in (tmp_path / "r.duckdb", store)
    ]
    assert names[0] <= names[1]


def test_tokens_of_an_output_site_are_stored_once(store: Path) -> None:
    (folder,) = (store.parent / "cache" / "tokens").iterdir()
    assert {file.name.partition("-")[0] for file in folder.glob("*.npy")} == {"output"}
