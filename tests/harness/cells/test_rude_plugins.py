"""Methods of plugins that raise, exit, or change the process: failed cells or right numbers, and the others go on."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from plugins import clean_registries
from small_runs import suite_of

import methods
from harness.run import run
from methods.base import Dictionary
from methods.identity import Identity
from methods.process_state import restored
from results import open_store

pytestmark = pytest.mark.run


class Disguised(BaseException):
    """Exception whose attributes cannot be read."""

    __class__ = property(lambda self: 1 / 0)  # type: ignore[assignment]

    def __getattribute__(self, name: str) -> Any:
        raise SystemExit(name)

    def __bool__(self) -> bool:
        raise SystemExit


def forking(self: Any, tokens: Any, site: Any, **kwargs: Any) -> Any:
    child = os.fork()
    if child == 0:
        raise RuntimeError("of the child")
    raise ValueError(f"the child ended with {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")


class Unreadable(BaseException):
    def __str__(self) -> str:
        raise SystemExit(0)


def raising(error: BaseException) -> Callable[..., Any]:
    def fails(*_: Any, **__: Any) -> Any:
        raise error

    return fails


def in_a_thread(self: Any, tokens: Any, site: Any, **kwargs: Any) -> Any:
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    return Identity.fit(self, tokens, site, **kwargs)


def recursing(*arguments: Any, **kwargs: Any) -> Any:
    return recursing(*arguments, **kwargs)


BUFFER = torch.zeros(100_000, 1000)


def buffered(self: Any, x: torch.Tensor) -> torch.Tensor:
    BUFFER[: len(x), : x.shape[1]] = x
    return BUFFER[: len(x), : x.shape[1]]


def in_place(self: Any, x: torch.Tensor) -> torch.Tensor:
    return x.add_(1.0)


#: Name -> members that replace those of the identity, and words of the error of the cell.
RUDE: dict[str, tuple[dict[str, Any], str]] = {
    "exits": ({"fit": raising(SystemExit(0))}, "sys.exit"),
    "leaves": ({"fit": lambda *_, **__: os._exit(0)}, "os._exit"),
    "interrupts": ({"fit": raising(KeyboardInterrupt())}, "KeyboardInterrupt"),
    "generator": ({"encode": raising(GeneratorExit())}, "GeneratorExit"),
    "unreadable": ({"decode": raising(Unreadable())}, "cannot be read"),
    "disguised": ({"fit": raising(Disguised("own text"))}, "own text"),
    "forking": ({"fit": forking}, "the child ended with 1"),
    "surrogate": ({"fit": raising(ValueError("a\udc80\x1b[31mb"))}, "a\ufffd\ufffd[31mb"),
    "recursion": ({"fit": recursing}, "recursion"),
    "thread": ({"fit": in_a_thread}, "A thread of thread.fit raised ZeroDivisionError"),
    "nothing": ({"fit": lambda self, *_, **__: None}, "must return self"),
    "in_place": ({"encode": in_place}, "encode changes its input in place"),
    "sparse": ({"encode": lambda self, x: x.to_sparse()}, "must be dense"),
    "double": ({"encode": lambda self, x: x.double()}, "keep the dtype"),
    "meta": ({"encode": lambda self, x: x.to("meta")}, "keep the device"),
    "gradient": ({"encode": lambda self, x: torch.nn.Parameter(x.clone())}, "requires gradients"),
    "buffered": ({"encode": buffered}, "same memory at each call"),
    "batch": ({"encode": lambda self, x: x - x.mean(0)}, "change with the batch"),
    "parents": (
        {"dictionary": lambda self: Dictionary(torch.eye(self.n_units), torch.full((self.n_units,), 10**6), "writer")},
        "parents are outputs of the layer",
    ),
    "pickled": ({"save": lambda self, path: torch.save({}, path)}, "cannot be loaded"),
    "elsewhere": ({"save": lambda self, path: path}, "did not write the file"),
}


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    with clean_registries(), restored():
        yield


def register(name: str, **members: Any) -> None:
    methods.register(type(name, (Identity,), {"spec": Identity.spec._replace(name=name, title=name), **members}))


@pytest.mark.parametrize(
    "names",
    [
        ("exits", "unreadable", "disguised", "forking", "in_place", "thread"),
        pytest.param(tuple(RUDE), marks=pytest.mark.slow),
    ],
)
def test_each_rude_method_is_a_failed_cell_and_the_others_go_on(
    names: tuple[str, ...], photo_folder: Path, tmp_path: Path
) -> None:
    for name in names:
        register(name, **RUDE[name][0])
    evaluation = {"top_images": 6, "batch_size": 9, "metrics": ["r2"]}
    suite = suite_of(photo_folder, *names, "identity", seeds={"tokens": [1]}, evaluation=evaluation)
    summary = run(suite, tmp_path / "r.duckdb")
    cells = open_store(tmp_path / "r.duckdb").cells().set_index("method")
    for name in names:
        words = RUDE[name][1]
        assert cells.status[name] == "failed" and words in cells.error_message[name], (name, cells.error_message[name])
        assert cells.traceback[name]
    assert (summary.finished, summary.failed, summary.interrupted) == (1, len(names), False)


def test_what_a_fit_changes_is_restored_and_noted(photo_folder: Path, tmp_path: Path) -> None:
    def changing(self: Any, tokens: Any, site: Any, **kwargs: Any) -> Any:
        fitted = Identity.fit(self, tokens, site, **kwargs)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        os.chdir("/")
        sys.stdout = None  # type: ignore[assignment]
        return fitted

    register("changing", fit=changing)
    folder, stdout = Path.cwd(), sys.stdout
    evaluation = {"top_images": 6, "batch_size": 9, "metrics": ["r2"]}
    suite = suite_of(photo_folder, "changing", "identity", seeds={"tokens": [1]}, evaluation=evaluation)
    assert run(suite, tmp_path / "r.duckdb").finished == 2
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()
    assert Path.cwd() == folder and sys.stdout is stdout
    notes = open_store(tmp_path / "r.duckdb").cells().set_index("method").notes["changing"]
    assert any("torch's default dtype (torch.float32 to torch.float64)" in note for note in notes)
