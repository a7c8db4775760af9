"""A plugin file for test_ray.py: what workers must register too, and methods that take their worker down."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import tiny_backbones  # noqa: F401 - registers them
import torch
from safetensors.torch import load_file, save_file

from methods import register
from methods.additive import AdditiveSplit
from methods.atomic import partial_file
from methods.base import MethodConfig, MethodSpec
from methods.divisible import DivisibleFit
from methods.random_split import RandomSplit, RandomSplitConfig


class MortalConfig(RandomSplitConfig):
    parts: int = 2
    once: str = ""
    """a file: the process is killed unless it is there, and it is made; empty: the process is killed every time"""


@register
class Mortal(RandomSplit):
    """Kills its own process in the middle of a fit, as the kernel does where memory runs out."""

    spec = RandomSplit.spec._replace(name="mortal", title="mortal")
    Config = MortalConfig

    def fit(self, *args: Any, **kwargs: Any) -> Mortal:
        once = Path(self.config.once) if self.config.once else None
        if once is None or not once.exists():
            if once is not None:
                once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        super().fit(*args, **kwargs)
        return self


@register
class Raising(RandomSplit):
    spec = RandomSplit.spec._replace(name="raising", title="raising")

    def fit(self, *args: Any, **kwargs: Any) -> Raising:
        raise RuntimeError("no more ideas")


class MortalPartsConfig(MethodConfig):
    once: str = ""
    """a file: the process of the first part is killed unless it is there, and it is made; empty: killed every time"""


@register
class MortalParts(AdditiveSplit, DivisibleFit):
    """Halves each neuron, a file per neuron; the process of the first part is killed after its first neuron."""

    spec = MethodSpec("mortal_parts", "mortal parts", "split", "input", "here", training_free=True, lossless=True)
    Config = MortalPartsConfig

    @classmethod
    def fit_items(cls, config: MethodConfig, site: Any) -> int:
        return int(site.d_out)

    def fit_part(self, tokens: Any, site: Any, items: range, **options: Any) -> None:
        assert self.work_dir is not None
        for unit in items:
            file = self.work_dir / f"{unit}.safetensors"
            if file.exists():
                continue
            half = site.weight[unit].detach().cpu() * torch.tensor([[0.25], [0.75]])
            with partial_file(file) as partial:
                save_file({"weights": half, "process": torch.tensor(os.getpid())}, partial)
            once = Path(self.config.once)
            if unit == 0 and not (self.config.once and once.exists()):
                if self.config.once:
                    once.touch()
                os.kill(os.getpid(), signal.SIGKILL)

    def fit(self, tokens: Any, site: Any, *, device: Any = "cpu", **options: Any) -> MortalParts:
        self.fit_part(tokens, site, range(site.d_out))
        assert self.work_dir is not None
        parts = [load_file(self.work_dir / f"{unit}.safetensors") for unit in range(site.d_out)]
        bias = site.bias.detach().cpu()
        self.assemble([part["weights"] for part in parts], [torch.tensor([0.25, 0.75]) * value for value in bias])
        self.notes = [f"processes: {len({int(part['process']) for part in parts})}"]
        return self.to(device)


class RaisingPartsConfig(MethodConfig):
    pass


@register
class RaisingParts(MortalParts):
    spec = MortalParts.spec._replace(name="raising_parts", title="raising parts")
    Config = RaisingPartsConfig

    def fit_part(self, tokens: Any, site: Any, items: range, **options: Any) -> None:
        raise RuntimeError("no part of it")
