"""Contract of a method (docs/methods.md), checked on a small layer in seconds."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness.check.finding import Finding, NotApplicable, other_globals, require, run, run_all, where
from harness.check.world import SmallSite, SmallTokens, small_layer
from methods.base import Method, make_config
from methods.errors import UserError

#: Allowed reconstruction error of a method that claims to be lossless, as a fraction of the largest output.
LOSSLESS = 1e-5
#: Allowed difference of a token's codes between batches, as a fraction of the largest code: matrix products of other
#: shapes round differently, and an iterative encoder carries the difference on.
ROUNDING = 1e-3

#: Small values of settings by name, so that a method that trains for an hour is checked in a second.
SMALL: dict[str, Any] = {
    "batch_size": 64,
    "epochs": 3,
    "expansion_factor": 3,
    "k": 4,
    "min_cluster_size": 15,
    "parts": 3,
    "top_k": 120,
}


class CheckedMethod(NamedTuple):
    """CheckedMethod method with the layer and tokens it was fitted on."""

    method: Method
    site: SmallSite
    tokens: SmallTokens
    refit: Callable[[int], Method]
    """function that fits the same method again with a given seed"""
    device: str = "cpu"

    @property
    def x(self) -> Tensor:
        return self.tokens.fields[self.method.spec.reads].to(self.device)


def small_settings(cls: type[Method]) -> dict[str, Any]:
    """Return the settings in :data:`SMALL` that a method has; none if the method rejects their combination."""
    settings = {name: value for name, value in SMALL.items() if name in cls.Config.model_fields}
    try:
        make_config(cls, settings)
    except UserError:
        return {}
    return settings


def check_method(cls: type[Method], config: dict[str, Any] | None = None, *, device: str = "cpu") -> list[Finding]:
    """Check a method class against the contract.

    Args:
        cls: the method class.
        config: its settings; small ones (see :func:`small_settings`) let a training method end in seconds.
        device: device on which it is fitted and used.

    Returns:
        One finding per check: settings first, then the fit. If the fit fails, its finding is the last one.
    """
    site, tokens = small_layer()
    calls = 0

    def fit(seed: int) -> Method:
        nonlocal calls
        calls += 1
        with other_globals(1000 + calls):
            return cls(make_config(cls, dict(config or {}))).fit(tokens, site, seed=seed, device=device)

    findings = [run("settings", lambda: _settings(cls))]
    fitted: list[Method] = []
    findings.append(run("fit", lambda: fitted.append(_checked_fit(fit(1)))))
    if not fitted:
        return findings
    checked = CheckedMethod(fitted[0], site, tokens, fit, device)
    findings.append(run("encode and decode", lambda: encode_and_decode(checked)))
    # Without codes all other checks would fail for the same reason.
    return findings + run_all(CHECKS, checked) if findings[-1].ok else findings


def _settings(cls: type[Method]) -> None:
    """Check that an unknown setting is refused."""
    try:
        make_config(cls, {"no_such_setting": 1})
    except UserError:
        return
    raise AssertionError("Config accepts a setting that does not exist; derive it from methods.base.MethodConfig.")


def _checked_fit(method: Any) -> Method:
    """Check the return value of fit, and return it."""
    require(isinstance(method, Method), f"fit returns {type(method).__name__}; it must return self.")
    require(
        method.is_fitted,
        f"`fitted` names {', '.join(method.fitted) or 'nothing'}, and after fit not all of these attributes are "
        "tensors; name the tensor attributes that fit sets.",
    )
    return method  # type: ignore[no-any-return]


def encode_and_decode(of: CheckedMethod) -> None:
    """Check that encode returns (n, n_units) and decode (n, d_out)."""
    n, units, reads = of.tokens.n, of.method.n_units, of.method.spec.reads
    try:
        codes = of.method.encode(of.x)
    except Exception as error:
        q_or_a = "the layer's input q (n, d_in)" if reads == "input" else "the layer's output a (n, d_out)"
        raise AssertionError(
            f"encode raises {type(error).__name__}{where(error)}: {error}. spec.reads is {reads!r}, so its input is "
            f"{q_or_a} = {tuple(of.x.shape)}."
        ) from error
    require(
        tuple(codes.shape) == (n, units),
        f"encode returns the shape {tuple(codes.shape)}; it must be (n, n_units) = ({n}, {units}).",
    )
    a_hat = of.method.decode(codes)
    require(
        tuple(a_hat.shape) == (n, of.site.d_out),
        f"decode returns the shape {tuple(a_hat.shape)}; it must be (n, d_out) = ({n}, {of.site.d_out}).",
    )


def dtype_and_device(of: CheckedMethod) -> None:
    """Check that encode and decode keep the dtype and device of their input, and return finite values."""
    codes = of.method.encode(of.x)
    a_hat = of.method.decode(codes)
    for name, x, output in (("encode", of.x, codes), ("decode", codes, a_hat)):
        require(
            output.dtype == x.dtype, f"{name} turns {x.dtype} into {output.dtype}; it must keep the dtype of its input."
        )
        require(
            output.device == x.device,
            f"{name} returns a tensor on {output.device} for input on {x.device}; it must keep the device.",
        )
        require(bool(torch.isfinite(output).all()), f"{name} returns NaN or infinity.")


def dictionary(of: CheckedMethod) -> None:
    """Check that there is one atom per unit, with the width of its side, and that parents cover the original units."""
    atoms, parents, side = of.method.dictionary()
    require(side in ("reader", "writer"), f"The dictionary's side is {side!r}; it must be 'reader' or 'writer'.")
    expected = (of.method.n_units, of.site.d_in if side == "reader" else of.site.d_out)
    require(
        tuple(atoms.shape) == expected,
        f"dictionary() returns atoms {tuple(atoms.shape)}; with side {side!r} they must be {expected}.",
    )
    if parents is not None:
        require(
            tuple(parents.shape) == expected[:1],
            f"parents have the shape {tuple(parents.shape)}; it must be {expected[:1]}, one parent per unit.",
        )
        covered = set(parents.tolist()) == set(range(of.site.d_out))
        require(
            covered, "parents do not cover the layer's outputs 0 to d_out - 1; every neuron needs at least one unit."
        )


def small_batches(of: CheckedMethod) -> None:
    """Check that batches of zero tokens and of one token work."""
    for n in (0, 1):
        codes = of.method.encode(of.x[:n])
        expected = (n, of.method.n_units)
        require(
            tuple(codes.shape) == expected, f"A batch of {n} tokens is encoded as {tuple(codes.shape)}, not {expected}."
        )
        shape = tuple(of.method.decode(codes).shape)
        require(shape == (n, of.site.d_out), f"A batch of {n} codes is decoded as {shape}, not {(n, of.site.d_out)}.")


def independent_of_batch(of: CheckedMethod) -> None:
    """Check that the code of a token does not depend on the others in its batch."""
    whole = of.method.encode(of.x)
    halves = torch.cat([of.method.encode(of.x[:7]), of.method.encode(of.x[7:])])
    largest = float(whole.abs().max()) or 1.0
    difference = float((whole - halves).abs().max()) / largest
    require(
        difference <= ROUNDING,
        f"The codes of a token change with the batch it is in, by {difference:.1e} of the largest code; encode each "
        "row independently of the others.",
    )


def inputs_unchanged(of: CheckedMethod) -> None:
    """Check that encode and decode leave their input unchanged."""
    x = of.x.clone()
    codes = of.method.encode(x)
    require(torch.equal(x, of.x), "encode changes its input in place; copy it first.")
    before = codes.clone()
    of.method.decode(codes)
    require(torch.equal(before, codes), "decode changes its input in place; copy it first.")


def deterministic(of: CheckedMethod) -> None:
    """Check that the same seed gives the same method, whatever the state of the global generators."""
    again = of.refit(1)
    require(
        again.n_units == of.method.n_units and torch.equal(of.method.encode(of.x), again.encode(of.x)),
        "Two fits with the same seed differ; take all random draws from a generator seeded with `seed`.",
    )


def seed_flag(of: CheckedMethod) -> None:
    """Check that another seed gives the same codes if the method declares that its fit does not depend on the seed."""
    if of.method.spec_with(of.method.config).uses_seed:
        raise NotApplicable("spec.uses_seed is True")
    other = of.refit(2)
    require(
        other.n_units == of.method.n_units and torch.equal(of.method.encode(of.x), other.encode(of.x)),
        "spec.uses_seed is False, but another seed gives other codes; set uses_seed=True.",
    )


def supervised_flag(of: CheckedMethod) -> None:
    """Check that other labels give the same codes if the method declares that it is unsupervised."""
    if of.method.spec.supervised:
        raise NotApplicable("spec.supervised is True")
    labels = of.tokens.label.copy()
    try:
        of.tokens.label[:] = (labels + 1) % 3 * (labels > 0)
        other = of.refit(1)
    finally:
        of.tokens.label[:] = labels
    require(
        other.n_units == of.method.n_units and torch.equal(of.method.encode(of.x), other.encode(of.x)),
        "spec.supervised is False, but other class labels give other codes; set supervised=True.",
    )


def trained_flag(of: CheckedMethod) -> None:
    """Check that a method declared as training-free leaves no training curves."""
    if not of.method.spec.training_free:
        raise NotApplicable("spec.training_free is False")
    series = ", ".join(of.method.curves)
    require(not series, f"spec.training_free is True, but fit leaves training curves ({series}); set it to False.")


def lossless_flag(of: CheckedMethod) -> None:
    """Check that a method declared as lossless reconstructs the layer's output."""
    if not of.method.spec.lossless or of.method.spec.virtual:
        raise NotApplicable("spec.lossless is False, or the method is virtual")
    a = of.tokens.fields["output"].to(of.device)
    lost = float((a - of.method.decode(of.method.encode(of.x))).abs().max() / a.abs().max())
    require(
        lost < LOSSLESS,
        f"spec.lossless is True, but the error of decode(encode(x)) is {lost:.1e} of the largest output; it must be "
        f"below {LOSSLESS:.0e}.",
    )


def linear_decoder(of: CheckedMethod) -> None:
    """Check that decode(codes) is codes @ atoms plus an offset if the atoms are writers."""
    atoms, _, side = of.method.dictionary()
    if side == "reader" or of.method.spec.virtual:
        raise NotApplicable("the atoms are not a decoder")
    codes = of.method.encode(of.x)
    offset = of.method.decode(torch.zeros_like(codes[:1]))
    require(
        torch.allclose(of.method.decode(codes), codes @ atoms + offset, rtol=1e-4, atol=1e-4),
        "decode(codes) is not codes @ dictionary().atoms + decode(0); atoms of a writer must be the decoder's rows.",
    )


def round_trip(of: CheckedMethod) -> None:
    """Check that a saved and loaded method gives identical codes and reconstructions."""
    with tempfile.TemporaryDirectory() as folder:
        loaded = type(of.method).load(of.method.save(Path(folder) / "method.safetensors"), device=of.device)
        names = [file.name for file in Path(folder).iterdir()]
    require(names == ["method.safetensors"], f"save writes the files {names}; it must write only the given path.")
    require(loaded.config == of.method.config, "A loaded method has another configuration than the saved one.")
    advice = "name every tensor it needs in `fitted`, and return the other state in extra_state()"
    codes = of.method.encode(of.x)
    try:
        same = torch.equal(codes, loaded.encode(of.x)) and torch.equal(of.method.decode(codes), loaded.decode(codes))
    except Exception as error:
        raise AssertionError(
            f"A loaded method raises {type(error).__name__}{where(error)}: {error}; {advice}."
        ) from error
    require(same, f"A loaded method gives other results than the saved one; {advice}.")


#: Name -> check of a fitted method. Each raises AssertionError with a sentence that explains the failure.
CHECKS: dict[str, Callable[[CheckedMethod], None]] = {
    "dtype and device kept": dtype_and_device,
    "dictionary": dictionary,
    "empty and single batches": small_batches,
    "independent of the batch": independent_of_batch,
    "inputs unchanged": inputs_unchanged,
    "deterministic under a seed": deterministic,
    "uses_seed is correct": seed_flag,
    "supervised is correct": supervised_flag,
    "training_free is correct": trained_flag,
    "lossless is correct": lossless_flag,
    "dictionary matches decode": linear_decoder,
    "save and load": round_trip,
}
