"""Methods that read more than tokens: pixels, class names, and gradients of the network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from methods.base import Dictionary, Learner, MethodSpec


class Directions(Learner):
    """Codes are coordinates along fitted directions, and decode adds them up."""

    fitted = ("readers", "atoms", "mean")

    readers: Tensor
    """(n_units, d_out)"""
    atoms: Tensor
    """(n_units, d_out)"""
    mean: Tensor

    def encode(self, x: Tensor) -> Tensor:
        return (x - self.mean.to(x)) @ self.readers.T.to(x)

    def decode(self, codes: Tensor, x: Tensor | None = None) -> Tensor:
        return codes @ self.atoms.to(codes) + self.mean.to(codes)

    def dictionary(self) -> Dictionary:
        return Dictionary(self.atoms, None, "writer")

    @property
    def n_units(self) -> int:
        return len(self.atoms)

    def _set(self, directions: Tensor, mean: Tensor) -> None:
        self.readers, self.mean = directions.contiguous(), mean
        self.atoms = torch.linalg.pinv(directions.double()).T.float().contiguous()


class MeanColour(Directions):
    """Three units: the red, green and blue of the pixels that each token covers, as linear functions of the output."""

    spec = MethodSpec(
        "mean_colour", "mean colour", "mine", "output", "the tests", training_free=True, uses_seed=False,
        reads_images=True,
    )  # fmt: skip

    def learn(self, tokens: Any, site: Any, seed: int, device: Any, progress: Any) -> None:
        pictures: dict[tuple[int, int], Tensor] = {}
        rows = [row for row in range(tokens.n) if tokens.position[row] >= 0]
        colours = []
        for row in rows:
            key = int(tokens.image[row]), int(tokens.view[row])
            if key not in pictures:
                pictures[key] = tokens.pixels(*key).float() / 255
            top, left, bottom, right = tokens.box(int(tokens.position[row]))
            colours.append(pictures[key][:, top:bottom, left:right].mean((1, 2)))
        a = tokens.gather("output", rows)
        mean = a.mean(0)
        colour = torch.stack(colours)
        solution = torch.linalg.lstsq((a - mean).double(), (colour - colour.mean(0)).double()).solution
        self._set(solution.T.float(), mean)


class NamedClasses(Directions):
    """One unit per class, in the alphabetical order of the names: the mean output of the class."""

    spec = MethodSpec(
        "named_classes", "named classes", "mine", "output", "the tests", training_free=True, uses_seed=False,
        supervised=True, reads_class_names=True,
    )  # fmt: skip

    names: tuple[str, ...] = ()

    def learn(self, tokens: Any, site: Any, seed: int, device: Any, progress: Any) -> None:
        a = tokens.gather("output", range(tokens.n))
        names = tokens.class_names
        order = sorted(range(len(names)), key=lambda label: names[label])
        self.names = tuple(names[label] for label in order)
        means = [a[torch.from_numpy(tokens.label == label)].mean(0) for label in order]
        self._set(torch.stack(means) - a.mean(0), a.mean(0))

    def extra_state(self) -> dict[str, Any]:
        return {"names": list(self.names)}

    def restore_extra(self, extra: dict[str, Any]) -> None:
        self.names = tuple(extra["names"])


class ClassGradients(Directions):
    """One unit per class of the network's head: the mean gradient of its logit with respect to the layer's output."""

    spec = MethodSpec(
        "class_gradients", "class gradients", "mine", "output", "the tests", uses_seed=False,
        reads_images=True, needs_network=True,
    )  # fmt: skip

    def learn(self, tokens: Any, site: Any, seed: int, device: Any, progress: Any) -> None:
        network = site.network
        pixels = torch.stack([tokens.pixels(image) for image in sorted({int(image) for image in tokens.image})])
        outputs: list[Tensor] = []

        def edit(a: Tensor) -> Tensor:
            outputs.append(a.detach().requires_grad_())
            return outputs[0]

        logits = network.logits(network.inputs(pixels), edit)
        directions = [
            torch.autograd.grad(logits[:, number].sum(), outputs[0], retain_graph=True)[0].mean((0, 1))
            for number in range(network.n_classes)
        ]
        mean = tokens.gather("output", range(tokens.n)).mean(0)
        self._set(torch.stack(directions).cpu(), mean)


ALL = (MeanColour, NamedClasses, ClassGradients)
