r"""Parts taken from overcomplete 0.3.0, and the list of corrections to it.

Every family starts from the library's own module, built under the seed: the initial weights are bit-identical to the
library's. Training runs on our loop and, for sparse codes on a CPU, on our sparse products; tests compare codes and
gradients with those of the library's modules. Where the library is wrong, the following is done instead (each with a
test in ``tests/methods/sae/test_library.py`` that fails once the library no longer needs it):

==========================================================  ==========================================================
the library                                                 here
==========================================================  ==========================================================
BatchTopK's ``top_k`` counts the whole batch                ``k`` tokens times rows (:mod:`methods.sae.batchtopk`)
its running threshold is not in ``state_dict``              a buffer, saved with the method
``mse_l1`` sums \|z\|  over the batch                        per token; the library's form is ``l1_over="batch"``
``reanimation_regularizer`` omits 1/B                       App. E.1; the library's form is ``dead_over="batch"``
the JumpReLU backward divides by the bandwidth twice        once (:mod:`methods.sae.jumprelu_gradient`)
``RelaxedArchetypalDictionary(delta=0)`` is NaN             no relaxation (:mod:`methods.sae.archetypal`)
more atoms than points gives zero atoms                     refused: at least as many points as atoms
its points are an input                                     from the tokens alone: the same for all seeds (archetypal)
``eval()`` returns None; a stale fused dictionary           the library's modules are never put in evaluation mode
MpSAE's ``pre_codes`` is the residual                       the residual times the atoms (matching_pursuit)
MpSAE's dropout is lost after ``eval()``                    there is no dropout
``dead_codes`` misses signed codes                          a unit is dead where its codes are exactly 0
no Matryoshka, no transcoder                                built from its BatchTopK and plain modules
``train_sae`` prints and waits for the device every step    :mod:`methods.training.loop`
==========================================================  ==========================================================

Options that the library does not have, all off by default, so that they are no deviations: AuxK
(:mod:`methods.sae.auxk`), a learned pre-bias (:mod:`methods.sae.autoencoder`), gradients orthogonal to the atoms
(:mod:`methods.sae.parallel_gradient`), and warm-ups of the sparsity weight and of k (:mod:`methods.sae.warm_up`).
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor


class Start(NamedTuple):
    """Initial parameters of a linear autoencoder, as the library draws them."""

    weight: Tensor
    """(n_units, d_in) encoder"""
    bias: Tensor
    """(n_units,) encoder"""
    atoms: Tensor
    """(n_units, d_out) decoder, rows not normalised yet"""


def build(name: str, *args: Any, seed: int, **kwargs: Any) -> Any:
    """Return the library's module ``overcomplete.sae.<name>`` with weights drawn under ``seed``, on the CPU."""
    # The import takes seconds: it is done only when a method is fitted, not when one is loaded or evaluated.
    import overcomplete.sae

    # The library draws from the CPU's global generator; ``torch.manual_seed`` would change those of GPUs as well.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return getattr(overcomplete.sae, name)(*args, **kwargs)


EncoderStart = Literal["dictionary", "library"]


def start(d_in: int, d_out: int, n_units: int, *, seed: int, encoder: EncoderStart = "library") -> Start:
    """Return the initial weights of the library's plain SAE; if d_in != d_out, its encoder reads another space."""
    from overcomplete.sae.factory import EncoderFactory

    if d_in == d_out:
        return start_of(build("SAE", d_out, n_units, seed=seed), encoder)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        reader = EncoderFactory.create_module("linear", d_in, n_units)
    return start_of(build("SAE", d_out, n_units, seed=seed, encoder_module=reader), encoder)


def start_of(module: Any, encoder: EncoderStart = "library") -> Start:
    """Return the initial weights of a module of the library.

    With ``encoder="dictionary"`` each encoder row is its unit atom and biases are 0 (Gao et al. 2024, App. A.1: a unit
    then fires first where its atom helps, and few units die); if the encoder reads another space than that of the
    atoms, it stays as drawn.
    """
    linear = module.encoder.final_block[0]
    weight, bias = linear.weight.detach(), linear.bias.detach()
    atoms = getattr(module.dictionary, "_weights", None)
    atoms = module.get_dictionary().detach() if atoms is None else atoms.detach()
    if encoder == "dictionary" and weight.shape == atoms.shape:
        weight, bias = atoms / (atoms.norm(dim=1, keepdim=True) + 1e-8), torch.zeros_like(bias)
    return Start(weight, bias, atoms)
