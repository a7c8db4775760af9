"""Hash of values: equal for equal content in any process, different for anything that changes a result."""

from __future__ import annotations

import copy
import functools
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from methods.errors import UserError
from methods.value_hash import value_hash


def defined(source: str, name: str = "f") -> Any:
    """Return what a source text defines, as if it were a module of its own."""
    namespace: dict[str, Any] = {"__name__": "session"}
    exec(compile(textwrap.dedent(source), "<session>", "exec"), namespace)
    return namespace[name]


VALUES: list[Any] = [
    *(None, True, 1, 1.0, 2.0, -0.0, 0.0, "1", b"1", (), (1,), [1, [2]], {"a": 1}, {"a": 2}, {"b": 1}),
    *(frozenset({1, 2}), frozenset({1, 3}), float("nan")),
    *(torch.zeros(2), torch.zeros(3), torch.zeros(2, 1), torch.zeros(2, dtype=torch.float64), torch.ones(2)),
    *(torch.zeros(2, dtype=torch.bfloat16), torch.zeros(2, dtype=torch.float16), torch.zeros(2, dtype=torch.bool)),
    *(np.ones(2), np.ones(2, dtype=np.float32), np.array(["a"]), np.array([None, "a"], dtype=object), np.float32(1)),
    *(nn.Linear(2, 2, bias=False), nn.ReLU(), functools.partial(max, 1), functools.partial(max, 2)),
]


def test_different_values_have_different_hashes() -> None:
    hashes = [value_hash(value) for value in VALUES]
    assert len(set(hashes)) == len(hashes)
    assert all(len(text) == 16 and int(text, 16) >= 0 for text in hashes)


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_copy_has_the_same_hash(value: Any) -> None:
    assert value_hash(copy.deepcopy(value)) == value_hash(value)


def test_layout_in_memory_does_not_matter() -> None:
    values = torch.arange(6.0).reshape(2, 3)
    assert value_hash(values.T.contiguous().T) == value_hash(values)
    assert value_hash(values.to_sparse()) == value_hash(values)


def test_a_module_is_its_parameters_buffers_and_attributes() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    before = value_hash(module)
    module.register_forward_hook(lambda *_: None)
    module.train(not module.training)
    assert value_hash(module) == before, "hooks of observers and the mode are no content"
    changes: list[Callable[[], object]] = [
        lambda: module[1].running_mean.add_(1),
        lambda: module[0].weight.data.mul_(2),
        lambda: setattr(module[1], "eps", 0.5),
        lambda: setattr(module, "k", 3),
        lambda: setattr(module, "_cap", 3),
    ]
    seen = {before}
    for change in changes:
        change()
        seen.add(value_hash(module))
    assert len(seen) == len(changes) + 1


EDITS = {
    "the code": ("def f(x): return x + 1", "def f(x): return x + 2"),
    "a default": ("def f(x, k=1): return x + k", "def f(x, k=2): return x + k"),
    "a function that it calls": (
        "def g(x): return x\ndef f(x): return g(x)",
        "def g(x): return -x\ndef f(x): return g(x)",
    ),
    "a number of the session": ("K = 1\ndef f(x): return x + K", "K = 2\ndef f(x): return x + K"),
    "a tensor of the session": (
        "import torch\nW = torch.ones(2)\ndef f(x): return x @ W",
        "import torch\nW = torch.zeros(2)\ndef f(x): return x @ W",
    ),
    "a closure": (
        "def make(k):\n    def g(x): return x * k\n    return g\nf = make(1)",
        "def make(k):\n    def g(x): return x * k\n    return g\nf = make(2)",
    ),
    "an inner function": ("def f(x): return (lambda y: y)(x)", "def f(x): return (lambda y: -y)(x)"),
    "a method": ("class f:\n    def g(self): return 1", "class f:\n    def g(self): return 2"),
    "a base class": (
        "class A:\n    def g(self): return 1\nclass f(A): pass",
        "class A:\n    def g(self): return 2\nclass f(A): pass",
    ),
    "a property": (
        "class f:\n    @property\n    def g(self): return 1",
        "class f:\n    @property\n    def g(self): return 2",
    ),
    "a static method": (
        "class f:\n    @staticmethod\n    def g(): return 1",
        "class f:\n    @staticmethod\n    def g(): return 2",
    ),
    "a class attribute": ("class f: k = 1", "class f: k = 2"),
    "an attribute": (
        "class A:\n    def __init__(self): self.k = 1\nf = A()",
        "class A:\n    def __init__(self): self.k = 2\nf = A()",
    ),
    "a cached helper": (
        "import functools\n@functools.cache\ndef g(x): return x\ndef f(x): return g(x)",
        "import functools\n@functools.cache\ndef g(x): return -x\ndef f(x): return g(x)",
    ),
    "a cached property": (
        "import functools\nclass f:\n    @functools.cached_property\n    def g(self): return 1",
        "import functools\nclass f:\n    @functools.cached_property\n    def g(self): return 2",
    ),
    "the argument of a decorator": (
        "import functools\ndef d(k):\n    def w(g):\n        @functools.wraps(g)\n        def h(x): return k * g(x)\n"
        "        return h\n    return w\n@d(1)\ndef f(x): return x",
        "import functools\ndef d(k):\n    def w(g):\n        @functools.wraps(g)\n        def h(x): return k * g(x)\n"
        "        return h\n    return w\n@d(2)\ndef f(x): return x",
    ),
    "the body of a decorator": (
        "import functools\ndef d(g):\n    @functools.wraps(g)\n    def h(x): return g(x)\n    return h\n"
        "@d\ndef f(x): return x",
        "import functools\ndef d(g):\n    @functools.wraps(g)\n    def h(x): return -g(x)\n    return h\n"
        "@d\ndef f(x): return x",
    ),
    "the default of a field": (
        "from methods.base import MethodConfig\nclass f(MethodConfig):\n    k: int = 1",
        "from methods.base import MethodConfig\nclass f(MethodConfig):\n    k: int = 2",
    ),
    **{
        f"the global {before}": (
            f"{imports}\nK = {before}\ndef f(x): return K",
            f"{imports}\nK = {after}\ndef f(x): return K",
        )
        for imports, before, after in (
            ("", "{(1, 2): 3}", "{(1, 3): 3}"),
            ("", "range(3)", "range(4)"),
            ("", "slice(3)", "slice(4)"),
            ("import torch", "torch.float32", "torch.float64"),
            ("import torch", "torch.relu", "torch.tanh"),
            ("from pathlib import Path", "Path('a')", "Path('b')"),
            ("from fractions import Fraction", "Fraction(1, 2)", "Fraction(1, 3)"),
            ("from collections import deque", "deque([1])", "deque([2])"),
            ("import pandas as pd", "pd.Series([1.0])", "pd.Series([2.0])"),
            ("from types import SimpleNamespace as S", "S(k=1)", "S(k=2)"),
            ("class A:\n    __slots__ = ('k',)\n    def __init__(self, k): self.k = k", "A(1)", "A(2)"),
            ("class A(list): pass", "A([1])", "A([2])"),
            ("from sklearn.decomposition import PCA", "PCA(3)", "PCA(4)"),
        )
    },
    "which function is called": ("def f(x): return abs(x)", "def f(x): return max(x)"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_changes_the_hash(edit: str) -> None:
    before, after = EDITS[edit]
    assert value_hash(defined(before)) == value_hash(defined(before))
    assert value_hash(defined(before)) != value_hash(defined(after))


def test_comments_and_lines_do_not_change_it() -> None:
    plain = defined("def f(x):\n    return x + 1")
    assert value_hash(defined("# a comment\n\ndef f(x):\n    # another\n    return x + 1")) == value_hash(plain)


def test_a_global_with_the_name_of_an_attribute_does_not_matter() -> None:
    plain = defined("def f(x): return x.m")
    assert value_hash(defined("m = 3\ndef f(x): return x.m")) == value_hash(plain)


def test_what_cannot_be_read_is_never_that_of_something_else() -> None:
    import threading

    first, second = threading.Lock(), threading.Lock()
    assert value_hash(first) == value_hash(first) != value_hash(second)


def test_too_deep_an_object_is_refused_in_a_sentence() -> None:
    chain: list[Any] = []
    for _ in range(5000):
        chain = [chain]
    with pytest.raises(UserError, match="The list is nested too deeply"):
        value_hash(chain)


def test_cycles_end() -> None:
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    assert value_hash(cyclic)
    assert value_hash(defined("def f(x): return f(x - 1) if x else g(x)\ndef g(x): return f(x)"))


def test_the_hash_is_the_same_in_another_process(tmp_path: Path) -> None:
    """Also with another order of sets, and another seed of the hashes of texts."""
    script = tmp_path / "script.py"
    script.write_text(
        "import torch\nfrom methods.value_hash import value_hash\n"
        "from methods.base import MethodConfig\nclass Cfg(MethodConfig):\n    k: int = 3\n"
        "class A:\n    Config = Cfg\n    names = {'a', 'b', 'c'}\n    def f(self, x): return x in {'p', 'q', 'r'}\n"
        "a = A()\na.w = torch.arange(3.0)\nprint(value_hash(a))\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, script], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(outputs) == 1
