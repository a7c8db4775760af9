"""Values that dictionary() must not return: one failed check with a sentence, in a check and in an evaluation."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.cells.method_output import MethodCalls
from harness.check.methods import check_method
from harness.check.world import small_layer
from methods import UserError
from methods.base import Dictionary, Method
from methods.identity import Identity

ATOMS = torch.eye(8)


def method_class(value: Any) -> type[Method]:
    attributes = {"spec": Identity.spec._replace(name="mine"), "dictionary": lambda self: value}
    return type("Mine", (Identity,), attributes)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (ATOMS, "a Tensor; return Dictionary(atoms, parents, side) or None."),
        ((ATOMS, None, "writer"), "a tuple; return Dictionary(atoms, parents, side) or None."),
        (Dictionary(ATOMS.tolist(), None, "writer"), "atoms of the type list"),  # type: ignore[arg-type]
        (Dictionary(ATOMS[:3], None, "writer"), "atoms (3, 8); with side 'writer' they must be (8, 8)."),
    ],
)
def test_a_wrong_dictionary_is_one_sentence(value: Any, why: str) -> None:
    cls = method_class(value)
    findings = check_method(cls)
    [failed] = [finding for finding in findings if not finding.ok]
    assert failed.check == "dictionary" and failed.why.startswith(f"dictionary() returns {why}"), failed
    skipped = {finding.check for finding in findings if finding.why == "dictionary() returns no valid dictionary"}
    assert skipped == {"same dictionary at each call", "dictionary matches decode"}
    site, tokens = small_layer()
    passes: Any = SimpleNamespace(site=site)
    calls = MethodCalls(cls().fit(tokens, site), passes, [])
    with pytest.raises(UserError) as refused:
        calls.encode(tokens.fields["output"])
    assert str(refused.value).startswith(f"mine.dictionary() returns {why}")
