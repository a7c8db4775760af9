"""The dictionaries that are not trained by gradient, at points where the answer is known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from in_memory import MemoryTokens, small_layer
from planted import planted
from scipy.optimize import nnls
from torch import Tensor

import methods
from methods.base import Method
from methods.dictionaries.nmf import nonnegative_codes


def share_explained(method: Method, a: Tensor) -> float:
    error = (a - method.decode(method.encode(a))).square().sum()
    return 1 - float(error / (a - a.mean(0)).square().sum())


def test_pca_explains_what_the_leading_eigenvalues_say() -> None:
    site, tokens = small_layer()
    a = tokens.fields["output"]
    values = torch.linalg.eigvalsh(torch.cov(a.T)).flip(0)
    method = methods.create("pca", n_components=2).fit(tokens, site)
    assert share_explained(method, a) == pytest.approx(float(values[:2].sum() / values.sum()), abs=1e-4)
    assert share_explained(methods.create("pca").fit(tokens, site), a) == pytest.approx(1, abs=1e-5)
    codes = method.encode(a)
    assert bool(((codes - codes.mean(0)) ** 3).mean(0).ge(-1e-4).all()), "the heavier tail is the positive one"
    with pytest.raises(methods.UserError, match="only 6 neurons"):
        methods.create("pca", n_components=7).fit(tokens, site)


def test_pca_depends_on_no_seed_and_says_so() -> None:
    data = planted(n=512)
    one, other = (methods.create("pca").fit(data.tokens, data.site, seed=seed) for seed in (1, 2))
    assert torch.equal(one.dictionary().atoms, other.dictionary().atoms) and not one.spec.uses_seed


def test_ica_finds_independent_sources() -> None:
    generator = torch.Generator().manual_seed(0)
    sources = -torch.rand(4000, 4, generator=generator).clamp_min(1e-6).log()
    mixing = torch.randn(4, 4, generator=generator)
    tokens = MemoryTokens(torch.zeros(4000, 2), sources @ mixing)
    site, _ = small_layer(d_in=2, d_out=4)
    method = methods.create("ica").fit(tokens, site)
    both = torch.cat([sources, method.encode(tokens.fields["output"])], 1)
    found = torch.corrcoef(both.T)[:4, 4:]
    assert bool((found.max(1).values > 0.95).all()), "and with the sign of the skewed source"
    assert share_explained(method, tokens.fields["output"]) == pytest.approx(1, abs=1e-4)


def test_semi_nmf_codes_solve_nonnegative_least_squares() -> None:
    generator = torch.Generator().manual_seed(0)
    x, atoms = torch.randn(10, 12, generator=generator), torch.randn(8, 12, generator=generator)
    wanted = torch.stack([torch.from_numpy(nnls(atoms.T.numpy(), row.numpy())[0]).float() for row in x])
    torch.testing.assert_close(nonnegative_codes(x, atoms, 500), wanted, atol=1e-3, rtol=1e-3)


def test_semi_nmf_codes_are_not_negative_and_explain() -> None:
    data = planted(n=2048)
    method = methods.create("nmf", n_components=32).fit(data.tokens, data.site, seed=1)
    assert float(method.encode(data.tokens.fields["output"]).min()) >= 0
    assert share_explained(method, data.tokens.fields["output"]) > 0.5


def test_semi_nmf_decomposes_once_for_the_same_atoms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = planted(n=512)
    a = data.tokens.fields["output"][:20]
    method = methods.create("nmf", n_components=16, iterations=5, encode_iterations=20).fit(data.tokens, data.site)
    decompositions = 0
    eigenvalues = torch.linalg.eigvalsh

    def counted(matrix: Tensor) -> Tensor:
        nonlocal decompositions
        decompositions += 1
        return eigenvalues(matrix)

    def codes_of(x: Tensor) -> Tensor:
        """Return the codes, which must be those without a cache to the bit."""
        nonlocal decompositions
        found, before = method.encode(x), decompositions
        wide = x.float() if x.dtype == torch.float16 else x
        atoms, bias = method.atoms.to(wide), method.output_bias.to(wide)
        assert torch.equal(found, nonnegative_codes(wide - bias, atoms, 20).to(x))
        decompositions = before
        return found

    monkeypatch.setattr(torch.linalg, "eigvalsh", counted)
    for _ in range(3):
        first = codes_of(a)
    assert decompositions == 1
    codes_of(a.half()), codes_of(a.double()), codes_of(a.double())
    assert decompositions == 2, "half precision is computed in float32"
    method.atoms.mul_(2)  # in place
    assert not torch.equal(codes_of(a), first) and decompositions == 3
    method.atoms = method.atoms / 2  # another tensor
    torch.testing.assert_close(codes_of(a), first)
    assert decompositions == 4
    method.to("meta").atoms = torch.randn(16, a.shape[1], generator=torch.Generator().manual_seed(0))
    method.output_bias = torch.zeros(a.shape[1])
    codes_of(a)
    assert decompositions == 5
    method = methods.load(method.save(tmp_path / "nmf.safetensors"))
    codes_of(a), codes_of(a)
    assert decompositions == 6
    with torch.inference_mode():
        method.atoms = method.atoms.clone()
        codes_of(a)
        method.atoms.mul_(3)
        codes_of(a)


def test_kmeans_activates_one_unit_and_projection_is_no_worse() -> None:
    data = planted(n=4096)
    a = data.tokens.fields["output"]
    shares = {}
    for code in ("one_hot", "projection"):
        method = methods.create("kmeans", expansion_factor=4, code=code).fit(data.tokens, data.site, seed=1)
        assert bool(((method.encode(a) != 0).sum(1) <= 1).all())
        shares[code] = share_explained(method, a)
    assert shares["projection"] >= shares["one_hot"] > 0.2


@pytest.mark.parametrize("name", ["kmeans", "nmf"])
def test_half_precision_tokens_are_coded_as_they_are(name: str) -> None:
    """Lengths whose squares float16 does not hold; codes of steps that build on one another."""
    data = planted(n=2048)
    a = 300 * data.tokens.fields["output"]
    tokens = MemoryTokens(a, a)
    config = {"expansion_factor": 2} if name == "kmeans" else {"n_components": 16}
    method = methods.create(name, **config).fit(tokens, data.site, seed=1)
    for dtype in (torch.float16, torch.bfloat16):
        rounded = a[:200].to(dtype)
        codes = method.encode(rounded)
        assert codes.dtype == dtype
        torch.testing.assert_close(codes.float(), method.encode(rounded.float()), rtol=1e-2, atol=1e-2)


def test_a_random_dictionary_explains_little_but_not_less_than_nothing() -> None:
    data = planted(n=2048)
    method = methods.create("random_dictionary", expansion_factor=8, k=3).fit(data.tokens, data.site, seed=1)
    assert 0 < share_explained(method, data.tokens.fields["output"]) < 0.7
    again = methods.create("random_dictionary", expansion_factor=8, k=3).fit(data.tokens, data.site, seed=2)
    assert not torch.equal(method.dictionary().atoms, again.dictionary().atoms)
