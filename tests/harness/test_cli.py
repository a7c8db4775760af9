"""The command line as a person uses it: every verb in a process of its own."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest
from command_line import harness

pytestmark = pytest.mark.run

PLUGIN = textwrap.dedent(
    '''
    """Halves: two sub-units a neuron, each with half of its weights."""
    import torch
    from methods import register
    from methods.additive import AdditiveSplit
    from methods.base import MethodSpec, no_progress

    @register
    class Halves(AdditiveSplit):
        spec = MethodSpec(name="halves", title="halves", family="split", reads="input", reference="this file",
                          training_free=True, lossless=True, stable=True)

        def fit(self, tokens, site, *, seed=42, device="cpu", progress=no_progress):
            half = torch.tensor([[0.5], [0.5]])
            self.assemble([half * row for row in site.weight], [half[:, 0] * bias for bias in site.bias])
            return self
    '''
)


def test_help_tells_the_paths(tmp_path: Path) -> None:
    text = harness("--help", cwd=tmp_path).stdout
    for part in ("--suite demo", "--plugin my_method.py", "--checkpoint", "harness leaderboard"):
        assert part in text


@pytest.mark.parametrize("verb", ["run", "list", "leaderboard", "doctor"])
def test_every_verb_has_help_with_an_example(tmp_path: Path, verb: str) -> None:
    text = harness(verb, "--help", cwd=tmp_path).stdout
    assert f"Example: harness {verb}" in text and "--json" in text


@pytest.mark.parametrize(
    "what", ["methods", "backbones", "heads", "datasets", "metrics", "suites", "protocols", "alterations"]
)
def test_lists_for_people_and_for_machines(tmp_path: Path, what: str) -> None:
    rows = json.loads(harness("list", what, "--json", cwd=tmp_path).stdout)
    shown = harness("list", what, cwd=tmp_path).stdout
    names = [row.get("name", row.get("id")) for row in rows]
    assert names and all(name in shown for name in names)
    wanted = {
        "methods": "elude",
        "backbones": "efficientnet_lite0",
        "heads": "dinov2_linear",
        "datasets": "photos",
        "metrics": "r2",
        "suites": "demo",
        "protocols": "paper",
        "alterations": "contrast",
    }
    assert wanted[what] in names


def test_doctor_reports_on_everything(tmp_path: Path) -> None:
    checks = json.loads(harness("doctor", "--json", cwd=tmp_path).stdout)
    found = {check["what"]: check["ok"] for check in checks}
    assert found["torch"] and found["photographs"] and found["weights of efficientnet_lite0"] and found["overcomplete"]
    # The place of the store is looked at, not made.
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--suite", "dmo"], "Did you mean demo"),
        (["run", "--backbone", "efficientnet_lite", "--site", "x"], "Did you mean efficientnet_lite0"),
        (["run", "--backbone", "efficientnet_lite0", "--site", "conv_heat"], "Did you mean conv_head"),
        (["run", "--dataset", "folder:/no/such/place"], "place"),
        (["run", "--method", "eludd"], "Did you mean elude"),
        (["run", "--plugin", "absent.py"], "no plugin file 'absent.py'"),
        (["run", "--site", "conv_head"], "--site needs --backbone"),
        (["run", "--device", "cuda:9"], "--device cpu"),
        (["list", "sites"], "--backbone"),
        (["leaderboard"], "no results store"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = harness(*arguments, cwd=tmp_path, code=2)
    assert message in done.stderr.replace("\n", " ")


def test_a_broken_plugin_says_where(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("x = 1\nimport no_such_module\n")
    done = harness("list", "methods", "--plugin", "bad.py", cwd=tmp_path, code=2)
    assert "at line 2: ModuleNotFoundError" in done.stderr


def test_own_images_own_method_to_a_leaderboard(tmp_path: Path, photo_folder: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    suite = tmp_path / "small.toml"
    suite.write_text(
        textwrap.dedent(
            """
            name = "small"
            [data]
            evaluation = 12
            [probing]
            tokens_per_image = 4
            [evaluation]
            top_images = 4
            [[targets]]
            backbone = "efficientnet_lite0"
            site = "conv_head"
            [[methods]]
            name = "identity"
            """
        )
    )
    arguments = ["run", "--suite", "small.toml", "--dataset", f"folder:{photo_folder}", "--plugin", "mine.py"]
    done = harness(*arguments, cwd=tmp_path)
    assert "halves" in done.stdout and "backbone only" in done.stdout and "2 cells finished" in done.stdout
    again = json.loads(harness(*arguments, "--json", cwd=tmp_path).stdout)
    assert (again["kept"], again["finished"]) == (2, 0)
    board = json.loads(harness("leaderboard", "--json", cwd=tmp_path).stdout)
    assert str(tmp_path) not in json.dumps(board) and str(photo_folder) not in json.dumps(board)
    labels = {row["label"] for row in board[0]["rows"]}
    assert labels == {"halves", "backbone only"}
    assert "halves" in harness("leaderboard", "--sort", "r2", cwd=tmp_path).stdout
    done = harness("leaderboard", "--sort", "nonsense", cwd=tmp_path, code=2)
    assert "nonsense" in done.stderr


@pytest.mark.slow
def test_a_timm_backbone_with_a_local_checkpoint(tmp_path: Path, photo_folder: Path) -> None:
    import timm
    from safetensors.torch import save_file

    model = timm.create_model("test_vit", pretrained=False, num_classes=0)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    done = harness(
        "run", "--backbone", "timm:test_vit", "--checkpoint", "weights.safetensors", "--site", "blocks.0.mlp.fc2",
        "--dataset", f"folder:{photo_folder}", "--method", "identity", "--method", "random_split", "--token-seed", "1",
        "--store", "here/r.duckdb", cwd=tmp_path,
    )  # fmt: skip
    assert "random split" in done.stdout
    assert (tmp_path / "here" / "r.duckdb").is_file() and not (tmp_path / "outputs").exists()
