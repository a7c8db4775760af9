"""Ray as the dispatch of cells sees it, without processes: each task is answered by a function of the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class TaskError(Exception):
    """Exception of a task, with its cause, as Ray raises it."""

    cause: Exception | None = None


class LostError(Exception):
    """The worker of a task died."""


class OtherError(Exception):
    pass


class Reference:
    """Future answer of a task; equal only to itself, like Ray's references."""

    def __init__(self, function: Any, arguments: tuple[Any, ...]) -> None:
        self.function, self.arguments = function, arguments


class FakeRay:
    """Takes note of what is asked for, and answers as workers would."""

    class exceptions:
        RayTaskError = TaskError
        RayError = LostError
        TaskUnschedulableError = RuntimeEnvSetupError = OtherError

    def __init__(self, answer: Callable[[Any, tuple[Any, ...]], Any]) -> None:
        self.answer = answer
        self.asked: list[dict[str, Any]] = []
        self.calls: list[tuple[Any, tuple[Any, ...]]] = []
        self.cancelled: list[Reference] = []
        self.most = 0
        self.flying = 0

    def remote(self, function: Any) -> Any:
        fake = self

        class Task:
            def options(self, **options: Any) -> Any:
                fake.asked.append(options)
                return self

            def remote(self, *arguments: Any) -> Any:
                fake.calls.append((function, arguments))
                fake.flying += 1
                fake.most = max(fake.most, fake.flying)
                return Reference(function, arguments)

        return Task()

    def wait(self, references: list[Any], num_returns: int, timeout: float) -> Any:
        return references[:1], references[1:]

    def get(self, reference: Any) -> Any:
        self.flying -= 1
        return self.answer(reference.function, reference.arguments)

    def cancel(self, reference: Any, force: bool) -> None:
        self.flying -= 1
        self.cancelled.append(reference)
