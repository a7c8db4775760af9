"""Configuration and tensors of a dictionary as SAELens 6 loads them (``SAE.load_from_disk``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from methods.errors import UserError
from methods.pretrained.origins import hook_name, hook_names_of_layer
from methods.pretrained.trained_dictionary import TrainedConfig, TrainedDictionary
from methods.pretrained.weight_formats.base import Trained, tensors_of

#: Version of SAELens whose layout is written. A folder that names none is converted from that of versions before 6, and
#: its metadata are dropped.
LAYOUT_VERSION = "6.54.12"
#: Activation -> architecture. Without an activation, all units are kept, with their signs.
_ARCHITECTURES = {
    "relu": "standard",
    "topk": "topk",
    "abstopk": "abstopk",
    "linear": "abstopk",
    "jumprelu": "jumprelu",
    "gated": "gated",
}
_TRANSCODERS = {"relu": "transcoder", "jumprelu": "jumprelu_transcoder"}
_WITH_SKIP = {"relu": "skip_transcoder", "jumprelu": "jumprelu_skip_transcoder"}
#: Normalisation of each token -> its name, and the eps that SAELens adds.
_NORMALISATIONS = {"none": ("none", 0.0), "rms": ("constant_norm_rescale", 0.0), "layer_norm": ("layer_norm", 1e-5)}
_REASONS = {
    "matching_pursuit": "SAELens measures the codes of a matching pursuit in the units of the layer and stops at its "
    "own tolerance, so they would differ; the format plain has the activation",
}


def configuration(trained: Trained, provenance: Mapping[str, str]) -> dict[str, Any]:
    """Return the content of ``cfg.json``.

    Raises:
        UserError: if SAELens does not compute the dictionary.
    """
    config = trained.dictionary.config
    units, width = trained.dictionary.encoder_weight.shape
    architecture = _architecture(config)
    normalisation, eps = _NORMALISATIONS[config.token_scale]
    if config.eps != eps:
        raise UserError(f"SAELens normalises tokens with eps = {eps:g}, and the dictionary has {config.eps:g}")
    counted = {"k": units if config.activation == "linear" else config.k, "rescale_acts_by_decoder_norm": False}
    metadata = {
        **provenance,
        **_hooks(trained),
        "model_name": trained.backbone,
        "site": trained.site,
        "sae_lens_version": LAYOUT_VERSION,
    }
    return {
        "architecture": architecture,
        "d_in": width,
        "d_sae": units,
        **({"d_out": trained.dictionary.atoms.shape[1]} if config.reads == "input" else {}),
        "dtype": "float32",
        "device": "cpu",
        # b_dec is subtracted in b_enc already.
        "apply_b_dec_to_input": False,
        "normalize_activations": normalisation,
        "reshape_activations": "none",
        **(counted if architecture in ("topk", "abstopk") else {}),
        "metadata": {
            **{name: value for name, value in metadata.items() if value is not None},
            "sae_lens_training_version": None,
        },
    }


def _architecture(config: TrainedConfig) -> str:
    names = _ARCHITECTURES if config.reads == "output" else _WITH_SKIP if config.skip else _TRANSCODERS
    if config.skip and config.reads == "output":
        raise UserError("SAELens has a skip in transcoders only")
    if config.activation not in names:
        kind = "transcoder" if config.reads == "input" else "autoencoder"
        reason = f"SAELens has no {kind} with the activation {config.activation}; the format plain has it"
        raise UserError(_REASONS.get(config.activation, reason))
    return names[config.activation]


def _hooks(trained: Trained) -> dict[str, str]:
    if trained.site is None:
        return {}
    if trained.dictionary.config.reads == "output":
        return {"hook_name": hook_name(trained.site)}
    return dict(zip(("hook_name", "hook_name_out"), hook_names_of_layer(trained.site), strict=True))


def state(dictionary: TrainedDictionary) -> dict[str, Tensor]:
    """Return the tensors of ``sae_weights.safetensors``.

    Raises:
        UserError: if a gated dictionary has a scale that is not positive, whose logarithm SAELens stores.
    """
    tensors = tensors_of(dictionary)
    named = {
        "W_enc": tensors["encoder_weight"].T.contiguous(),
        "W_dec": tensors["atoms"],
        "b_dec": tensors["output_bias"],
    }
    if dictionary.config.activation == "gated":
        scale = tensors["value_scale"]
        if not bool((scale > 0).all()):
            raise UserError("SAELens stores the logarithm of value_scale, which must be positive for each unit")
        return {**named, "b_gate": tensors["encoder_bias"], "r_mag": scale.log(), "b_mag": tensors["value_bias"]}
    named["b_enc"] = tensors["encoder_bias"]
    further = {"threshold": "threshold", "skip_weight": "W_skip"}
    return named | {further[name]: tensor for name, tensor in tensors.items() if name in further}
