"""The page on writing a sparse autoencoder: its method is checked, trained, compared with its equations, exported."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from documents import ROOT, blocks
from planted import Planted, planted
from plugins import clean_registries, loaded
from small_runs import suite_of
from typer.testing import CliRunner

import methods
import methods.sae
from harness.check import CheckTarget, check
from harness.cli import app
from harness.run import run
from methods import pretrained
from results import open_store

pytestmark = pytest.mark.run

PAGE = ROOT / "docs" / "own_sae.md"
SETTINGS = {"expansion_factor": 3, "epochs": 60, "batch_size": 256, "learning_rate": 3e-3, "l1_weight": 0.2}


def code() -> str:
    [text] = [block.text for block in blocks(PAGE) if block.language == "python"]
    return text


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("own_sae") / "my_gated_sae.py"
    path.write_text(code())
    with clean_registries():
        assert loaded(path, "method") == ["my_gated_sae"]
        yield path


@pytest.fixture(scope="module")
def data() -> Planted:
    return planted()


@pytest.fixture(scope="module")
def fitted(file: Path, data: Planted) -> Any:
    return methods.create("my_gated_sae", **SETTINGS).fit(data.tokens, data.site, seed=1)


def test_the_method_keeps_the_contract(file: Path) -> None:
    report = check(CheckTarget("method", "my_gated_sae"))
    assert [finding for finding in report.findings if not finding.ok] == []
    result = CliRunner().invoke(app, ["check", str(file)])
    assert result.exit_code == 0 and "harness run --suite demo --plugin" in result.output


def test_it_recovers_planted_atoms_sparsely(fitted: Any, data: Planted) -> None:
    a = data.tokens.fields["output"]
    codes = fitted.encode(a)
    error = (fitted.decode(codes) - a).square().mean() / a.var(0).mean()
    assert data.recovered(fitted.atoms) >= 0.98
    # Three atoms are active per token, and their magnitudes are not shrunk.
    assert float((codes > 0).sum(1).float().mean()) == pytest.approx(3, rel=0.15)
    assert float(error) < 0.1
    assert fitted.curves["loss"][-1][1] < 0.5 * fitted.curves["loss"][0][1]


def test_codes_are_those_of_its_equations(fitted: Any, data: Planted) -> None:
    a = data.tokens.fields["output"][:500]
    gate = a @ fitted.encoder_weight.T + fitted.encoder_bias
    codes = torch.relu(fitted.scale * gate + fitted.offset) * (gate > 0)
    assert torch.equal(fitted.encode(a), codes)
    # The magnitudes have parameters of their own, which were trained.
    assert float((fitted.scale - 1).abs().max()) > 0.01


def test_the_loss_has_the_three_terms_and_their_gradients(file: Path) -> None:
    """Compared with the equations of the page, written out, after parameters are moved away from their start."""
    method = methods.create("my_gated_sae", **{**SETTINGS, "dead_weight": 0})
    data = planted(256)
    module: Any = method.trainee(20, data.tokens, None, 1)  # type: ignore[attr-defined]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in (module.log_scale, module.magnitude_bias, module.bias):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    x = data.tokens.fields["output"]
    total = module.loss(x).total
    total.backward()
    found = {name: parameter.grad.clone() for name, parameter in module.named_parameters()}
    module.zero_grad()
    product = x @ module.weight.T
    gate = product + module.bias
    magnitude = module.log_scale.exp() * product + module.magnitude_bias
    codes = torch.relu(magnitude) * (gate > 0)
    active = torch.relu(gate)
    expected = (codes @ module.directions - x).square().mean() + 0.2 * active.sum(1).mean()
    expected = expected + (active @ module.directions.detach() - x).square().mean()
    torch.testing.assert_close(total, expected)
    expected.backward()
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-6)


def test_the_sparse_products_of_the_page_give_the_same(file: Path, tmp_path: Path) -> None:
    """With the function pasted into the class of the page's file."""
    [function] = [block.text for block in blocks(PAGE) if block.language == "py"]
    before, penalty, after = code().replace("my_gated_sae", "pasted_sae").partition("    def penalty(")
    (tmp_path / "pasted_sae.py").write_text(f"{before}{textwrap.indent(function, '    ')}\n{penalty}{after}")
    data = planted(256)
    x = data.tokens.fields["output"]

    def trained(name: str) -> Any:
        method = methods.create(name, **{**SETTINGS, "dead_weight": 0})
        module: Any = method.trainee(64, data.tokens, None, 1)  # type: ignore[attr-defined]
        with torch.no_grad():
            module.bias.sub_(2.0)
        return module

    with clean_registries():
        assert "pasted_sae" in loaded(tmp_path / "pasted_sae.py", "method")
        dense, sparse = trained("my_gated_sae"), trained("pasted_sae")
    assert dense.codes(x)[0].entries is None and sparse.codes(x)[0].entries is not None
    expected, loss = dense.loss(x), sparse.loss(x)
    torch.testing.assert_close(loss.total, expected.total)
    assert torch.equal(loss.fires, expected.fires)
    expected.total.backward()
    loss.total.backward()
    gradients = dict(dense.named_parameters())
    for name, parameter in sparse.named_parameters():
        torch.testing.assert_close(gradients[name].grad, parameter.grad, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("format_name", ["plain", "saelens"])
def test_the_fit_is_exported(fitted: Any, data: Planted, format_name: str, tmp_path: Path) -> None:
    suffix = ".safetensors" if format_name == "plain" else ""
    pretrained.save(fitted, tmp_path / f"sae{suffix}", format_name)
    again = pretrained.load(tmp_path / f"sae{suffix}")
    a = data.tokens.fields["output"][:200]
    torch.testing.assert_close(again.decode(again.encode(a), a), fitted.decode(fitted.encode(a)), rtol=1e-3, atol=1e-3)


def test_the_public_names_are_lazy_and_exist() -> None:
    program = "import sys, methods.sae; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["False"]
    assert set(methods.sae.__all__) == set(methods.sae._MODULES) <= set(dir(methods.sae))
    for name in methods.sae.__all__:
        assert getattr(methods.sae, name) is getattr(importlib.import_module(methods.sae._MODULES[name]), name)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        methods.sae.Nothing  # noqa: B018


def test_the_page_names_what_exists() -> None:
    tables = re.findall(r"^\| `([^|]*)` \|", PAGE.read_text(), flags=re.M)
    names = re.findall(r"(\w+)(?=\()", " ".join(tables))
    base = {*dir(methods.sae.LinearAutoencoder), *dir(methods.sae.LinearSAE)}
    assert len(names) > 8 and [name for name in names if name not in base] == []


def test_a_small_run_measures_it(file: Path, photo_folder: Path, tmp_path: Path) -> None:
    entries = [{"name": "my_gated_sae", "config": {"expansion_factor": 2, "epochs": 2, "batch_size": 64}}]
    suite = suite_of(
        photo_folder, methods=entries, seeds={"tokens": [1]}, evaluation={"top_images": 6, "metrics": ["r2", "l0"]}
    )
    assert run(suite, tmp_path / "r.duckdb").failed == 0
    assert list(open_store(tmp_path / "r.duckdb").cells()["n_units"]) == [48]
