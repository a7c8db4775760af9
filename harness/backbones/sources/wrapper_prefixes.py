"""Names of a checkpoint's tensors without the prefixes of what the model was wrapped in when it was saved.

Data-parallel training saves ``module.blocks...``, ``torch.compile`` ``_orig_mod.blocks...``, training code
``backbone.blocks...`` beside ``head...``, self-distillation ``student.backbone...`` beside ``teacher.backbone...``.
A prefix is removed only if the names below it are all names of the architecture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from methods.errors import UserError, first_line

Convert = Callable[[dict[str, Tensor]], dict[str, Tensor]]

#: Parts of a name that torch adds at any depth, and that are part of no architecture.
_MARKERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
#: Parts of a prefix under which averaged weights are saved; they are preferred, as in timm.
_AVERAGED = {"teacher", "ema", "model_ema", "ema_model", "state_dict_ema", "averaged_model"}


class Unwrapped(NamedTuple):
    """Tensors of the architecture."""

    state: dict[str, Tensor]
    notes: tuple[str, ...]
    """sentences on tensors that were left out"""


class _Candidate(NamedTuple):
    prefix: str
    state: dict[str, Tensor]
    problems: int
    """number of missing and misshapen tensors"""


def unwrap(
    state: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    *,
    file: str,
    architecture: str,
    convert: Convert = dict,
    optional: str | None = None,
) -> Unwrapped:
    """Return the tensors under the prefix that fits the architecture best, by the architecture's names.

    Tensors outside of the prefix are left out, and a note names them. If no prefix fits completely, the tensors of the
    best one are returned, which :func:`~harness.backbones.sources.checkpoint.fill` then refuses.

    Args:
        state: tensors by name, as saved.
        expected: tensors of the architecture.
        file, architecture: names in messages.
        convert: from the names of the architecture's authors to those of ``expected``.
        optional: module whose tensors may be missing or of another shape (the classification head).

    Raises:
        UserError: if several models in the file fit, or the names cannot be converted.
    """
    state = _without_markers(state, file)
    required = {
        name: tensor for name, tensor in expected.items() if optional is None or not name.startswith(f"{optional}.")
    }
    candidates: list[_Candidate] = []
    failure: Exception | None = None
    for prefix in _prefixes(state, at_least=len(required) / 2):
        part = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        try:
            converted = convert(part)
        except Exception as error:  # the architectures' filters index and reshape whatever names they meet
            failure = failure or error
            continue
        candidates.append(_Candidate(prefix, converted, _problems(converted, required)))
        if not prefix and not candidates[0].problems:
            return Unwrapped(converted, ())
    if not candidates:
        reason = first_line(failure) if failure else "no name fits"
        raise UserError(f"{file!r} does not fit {architecture}: its tensors cannot be converted ({reason}).")
    chosen = _choose(candidates, file)
    left_out = [name for name in state if not name.startswith(chosen.prefix)]
    return Unwrapped(chosen.state, (_note(left_out, chosen.prefix, file),) if left_out else ())


def _without_markers(state: Mapping[str, Tensor], file: str) -> dict[str, Tensor]:
    renamed = {".".join(part for part in name.split(".") if part not in _MARKERS): name for name in state}
    if len(renamed) < len(state):
        raise UserError(
            f"{file!r} holds parameters twice, with and without {' or '.join(_MARKERS)} in their names: save one of "
            "the two models alone."
        )
    return {short: state[name] for short, name in renamed.items()}


def _prefixes(state: Mapping[str, Tensor], *, at_least: float) -> list[str]:
    """Return the dotted prefixes that so many names share, the shortest first, beginning with the empty one."""
    shared: Counter[str] = Counter()
    for name in state:
        parts = name.split(".")
        shared.update(".".join(parts[:depth]) + "." for depth in range(1, len(parts)))
    return ["", *sorted((prefix for prefix, count in shared.items() if count >= at_least), key=len)]


def _problems(state: Mapping[str, Tensor], required: Mapping[str, Tensor]) -> int:
    return sum(name not in state or state[name].shape != tensor.shape for name, tensor in required.items())


def _choose(candidates: list[_Candidate], file: str) -> _Candidate:
    fitting = [candidate for candidate in candidates if not candidate.problems]
    if len(fitting) < 2 or all(_equal(fitting[0].state, other.state) for other in fitting[1:]):
        return min(candidates, key=lambda candidate: candidate.problems)
    averaged = [candidate for candidate in fitting if _AVERAGED & set(candidate.prefix.split("."))]
    if len(averaged) != 1:
        names = ", ".join(repr(candidate.prefix) for candidate in fitting)
        raise UserError(f"{file!r} holds several models that fit, under {names}: save one of them alone.")
    return averaged[0]


def _equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def _note(left_out: list[str], prefix: str, file: str) -> str:
    groups = Counter(_group(name, prefix) for name in left_out)
    listed = ", ".join(
        f"{group} ({count} tensor{'s' if count > 1 else ''})" for group, count in list(groups.items())[:5]
    )
    more = f" and {len(groups) - 5} more" if len(groups) > 5 else ""
    return f"Of {file!r}, the weights under {prefix!r} are used; the others are ignored: {listed}{more}."


def _group(name: str, prefix: str) -> str:
    """Return the shortest prefix of a name that is not one of ``prefix``, such as ``teacher.head.*``."""
    parts, chosen = name.split("."), prefix.split(".")
    common = 0
    while common < min(len(parts), len(chosen)) and parts[common] == chosen[common]:
        common += 1
    shortest = ".".join(parts[: common + 1])
    return shortest if len(parts) == common + 1 else f"{shortest}.*"
