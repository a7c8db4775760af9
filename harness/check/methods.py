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


class Fitted(NamedTuple):
    """Fitted method with the layer and tokens it was fitted on."""

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
    made: list[Method] = []
    findings.append(run("fit", lambda: made.append(_fitted(fit(1)))))
    if not made:
        return findings
    fitted = Fitted(made[0], site, tokens, fit, device)
    findings.append(run("encode and decode", lambda: encode_and_decode(fitted)))
    # Without codes all other checks would fail for the same reason.
    return findings + run_all(CHECKS, fitted) if findings[-1].ok else findings


def _settings(cls: type[Method]) -> None:
    try:
        make_config(cls, {"no_such_setting": 1})
    except UserError:
        return
    raise AssertionError("Config accepts a setting that does not exist; derive it from methods.base.MethodConfig.")


def _fitted(method: Any) -> Method:
    require(isinstance(method, Method), f"fit returns {type(method).__name__}; it returns self.")
    require(
        method.is_fitted,
        f"After fit, {', '.join(method.fitted) or 'nothing'} is named in `fitted` and not every one is a tensor; "
        "name the tensor attributes that fit sets.",
    )
    return method  # type: ignore[no-any-return]


def encode_and_decode(of: Fitted) -> None:
    """Check that encode gives (n, n_units) and decode (n, d_out)."""
    n, units, reads = of.tokens.n, of.method.n_units, of.method.spec.reads
    try:
        codes = of.method.encode(of.x)
    except Exception as error:
        q_or_a = "the layer's input q (n, d_in)" if reads == "input" else "the layer's output a (n, d_out)"
        raise AssertionError(
            f"encode raises {type(error).__name__}{where(error)}: {error}. spec.reads is {reads!r}, so it is given "
            f"{q_or_a} = {tuple(of.x.shape)}."
        ) from error
    require(
        tuple(codes.shape) == (n, units), f"encode gives {tuple(codes.shape)}; it is (n, n_units) = ({n}, {units})."
    )
    a_hat = of.method.decode(codes)
    require(
        tuple(a_hat.shape) == (n, of.site.d_out),
        f"decode gives {tuple(a_hat.shape)}; it is (n, d_out) = ({n}, {of.site.d_out}).",
    )


def dtype_and_device(of: Fitted) -> None:
    """Check that encode and decode keep the dtype and device of their input, and give finite values."""
    codes = of.method.encode(of.x)
    a_hat = of.method.decode(codes)
    for name, given, got in (("encode", of.x, codes), ("decode", codes, a_hat)):
        require(got.dtype == given.dtype, f"{name} turns {given.dtype} into {got.dtype}; keep it.")
        require(got.device == given.device, f"{name} moves what it is given from {given.device} to {got.device}.")
        require(bool(torch.isfinite(got).all()), f"{name} gives NaN or infinity.")


def dictionary(of: Fitted) -> None:
    """Check that there is one atom per unit, with the width of its side, and that parents cover the original units."""
    atoms, parents, side = of.method.dictionary()
    require(side in ("reader", "writer"), f"The dictionary's side is {side!r}; it is 'reader' or 'writer'.")
    wanted = (of.method.n_units, of.site.d_in if side == "reader" else of.site.d_out)
    require(tuple(atoms.shape) == wanted, f"dictionary() has atoms {tuple(atoms.shape)}; a {side}'s are {wanted}.")
    if parents is not None:
        require(tuple(parents.shape) == wanted[:1], f"parents are {tuple(parents.shape)}; there is one a unit.")
        covered = set(parents.tolist()) == set(range(of.site.d_out))
        require(covered, "parents do not cover the layer's outputs 0 to d_out - 1; every neuron keeps a unit.")


def small_batches(of: Fitted) -> None:
    """Check that batches of zero tokens and of one token work."""
    for n in (0, 1):
        codes = of.method.encode(of.x[:n])
        wanted = (n, of.method.n_units)
        require(
            tuple(codes.shape) == wanted, f"A batch of {n} tokens is encoded as {tuple(codes.shape)}, not {wanted}."
        )
        shape = tuple(of.method.decode(codes).shape)
        require(shape == (n, of.site.d_out), f"A batch of {n} codes is decoded as {shape}, not {(n, of.site.d_out)}.")


def rows_alone(of: Fitted) -> None:
    """Check that the code of a token does not depend on the others in its batch."""
    whole = of.method.encode(of.x)
    halves = torch.cat([of.method.encode(of.x[:7]), of.method.encode(of.x[7:])])
    largest = float(whole.abs().max()) or 1.0
    apart = float((whole - halves).abs().max()) / largest
    require(
        apart <= ROUNDING,
        f"The codes of a token change with the batch it is in, by {apart:.1e} of the largest; encode each row by "
        "itself.",
    )


def inputs_kept(of: Fitted) -> None:
    """Check that encode and decode leave their input unchanged."""
    x = of.x.clone()
    codes = of.method.encode(x)
    require(torch.equal(x, of.x), "encode changes its input in place; let it work on a copy.")
    before = codes.clone()
    of.method.decode(codes)
    require(torch.equal(before, codes), "decode changes the codes it is given; let it work on a copy.")


def deterministic(of: Fitted) -> None:
    """Check that the same seed gives the same method, whatever the state of the global generators."""
    again = of.refit(1)
    require(
        again.n_units == of.method.n_units and torch.equal(of.method.encode(of.x), again.encode(of.x)),
        "Two fits with the same seed differ; draw everything from a generator made of `seed`.",
    )


def seed_flag(of: Fitted) -> None:
    """Check that another seed gives the same codes if the method declares that its fit does not depend on the seed."""
    if of.method.spec_with(of.method.config).uses_seed:
        raise NotApplicable("it says that it uses its seed")
    other = of.refit(2)
    require(
        other.n_units == of.method.n_units and torch.equal(of.method.encode(of.x), other.encode(of.x)),
        "spec.uses_seed is False, and another seed gives another method; say uses_seed=True.",
    )


def supervised_flag(of: Fitted) -> None:
    """Check that other labels give the same codes if the method declares that it is unsupervised."""
    if of.method.spec.supervised:
        raise NotApplicable("it says that it is supervised")
    labels = of.tokens.label.copy()
    try:
        of.tokens.label[:] = (labels + 1) % 3 * (labels > 0)
        other = of.refit(1)
    finally:
        of.tokens.label[:] = labels
    require(
        other.n_units == of.method.n_units and torch.equal(of.method.encode(of.x), other.encode(of.x)),
        "spec.supervised is False, and other class labels give another method; say supervised=True.",
    )


def trained_flag(of: Fitted) -> None:
    """Check that a method declared as training-free leaves no training curves."""
    if not of.method.spec.training_free:
        raise NotApplicable("it does not claim to train nothing")
    series = ", ".join(of.method.curves)
    require(not series, f"spec.training_free is True, and fit leaves curves of a training ({series}); say False.")


def lossless_flag(of: Fitted) -> None:
    """Check that a method declared as lossless reconstructs the layer's output."""
    if not of.method.spec.lossless or of.method.spec.virtual:
        raise NotApplicable("it does not claim to be lossless")
    a = of.tokens.fields["output"].to(of.device)
    lost = float((a - of.method.decode(of.method.encode(of.x))).abs().max() / a.abs().max())
    require(
        lost < LOSSLESS, f"spec.lossless is True, and decode(encode(x)) is off by {lost:.1e} of the largest output."
    )


def linear_decoder(of: Fitted) -> None:
    """Check that decode(codes) is codes @ atoms plus an offset if the atoms are writers."""
    atoms, _, side = of.method.dictionary()
    if side == "reader" or of.method.spec.virtual:
        raise NotApplicable("its atoms do not decode")
    codes = of.method.encode(of.x)
    offset = of.method.decode(torch.zeros_like(codes[:1]))
    require(
        torch.allclose(of.method.decode(codes), codes @ atoms + offset, rtol=1e-4, atol=1e-4),
        "decode(codes) is not codes @ dictionary().atoms + decode(0); atoms that write are the rows of the decoder.",
    )


def round_trip(of: Fitted) -> None:
    """Check that a saved and loaded method gives identical codes and reconstructions."""
    with tempfile.TemporaryDirectory() as folder:
        loaded = type(of.method).load(of.method.save(Path(folder) / "method.safetensors"), device=of.device)
        names = [file.name for file in Path(folder).iterdir()]
    require(names == ["method.safetensors"], f"save leaves {names} behind; it writes one file.")
    require(loaded.config == of.method.config, "A loaded method has another configuration.")
    advice = "name every tensor it needs in `fitted`, and give the rest in extra_state()"
    codes = of.method.encode(of.x)
    try:
        same = torch.equal(codes, loaded.encode(of.x)) and torch.equal(of.method.decode(codes), loaded.decode(codes))
    except Exception as error:
        raise AssertionError(
            f"A loaded method raises {type(error).__name__}{where(error)}: {error}; {advice}."
        ) from error
    require(same, f"A loaded method gives other results; {advice}.")


#: Name -> check of a fitted method; each raises AssertionError with the sentence that explains the failure.
CHECKS: dict[str, Callable[[Fitted], None]] = {
    "dtype and device kept": dtype_and_device,
    "dictionary": dictionary,
    "empty and single batches": small_batches,
    "rows by themselves": rows_alone,
    "inputs left alone": inputs_kept,
    "deterministic under a seed": deterministic,
    "uses_seed is honest": seed_flag,
    "supervised is honest": supervised_flag,
    "training_free is honest": trained_flag,
    "lossless is honest": lossless_flag,
    "dictionary matches decode": linear_decoder,
    "save and load": round_trip,
}
