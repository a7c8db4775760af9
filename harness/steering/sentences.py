"""Similarity of texts by their embeddings, as in the paper: the cosine of a SentenceTransformer's representations."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.steering.matching import TextMatcher

if TYPE_CHECKING:
    import torch

    from harness.steering.sentence_models import SentenceModel

#: Characters of a text that are read; a model reads a few hundred tokens.
MOST_CHARACTERS = 10_000
#: Texts that are embedded at once.
BATCH = 64
#: Labels that are compared with all concepts at once.
_BLOCK = 1 << 14


class SentenceMatcher(TextMatcher):
    """Cosine similarity of sentence embeddings.

    Control characters and underscores in texts are read as spaces, since class names of folders are written
    ``golden_retriever``. A text without a word that the model reads, for example an empty one, has similarity 0 to
    every other text: its embedding would be that of the special tokens, which is close to many short texts.

    Attributes:
        name: name of the model without its folder or owner.
        model: its transformer, tokenizer and pooling.
        threshold: 0.45, chosen for MiniLM by looking at the pairs of the shipped concepts and the class names of
            ImageNet-1k: 0.6 % of them are above. Related ones are (dog and Kerry blue terrier 0.46, car and motor
            scooter 0.46), most others not (hat and hen 0.43, tree and necklace 0.43); dog and car are at 0.48.
            Other models have other ranges.
    """

    threshold = 0.45

    def __init__(self, name: str, model: SentenceModel, device: str | torch.device = "cpu") -> None:
        self.name = name
        self.model = model
        self.device = device

    @property
    def id(self) -> str:
        return f"sentences/{self.name}@{self.model.fingerprint}"

    def similarity(self, concepts: Sequence[str], labels: Sequence[str]) -> NDArray[np.float32]:
        first, second = [plain(text) for text in concepts], [plain(text) for text in labels]
        # Sorted by length for little padding, and by text so that the order of the arguments does not matter.
        texts = sorted({*first, *second}, key=lambda text: (len(text), text))
        position = {text: index for index, text in enumerate(texts)}
        embeddings = self.embeddings(texts)
        rows = embeddings[[position[text] for text in first]]
        columns = np.array([position[text] for text in second], dtype=np.int64)
        result = np.empty((len(first), len(second)), dtype=np.float32)
        for start in range(0, len(second), _BLOCK):
            block = columns[start : start + _BLOCK]
            np.clip(rows @ embeddings[block].T, -1, 1, out=result[:, start : start + len(block)])
        for index, text in enumerate(first):
            if text:
                # Not 1 - 1e-7; and a text of unread words equals itself.
                result[index, columns == position[text]] = 1
        return result

    def embeddings(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the embeddings (n, d) of unit length; zero for texts without a word that the model reads."""
        import torch

        transformer = self.model.model.to(self.device)
        rows = []
        with torch.inference_mode():
            for start in range(0, len(texts), BATCH):
                batch = self._tokens(texts[start : start + BATCH])
                hidden = transformer(**batch).last_hidden_state
                rows.append(self._pooled(hidden, batch["attention_mask"]).cpu().numpy())
        width = int(self.model.model.config.hidden_size)
        result: NDArray[np.float32] = np.concatenate(rows) if rows else np.zeros((0, width), dtype=np.float32)
        result[~np.fromiter(self._are_read(texts), dtype=bool, count=len(texts))] = 0
        return result

    def _tokens(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Return the inputs of the transformer for a batch."""
        layout = self.model.layout
        prompted = [layout.prompt + text for text in texts]
        tokens = self.model.tokenizer(
            [text.lower() for text in prompted] if layout.lower else prompted,
            padding=True,
            truncation=True,
            max_length=self.model.max_length,
            return_tensors="pt",
        )
        return {name: value.to(self.device) for name, value in tokens.items()}

    def _pooled(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the embeddings (B, d) of unit length of tokens (B, T, d) with the mask (B, T) of their texts."""
        import torch

        if self.model.layout.pooling == "cls":
            # The first token that is no padding; some tokenizers pad on the left.
            pooled = hidden[torch.arange(len(hidden)), mask.argmax(dim=1)]
        else:
            weights = mask[..., None].to(hidden)
            pooled = (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)
        return torch.nn.functional.normalize(pooled, dim=1)

    def _are_read(self, texts: Sequence[str]) -> Iterable[bool]:
        """Yield for each text if it has a token that is neither special nor that of unknown words."""
        special = set(self.model.tokenizer.all_special_ids)
        for start in range(0, len(texts), BATCH):
            batch = list(texts[start : start + BATCH])
            ids = self.model.tokenizer(
                batch, add_special_tokens=False, truncation=True, max_length=self.model.max_length
            )
            yield from (not special.issuperset(row) for row in ids["input_ids"])


def plain(text: str) -> str:
    """Return at most 10,000 characters of a text, with single spaces for control characters, underscores and spaces.

    Lone surrogates, which tokenizers cannot read, are spaces too.
    """
    return " ".join("".join(" " if _is_space(char) else char for char in text[:MOST_CHARACTERS]).split())


def _is_space(char: str) -> bool:
    return char == "_" or (not char.isprintable() and unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp"))
