"""Replay of training steps as a CUDA graph: one launch per step in place of a hundred.

At the usual sizes a GPU computes an operation of a step faster than Python can launch the next one. A CUDA graph
records the operations of one step, with the addresses of their tensors, and launches them together. Everything that
changes from step to step must therefore be a tensor on the device that keeps its place: batch, learning rate,
parameters, sums.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from methods.errors import ArgumentError, first_line
from methods.training.cuda_graphs import CudaGraphs

#: Environment variable that turns graphs off. It is no setting of a method: it changes no result.
VARIABLE = "HARNESS_TRAINING_GRAPHS"
AUTO, OFF = "auto", "off"

#: Steps on batches of one shape that are computed before such a step is recorded. They are steps of the training like
#: all others. CUDA needs three, in which libraries allocate and choose their kernels. The harness reads the parameters
#: in the first 16 steps of a fit, as evidence of what the fit does (``harness/cells/fit_evidence.py``).
WARM_UP_STEPS = 20

#: A training of fewer steps is not recorded: it would not regain the time that recording takes.
LEAST_STEPS = 100

#: Largest difference between a replayed and a computed step, relative to that between two computed steps. Most steps
#: give the same bits again, and then a replay must do so, too. Sums by atomic additions (``index_add_``) are taken in
#: any order: 1e-6 of a gradient, which Adam raises where entries are small. As norms over all entries, two such
#: differences are of about the same size.
NOISE_FACTOR = 10.0

#: Largest difference between two computed steps with which a replay is trusted: with more, as by random numbers, the
#: comparison shows nothing.
MOST_NOISE = 0.05


class Observer(Protocol):
    """Count of the steps of trainings from outside, by hooks of PyTorch, which see computed steps only."""

    def count_replays(self, steps: int) -> None:
        """Add replayed steps."""

    def mark(self) -> object:
        """Return the counts so far."""

    def rewind(self, mark: Any) -> None:
        """Set the counts back to what :meth:`mark` returned: the steps since then are none of the training."""


OBSERVERS: list[Observer] = []

#: Values of one step, as tensors.
R = TypeVar("R", bound=tuple[Tensor, ...])


class Recording(Protocol):
    """A recorded step."""

    def replay(self) -> None:
        """Do the recorded operations again, on the tensors with which they were recorded."""

    def free(self) -> None:
        """Release the memory of the recorded operations."""


class Backend(Protocol):
    """Recorder of steps for one device. Tests have one for the CPU."""

    def apart(self) -> AbstractContextManager[None]:
        """Return the context of steps before the recording."""

    def strict(self) -> AbstractContextManager[None]:
        """Return a context in which an operation that cannot be recorded raises an error."""

    def record(self, step: Callable[[], None]) -> Recording:
        """Record the operations of a function. Nothing is computed: tensors that it returns are filled by a replay."""


def backend_for(device: torch.device) -> Backend | None:
    """Return the recorder for a device; None if there is none, or :data:`VARIABLE` turns graphs off.

    Raises:
        ArgumentError: if the variable has another value than "auto" and "off".
    """
    choice = os.environ.get(VARIABLE) or AUTO
    if choice not in (AUTO, OFF):
        raise ArgumentError(f"{VARIABLE} is {choice!r}; it must be one of {AUTO!r}, {OFF!r}.")
    return CudaGraphs(device) if device.type == "cuda" and choice == AUTO else None


class Steps(Generic[R]):
    """Steps of a training: computed at first, then replayed if their batch has the recorded shape.

    The step after the recording is computed twice and replayed, from the same state. If the replay differs, or a step
    cannot be recorded, all steps are computed, and a note says why. Results are then those of computed steps.

    Args:
        step: function of the tensors of a batch that changes the state in place, and returns tensors.
        state: returns all tensors that a step reads and changes; called after the first step only.
        module: what a step sets in the attributes of this module is undone where the step does not count.
        backend: None to compute all steps.
        note: receives a sentence if steps cannot be replayed.
        raises: returns True for an error of the recording that the caller handles.
    """

    def __init__(
        self,
        step: Callable[..., R],
        state: Callable[[], Iterable[Tensor]],
        module: nn.Module,
        backend: Backend | None,
        *,
        note: Callable[[str], None],
        raises: Callable[[BaseException], bool] = lambda error: False,
    ) -> None:
        self._step, self._state, self._module, self._note, self._raises = step, state, module, note, raises
        self._backend = backend
        self._computed: Counter[tuple[torch.Size, ...]] = Counter()
        self._recording: Recording | None = None
        self._inputs: tuple[Tensor, ...] = ()
        self._result: R | None = None
        self._at_recording: _Attributes | None = None
        """keeps the tensors that the recording reads, also if a step replaces them"""
        self._trusted = False

    def __call__(self, *batch: Tensor) -> R:
        """Make one step. The returned tensors are overwritten by the next one."""
        if self._backend is None:
            return self._step(*batch)
        if self._recording is not None:
            if _shapes(batch) != _shapes(self._inputs):
                return self._step(*batch)
            if not self._trusted:
                return self._compared(self._recording, batch)
            for observer in list(OBSERVERS):
                observer.count_replays(1)
            return self._replayed(self._recording, batch)
        self._computed[_shapes(batch)] += 1
        if self._computed[_shapes(batch)] < WARM_UP_STEPS:
            with self._backend.apart():
                return self._step(*batch)
        result = self._strictly(self._backend, batch)
        if self._backend is not None:
            self._record(self._backend, batch)
        return result

    def close(self) -> None:
        """Release the memory of the recording; later steps are computed."""
        recording, self._recording, self._backend = self._recording, None, None
        self._inputs, self._result, self._at_recording = (), None, None
        if recording is not None:
            recording.free()

    # ---- parts

    def _strictly(self, backend: Backend, batch: tuple[Tensor, ...]) -> R:
        """Compute a step, and see whether it can be recorded."""
        before: list[Tensor] = []
        attributes, marks = _Attributes(self._module), _marks()
        try:
            before = _copies(self._all_state())
            with backend.apart(), backend.strict():
                return self._step(*batch)
        except Exception as error:
            self._set_back(attributes, before, marks)
            self._give_up(error)
        return self._step(*batch)

    def _record(self, backend: Backend, batch: tuple[Tensor, ...]) -> None:
        """Record the step that was just computed; this is no step of the training."""

        def step() -> None:
            self._result = self._step(*self._inputs)

        self._at_recording, marks = _Attributes(self._module), _marks()
        try:
            try:
                self._inputs = tuple(part.clone() for part in batch)
                self._recording = backend.record(step)
            finally:
                self._at_recording.restore()
                _rewind(marks)
        except Exception as error:
            self._give_up(error)

    def _replayed(self, recording: Recording, batch: tuple[Tensor, ...]) -> R:
        assert self._result is not None
        for part, values in zip(self._inputs, batch, strict=True):
            part.copy_(values)
        recording.replay()
        return self._result

    def _compared(self, recording: Recording, batch: tuple[Tensor, ...]) -> R:
        """Compute a step twice, replay it from the same state, and keep the replayed one if they agree.

        Batch and learning rate are not those of the recorded step, so a value that does not follow them is noticed.
        """
        before: list[Tensor] = []
        after: list[Tensor] = []
        attributes, marks = _Attributes(self._module), _marks()
        result: R | None = None
        try:
            before = _copies(self._all_state())
            result = self._step(*batch)
            attributes_after, marks_after = _Attributes(self._module), _marks()
            computed = [*_copies(self._all_state()), *_copies(result)]
            after = computed[: len(before)]
            unchanged = [*before, *(torch.zeros_like(part) for part in result)]
            self._set_back(attributes, before, marks_after)
            again = self._step(*batch)
            noise = largest_difference(computed, [*self._all_state(), *again], unchanged)
            self._set_back(attributes, before, marks_after)
            replayed = self._replayed(recording, batch)
            difference = largest_difference(computed, [*self._all_state(), *replayed], unchanged)
            if noise <= MOST_NOISE and difference <= NOISE_FACTOR * noise:
                self._trusted = True
                attributes_after.restore()
                return replayed
            reason: Exception | str = (
                f"a replayed step differs from a computed one by {difference:.2g} of its change, two computed steps by "
                f"{noise:.2g}"
            )
        except Exception as error:
            reason = error
        if after and result is not None:
            self._set_back(attributes_after, after, marks_after)
            self._give_up(reason)
            return result
        self._set_back(attributes, before, marks)
        self._give_up(reason)
        return self._step(*batch)

    def _all_state(self) -> list[Tensor]:
        """Return the tensors of the state, and those that are plain attributes of the module and its parts."""
        attributes = [value for part in self._module.modules() for value in vars(part).values()]
        return [*self._state(), *(value for value in attributes if isinstance(value, Tensor))]

    def _set_back(self, attributes: _Attributes, copies: Sequence[Tensor], marks: Sequence[_Mark]) -> None:
        """Undo steps: attributes, values of all tensors, and what observers have counted."""
        attributes.restore()
        with torch.no_grad():
            for tensor, copy in zip(self._all_state(), copies, strict=False):
                tensor.copy_(copy)
        _rewind(marks)

    def _give_up(self, reason: Exception | str) -> None:
        """Compute all further steps, unless the caller handles the error."""
        self.close()
        if isinstance(reason, Exception):
            if self._raises(reason):
                raise reason
            reason = first_line(reason)
        self._note(
            "Each training step was computed operation by operation, because it cannot be replayed as a CUDA graph "
            f"({reason}). Results are the same; on a GPU it takes longer."
        )


class _Attributes:
    """Attributes of a module and its parts, with numbers and tensors, to be set back to what they are now."""

    def __init__(self, module: nn.Module) -> None:
        self._kept = [(part, dict(vars(part)), dict(part._buffers)) for part in module.modules()]

    def restore(self) -> None:
        for part, attributes, buffers in self._kept:
            vars(part).clear()
            vars(part).update(attributes)
            part._buffers.clear()
            part._buffers.update(buffers)


def largest_difference(one: Iterable[Tensor], other: Iterable[Tensor], before: Iterable[Tensor]) -> float:
    """Return the largest ``|a - b| / |a - before|`` of the tensors a, b; infinite if only one of them has a NaN.

    A tensor that did not change in ``a`` must not have changed in ``b``.
    """
    largest = 0.0
    for a, b, start in zip(one, other, before, strict=True):
        a, b = a.detach(), b.detach()
        if not torch.equal(a.isnan(), b.isnan()):
            return float("inf")
        if difference := _distance(a, b):
            change = _distance(a, start)
            largest = max(largest, difference / change if change else float("inf"))
    return largest


def _distance(a: Tensor, b: Tensor) -> float:
    """Return the Euclidean distance; equal infinities, and NaN in both, are at distance 0."""
    difference = (a.float() - b.float()).nan_to_num_(nan=0.0, posinf=float("inf"), neginf=-float("inf"))
    return float(torch.linalg.vector_norm(difference, dtype=torch.float64))


#: An observer and its counts at some moment.
_Mark = tuple[Observer, object]


def _marks() -> list[_Mark]:
    return [(observer, observer.mark()) for observer in list(OBSERVERS)]


def _rewind(marks: Sequence[_Mark]) -> None:
    for observer, mark in marks:
        observer.rewind(mark)


def _shapes(batch: Sequence[Tensor]) -> tuple[torch.Size, ...]:
    return tuple(part.shape for part in batch)


def _copies(tensors: Iterable[Tensor]) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in tensors]
