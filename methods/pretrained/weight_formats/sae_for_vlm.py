"""``sae_for_vlm``: a folder of sae-for-vlm, which trains with a copy of dictionary_learning and names no model.

M. Pach, S. Karthik, Q. Bouniot, S. Belongie and Z. Akata, Sparse Autoencoders Learn Monosemantic Features in
Vision-Language Models (2025), https://github.com/ExplainableML/sae-for-vlm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from methods.errors import UserError
from methods.pretrained.source import Source
from methods.pretrained.weight_formats import FORMATS
from methods.pretrained.weight_formats.base import Trained, WeightsFormat

_CONFIG, _WEIGHTS = "config.json", "ae.pt"
_GENERAL = "dictionary_learning"
#: Names of its copy -> names of dictionary_learning 0.1.0.
_RENAMED = {"MatroyshkaBatchTopKSAE": "MatryoshkaBatchTopKSAE"}
_UNNAMED = (
    "sae-for-vlm saves neither the model nor the layer that an autoencoder was trained on, so they were not checked."
)


@FORMATS.register()
class SAEForVLM(WeightsFormat):
    """Matryoshka, BatchTopK, TopK, JumpReLU and standard autoencoders, as :mod:`.dictionary_learning` reads them.

    Its Matryoshka class has another name, and the model, layer and module in its ``config.json`` are empty.
    """

    name = "sae_for_vlm"
    description = "folder of sae-for-vlm: ae.pt and config.json, without the name of a model"
    proof = "checkpoints that the trainers of sae-for-vlm wrote (its repository of April 2025)"
    refines = frozenset({_GENERAL})

    @classmethod
    def files_of(cls, names: Sequence[str]) -> Sequence[str]:
        return (_CONFIG, _WEIGHTS) if {_CONFIG, _WEIGHTS} <= set(names) else ()

    def recognises(self, source: Source) -> bool:
        trainer = _trainer(source)
        is_unnamed = trainer.get("lm_name") == "" and trainer.get("layer") == ""
        name = trainer.get("dict_class")
        return isinstance(name, str) and (is_unnamed or name in _RENAMED)

    def read(self, source: Source) -> Trained:
        name = _trainer(source).get("dict_class")
        if not isinstance(name, str):
            raise UserError(
                f"a dictionary of sae-for-vlm is a folder with {_WEIGHTS} and the {_CONFIG} of its training, which "
                "names a dict_class"
            )
        trained = FORMATS.get(_GENERAL)().read(source.with_settings(dict_class=_RENAMED.get(name, name)))
        if trained.backbone:
            return trained
        return trained._replace(backbone=None, notes=(*trained.notes, _UNNAMED))


def _trainer(source: Source) -> dict[str, Any]:
    """Return what ``config.json`` says of the training; empty if it is no folder of this kind."""
    if not source.is_folder or source.file(_WEIGHTS) is None:
        return {}
    trainer = source.json(_CONFIG).get("trainer")
    return trainer if isinstance(trainer, dict) else {}
