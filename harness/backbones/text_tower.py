"""Text side of a two-tower model (CLIP, SigLIP), whose embeddings share a space with the image embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from harness.backbones.tensor_hash import hash_tensors

#: Prompts of the papers: Radford et al. 2021, section 3.1.4, and Zhai et al. 2023 (SigLIP).
CLIP_TEMPLATE, SIGLIP_TEMPLATE = "a photo of a {}.", "This is a photo of {}."


@dataclass(frozen=True)
class TextTower:
    """Text tower of a loaded backbone, with the map from the backbone's features to the shared space.

    Zero-shot logits are ``scale * cos(project(features), embed(text)) + bias`` (Radford et al. 2021; the bias is
    SigLIP's, Zhai et al. 2023).

    Attributes:
        embed: texts (n strings) to embeddings (n, e) float32 on the CPU, of any length.
        project: features (B, d) of the backbone to image embeddings (B, e), of any length.
        scale: factor of the cosine, positive.
        bias: added to every logit.
        template: prompt that the model was evaluated with, with ``{}`` for the class name.
        weights: tensors that the embeddings and logits depend on besides the backbone's own.
        tokenize: token ids of each text, not cut to :attr:`length`; None if unknown.
        length: number of tokens per text that the tower reads, None if unknown, or if it chooses among the tokens.
    """

    embed: Callable[[Sequence[str]], Tensor]
    project: Callable[[Tensor], Tensor]
    scale: float
    bias: float
    template: str
    weights: Mapping[str, Tensor]
    tokenize: Callable[[Sequence[str]], Sequence[Sequence[int]]] | None = None
    length: int | None = None

    def fingerprint(self) -> str:
        """Return the hash of the weights, the scale and the bias."""
        return hash_tensors(self.weights, first=f"{self.scale!r}|{self.bias!r}|")
