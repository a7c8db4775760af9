"""A plugin file for test_ray.py: what workers must register too, and methods that take their worker down."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import tiny_backbones  # noqa: F401 - registers them

from methods import register
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
