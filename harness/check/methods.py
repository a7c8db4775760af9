"""Contract of a method (docs/methods.md), checked on a small layer in seconds."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.activations.offers import declared, granted
from harness.cells.input_share import InputShare
from harness.cells.method_output import dictionary_problem, dictionary_type_problem
from harness.check.divided_fits import same_fit_in_parts
from harness.check.finding import Finding, NotApplicable, other_globals, require, require_shape, run_all, where
from harness.check.layers import CheckLayer, drawn_layer, plain_layer
from harness.check.method_calls import (
    NO_DICTIONARY,
    bounded_memory,
    fingerprint,
    prerequisite,
    safe_file,
    same_codes_at_each_call,
    same_dictionary_at_each_call,
    usable_dictionary,
)
from methods.base import Method, make_config
from methods.errors import UserError
from methods.fitted_tensors import fitted_problem
from methods.requirements import INPUT

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


@dataclass
class CheckedMethod:
    """Method class with the layer and tokens on which it is fitted."""

    cls: type[Method]
    config: dict[str, Any]
    device: str
    layer: CheckLayer | None = None
    """layer and tokens; None: small ones of the width that the method asks for"""
    n_fits: int = 0
    method: Method = field(init=False)
    """the fitted method, set by the check ``fit``"""

    def __post_init__(self) -> None:
        config = make_config(self.cls, dict(self.config))
        self.offers = declared(self.cls.spec, self.cls.spec_with(config))
        if self.layer is None:
            d_in, d_out = self.cls.layer_input_width(config), self.cls.layer_width(config)
            self.layer = drawn_layer(d_in, d_out, self.device) if self.offers else plain_layer(d_in, d_out)
        self.site, self.tokens = self.layer.site, self.layer.tokens
        # What fit is given: the tokens and the site, with what the method declares.
        self.given = granted(self.tokens, self.site, self.layer.offer, self.offers, self.cls.spec.name)

    @property
    def x(self) -> Tensor:
        """Copy of the tokens that ``encode`` reads: a method that changes it affects no other check."""
        return self.tokens.fields[self.method.spec.reads].to(self.device, copy=True)

    def fit(self, seed: int) -> Any:
        """Return what fit of a new instance returns. Each call finds other states of the global generators."""
        self.n_fits += 1
        with other_globals(1000 + self.n_fits):
            method = self.cls(make_config(self.cls, dict(self.config)))
            return method.fit(self.given.tokens, self.given.site, seed=seed, device=self.device)

    def refit_is_same(self, seed: int) -> bool:
        """Fit again with a seed, and return True if the codes are those of :attr:`method`."""
        again = self.fit(seed)
        return again.n_units == self.method.n_units and torch.equal(self.method.encode(self.x), again.encode(self.x))


def small_settings(cls: type[Method], given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the settings in :data:`SMALL` that a method has and that are not given.

    None if the method rejects their combination, or that with the given ones.
    """
    given = given or {}
    settings = {name: value for name, value in SMALL.items() if name in cls.Config.model_fields and name not in given}
    try:
        make_config(cls, {**settings, **given})
    except UserError:
        return {}
    return settings


def check_method(
    cls: type[Method], config: dict[str, Any] | None = None, *, device: str = "cpu", layer: CheckLayer | None = None
) -> list[Finding]:
    """Check a method class against the contract: settings, fit, and the rest if the fit succeeds.

    Small settings (see :func:`small_settings`) let a training method end in seconds. The method is fitted and used on
    ``device``, at ``layer`` or a small layer of the width that it asks for.
    """
    return run_all(CHECKS, CheckedMethod(cls, config or {}, device, layer), required=(fit, encode_and_decode))


def settings(of: CheckedMethod) -> None:
    """Check that an unknown setting is refused."""
    try:
        make_config(of.cls, {"no_such_setting": 1})
    except UserError:
        return
    raise AssertionError("Config accepts a setting that does not exist; derive it from methods.base.MethodConfig.")


def fit(of: CheckedMethod) -> None:
    """Check that fit returns the method, with the tensors that it names."""
    method = of.fit(1)
    require(isinstance(method, Method), f"fit returns {type(method).__name__}; it must return self.")
    problem = fitted_problem(method, method.fitted)
    require(not problem, f"After fit, {problem}")
    of.method = method


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
    _require_dense("encode", codes)
    require(
        codes.dtype == of.x.dtype,
        f"encode turns {of.x.dtype} into {codes.dtype}; it must keep the dtype of its input: use .to(x.dtype).",
    )
    require(
        codes.device == of.x.device,
        f"encode returns a tensor on {codes.device} for input on {of.x.device}; it must keep the device.",
    )
    require_shape("encode", codes, "(n, n_units)", (n, units))
    takes_input = getattr(of.cls.decode, INPUT, None) is not None
    require(
        takes_input or not of.method.decode_reads_input,
        "decode_reads_input is True, but decode takes the codes alone; write def decode(self, codes, x=None).",
    )
    a_hat = of.method.reconstruct(codes, of.x)
    _require_dense("decode", a_hat)
    require_shape("decode", a_hat, "(n, d_out)", (n, of.site.d_out))


def _require_dense(call: str, output: Any) -> None:
    require(isinstance(output, Tensor), f"{call} returns a {type(output).__name__}; it must return a torch.Tensor.")
    require(
        output.layout == torch.strided,
        f"{call} returns a tensor of the layout {output.layout}; it must be dense: use .to_dense().",
    )


def dtype_and_device_kept(of: CheckedMethod) -> None:
    """Check that encode and decode keep the dtype and device of their input, and return finite values."""
    codes = of.method.encode(of.x)
    a_hat = of.method.reconstruct(codes, of.x)
    for name, x, output in (("encode", of.x, codes), ("decode", codes, a_hat)):
        require(
            output.dtype == x.dtype, f"{name} turns {x.dtype} into {output.dtype}; it must keep the dtype of its input."
        )
        require(
            output.device == x.device,
            f"{name} returns a tensor on {output.device} for input on {x.device}; it must keep the device.",
        )
        require(bool(torch.isfinite(output).all()), f"{name} returns NaN or infinity.")
        require(
            not output.requires_grad,
            f"{name} returns a tensor that requires gradients, which keeps the graph of every call; set the fitted "
            "tensors with .detach() in fit.",
        )


def dictionary(of: CheckedMethod) -> None:
    """Check that there is one atom per unit, with the width of its side, and that parents cover the original units."""
    directions = of.method.dictionary()
    if directions is None:
        raise NotApplicable(f"{NO_DICTIONARY}, so metrics of atoms and the stability will be left out")
    problem = dictionary_type_problem(directions) or dictionary_problem(*directions, of.method.n_units, of.site)
    require(not problem, f"dictionary() returns {problem}")
    parents = directions.parents
    require(
        parents is None or set(parents.tolist()) == set(range(of.site.d_out)),
        "parents do not cover the layer's outputs 0 to d_out - 1; every neuron needs at least one unit.",
    )


def empty_and_single_batches(of: CheckedMethod) -> None:
    """Check that batches of zero tokens and of one token work."""
    for n in (0, 1):
        codes = of.method.encode(of.x[:n])
        expected = (n, of.method.n_units)
        require(
            tuple(codes.shape) == expected, f"A batch of {n} tokens is encoded as {tuple(codes.shape)}, not {expected}."
        )
        shape = tuple(of.method.reconstruct(codes, of.x[:n]).shape)
        require(shape == (n, of.site.d_out), f"A batch of {n} codes is decoded as {shape}, not {(n, of.site.d_out)}.")


def independent_of_the_batch(of: CheckedMethod) -> None:
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
    x = of.x
    codes = of.method.encode(x)
    require(torch.equal(x, of.x), "encode changes its input in place; copy it first (x = x.clone()).")
    before = codes.clone()
    of.method.reconstruct(codes, x)
    same = torch.equal(before.nan_to_num(), codes.nan_to_num())
    require(same, "decode changes its input in place; copy it first.")


def deterministic_under_a_seed(of: CheckedMethod) -> None:
    """Check that the same seed gives the same method, whatever the state of the global generators."""
    require(
        of.refit_is_same(1),
        "Two fits with the same seed differ; take all random draws from a generator seeded with `seed`.",
    )


def uses_seed_is_correct(of: CheckedMethod) -> None:
    """Check that another seed gives the same codes if the method declares that its fit does not depend on the seed."""
    if of.method.spec_with(of.method.config).uses_seed:
        raise NotApplicable("spec.uses_seed is True")
    require(
        of.refit_is_same(2),
        "spec.uses_seed is False, but another seed gives other codes; set uses_seed=True.",
    )


def supervised_is_correct(of: CheckedMethod) -> None:
    """Check that other labels give the same codes if the method declares that it is unsupervised."""
    if of.method.spec.supervised:
        raise NotApplicable("spec.supervised is True")
    labels = of.tokens.label.copy()
    try:
        of.tokens.label[:] = (labels + 1) % 3 * (labels > 0)
        same = of.refit_is_same(1)
    finally:
        of.tokens.label[:] = labels
    require(same, "spec.supervised is False, but other class labels give other codes; set supervised=True.")


def training_free_is_correct(of: CheckedMethod) -> None:
    """Check that a method declared as training-free leaves no training curves."""
    if not of.method.spec.training_free:
        raise NotApplicable("spec.training_free is False")
    series = ", ".join(of.method.curves)
    require(not series, f"spec.training_free is True, but fit leaves training curves ({series}); set it to False.")


def lossless_is_correct(of: CheckedMethod) -> None:
    """Check that a method declared as lossless reconstructs the layer's output."""
    if not of.method.spec.lossless or of.method.spec.virtual:
        raise NotApplicable("spec.lossless is False, or the method is virtual")
    a = of.tokens.fields["output"].to(of.device)
    lost = float((a - of.method.reconstruct(of.method.encode(of.x), of.x)).abs().max() / a.abs().max())
    require(
        lost < LOSSLESS,
        f"spec.lossless is True, but the error of decode(encode(x)) is {lost:.1e} of the largest output; it must be "
        f"below {LOSSLESS:.0e}.",
    )


def decode_reads_input_is_correct(of: CheckedMethod) -> str:
    """Check that decode uses ``x`` only if the method says so, and tell what it explains without any unit."""
    codes, parameter = of.method.encode(of.x), getattr(of.cls.decode, INPUT, None)
    if of.method.decode_reads_input:
        share = InputShare()
        if not of.method.spec.virtual:
            a = of.tokens.fields["output"].to(of.device)
            share.update(a, of.method.reconstruct(torch.zeros_like(codes), of.x))
        return share.note()
    if parameter is None or not parameter.is_known:
        raise NotApplicable("decode takes the codes alone")
    # The method's own function: the checked one drops x.
    own: Callable[..., Tensor] = of.cls.decode.__wrapped__  # type: ignore[attr-defined]
    given = own(of.method, codes, **{parameter.keyword: of.x}) if parameter.keyword else own(of.method, codes, of.x)
    require(
        torch.equal(own(of.method, codes).nan_to_num(), given.nan_to_num()),
        "decode gives another result when it is given x: set decode_reads_input = True, or do not use x.",
    )
    return ""


def dictionary_matches_decode(of: CheckedMethod) -> None:
    """Check that decode(codes) is codes @ atoms plus an offset if the atoms are writers."""
    atoms, _, side = usable_dictionary(of, of.method.dictionary())
    if side == "reader" or of.method.spec.virtual:
        raise NotApplicable("the atoms are not a decoder")
    if of.method.decode_reads_input:
        raise NotApplicable("decode depends on the token as well")
    codes = of.method.encode(of.x)
    offset, decoded = of.method.decode(torch.zeros_like(codes[:1])), of.method.decode(codes)
    # Outputs of real layers may be large, and rounding is that of the largest.
    largest = max(1.0, float(decoded.abs().max()))
    require(
        torch.allclose(decoded, codes @ atoms + offset, rtol=1e-4, atol=1e-4 * largest),
        "decode(codes) is not codes @ dictionary().atoms + decode(0); atoms of a writer must be the decoder's rows.",
    )


def save_and_load(of: CheckedMethod) -> None:
    """Check that a saved and loaded method gives identical codes and reconstructions."""
    with tempfile.TemporaryDirectory() as folder:
        loaded = type(of.method).load(of.method.save(Path(folder) / "method.safetensors"), device=of.device)
        names = [file.name for file in Path(folder).iterdir()]
    require(names == ["method.safetensors"], f"save writes the files {names}; it must write only the given path.")
    require(loaded.config == of.method.config, "A loaded method has another configuration than the saved one.")
    advice = "name every tensor it needs in `fitted`, and return the other state in extra_state()"
    codes = of.method.encode(of.x)
    try:
        same = torch.equal(codes, loaded.encode(of.x)) and torch.equal(
            of.method.reconstruct(codes, of.x), loaded.reconstruct(codes, of.x)
        )
    except Exception as error:
        raise AssertionError(
            f"A loaded method raises {type(error).__name__}{where(error)}: {error}; {advice}."
        ) from error
    require(same, f"A loaded method gives other results than the saved one; {advice}.")


#: Checks in the order in which they run. Each raises AssertionError with a sentence that explains the failure.
CHECKS: tuple[Callable[[CheckedMethod], Any], ...] = (
    settings, fingerprint, prerequisite, fit, encode_and_decode, inputs_unchanged, dtype_and_device_kept, dictionary,
    empty_and_single_batches, independent_of_the_batch, same_codes_at_each_call, same_dictionary_at_each_call,
    bounded_memory, deterministic_under_a_seed, uses_seed_is_correct, supervised_is_correct, training_free_is_correct,
    lossless_is_correct, decode_reads_input_is_correct, dictionary_matches_decode, safe_file, save_and_load,
    same_fit_in_parts,
)  # fmt: skip
