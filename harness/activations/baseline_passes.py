"""Passes that measure the unmodified network on an evaluation split, and the network with the layer ablated."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from harness.activations.forward import Passed, Passes
from harness.activations.heads.base import Head, predictions
from harness.activations.token_writer import TokenWriter
from harness.datasets.loading import BrokenReport
from methods.base import Progress
from methods.tracing import traced

#: Names inside a baseline's folder: outputs of all tokens, states before the site, logits, outcomes of the floors.
TOKENS, STATES, LOGITS, OUTCOMES = "tokens", "states.f32", "logits.f32", "outcomes.npz"


@dataclass
class _Predictions:
    """Correct and unchanged predictions of the images so far."""

    predicts_labels: bool
    labelled: int = 0
    correct: list[Tensor] = field(default_factory=list)
    unchanged: list[Tensor] = field(default_factory=list)

    def add(self, logits: Tensor, clean: Tensor, labels: Tensor) -> None:
        labelled = labels >= 0
        predicted = predictions(logits)
        self.labelled += int(labelled.sum())
        self.correct.append(labelled & (predicted == labels))
        self.unchanged.append(predicted == clean.argmax(-1))

    def outcomes(self) -> np.ndarray:
        """Return (2, n) bool: the images that are correct, and those that are unchanged."""
        return torch.stack([torch.cat(self.correct), torch.cat(self.unchanged)]).numpy()

    def fractions(self) -> list[float | None]:
        """Return [accuracy or None, agreement]."""
        correct, unchanged = self.outcomes()
        accuracy = int(correct.sum()) / self.labelled if self.predicts_labels and self.labelled else None
        return [accuracy, int(unchanged.sum()) / len(unchanged)]


@dataclass
class _Original:
    """Results of the unmodified pass."""

    similarity: CrossImageSimilarity
    total: Tensor
    predictions: _Predictions
    n_tokens: int = 0
    index: list[Tensor] = field(default_factory=list)
    states: tuple[int, ...] | None = None
    n_classes: int = 0


@dataclass
class BaselinePasses:
    """Three passes over the split, with the results written to one folder.

    Memory does not grow with the number of images.
    """

    passes: Passes
    head: Head
    progress: Progress
    report: BrokenReport

    def write(self, folder: Path, dtype: str) -> None:
        """Write the outputs, logits, states and, last of all, ``meta.json`` to ``folder``."""
        writer = TokenWriter(folder / TOKENS, dtype=dtype, description={"split": "evaluation"})
        try:
            with open(folder / LOGITS, "wb") as logits:
                original = self._original(writer, logits, folder / STATES)
            writer.finish(self.report.of(self.passes.images))
        finally:
            writer.discard()
        index = torch.cat(original.index)
        np.save(folder / "index.npy", index.numpy(), allow_pickle=False)
        clean = np.memmap(folder / LOGITS, np.float32, mode="r", shape=(len(index), original.n_classes))
        resumed = self.passes.resuming_from(folder / STATES, original.states, index.numpy())
        mean = (original.total / (len(index) * original.n_tokens)).float().to(self.passes.backbone.device)
        floors = {"original": original.predictions}
        for name, constant in (("zero", torch.zeros_like(mean)), ("mean", mean)):
            done, floors[name] = 0, _Predictions(self.head.predicts_labels)
            for passed in resumed.run(_always(constant)):
                rows = torch.from_numpy(np.array(clean[done : done + len(passed.image)]))
                floors[name].add(self._logits(passed, f"{name}-ablated"), rows, self._labels(passed))
                done += len(passed.image)
        np.savez(folder / OUTCOMES, allow_pickle=False, **{name: floor.outcomes() for name, floor in floors.items()})
        null = original.similarity.compute()
        meta = {
            "n_tokens": original.n_tokens,
            "n_classes": original.n_classes,
            "null_similarity": None if math.isnan(null) else null,
            "states": original.states,
            "floors": {name: floor.fractions() for name, floor in floors.items()},
            "head": self.head.fingerprint(),
        }
        (folder / "meta.json").write_text(json.dumps(meta))

    def _original(self, writer: TokenWriter, file: IO[bytes], states_file: Path) -> _Original:
        """Run the unmodified pass: write outputs to ``writer``, logits to ``file``, states to ``states_file``."""
        passes, width = self.passes, self.passes.site.d_out
        result = _Original(
            CrossImageSimilarity(width),
            torch.zeros(width, dtype=torch.float64),
            _Predictions(self.head.predicts_labels),
        )
        outputs = torch.empty(0)
        first: tuple[Tensor, Tensor] | None = None

        def observe(q: Tensor, a: Tensor) -> None:
            nonlocal outputs
            outputs = a.float().cpu()

        states = passes.state_writer(states_file)
        for passed in passes.run(observe, report=self.report, writer=states):
            result.n_tokens = outputs.shape[1]
            result.similarity.update(outputs)
            result.total += outputs.double().sum((0, 1))
            image = passed.image.repeat_interleave(result.n_tokens).numpy()
            position = passes.site.positions(result.n_tokens).repeat(len(outputs)).numpy()
            writer.add(image, position, passes.images.labels[image], output=outputs.flatten(0, 1))
            result.index.append(passed.image)
            first = (passed.features, outputs) if first is None else first
            logits = self._logits(passed, "original")
            result.n_classes = logits.shape[1]
            file.write(np.ascontiguousarray(logits.numpy()).data)
            result.predictions.add(logits, logits, self._labels(passed))
        if first is not None:
            result.states = passes.finish_states(states, states_file, torch.cat(result.index).numpy(), first)
        return result

    def _labels(self, passed: Passed) -> Tensor:
        return self.head.targets(torch.from_numpy(self.passes.images.labels)[passed.image])

    @traced("head and copies of logits to the host")
    def _logits(self, passed: Passed, network: str) -> Tensor:
        total = len(self.passes.images)
        self.progress(min(int(passed.image[-1]) + 1, total), total, f"evaluation images, {network} network")
        with torch.inference_mode():
            return self.head.logits(passed.features).float().cpu()


def _always(constant: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a tap that replaces every token by one vector (d_out,)."""
    return lambda q, a: constant.to(a).expand_as(a)


class CrossImageSimilarity:
    """Exact mean cosine between tokens of different images, computed in one pass.

    With s_i the sum of the unit vectors of image i's T tokens:
    ``(|sum_i s_i|^2 - sum_i |s_i|^2) / ((n T)^2 - n T^2)``.
    """

    def __init__(self, width: int) -> None:
        self.total = torch.zeros(width, dtype=torch.float64)
        self.within = 0.0
        self.tokens = 0
        self.same_image_pairs = 0

    @traced("similarity of images, in float64 on the CPU")
    def update(self, outputs: Tensor) -> None:
        """Add whole images: outputs (B, T, d)."""
        rows = outputs.double()
        directions = rows / rows.norm(dim=-1, keepdim=True).clamp_min(1e-30)
        summed = directions.sum(1)
        self.total += summed.sum(0)
        self.within += float((summed**2).sum())
        self.tokens += outputs.shape[0] * outputs.shape[1]
        self.same_image_pairs += outputs.shape[0] * outputs.shape[1] ** 2

    def compute(self) -> float:
        """Return the mean cosine; NaN for fewer than two images."""
        pairs = self.tokens**2 - self.same_image_pairs
        return (float((self.total**2).sum()) - self.within) / pairs if pairs else math.nan
