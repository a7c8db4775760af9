"""Vision-language models run locally by vLLM's offline engine, each in a process of its own with its GPUs.

The settings are the paper's (App. B.1). Calls are checked against the signatures of the version in
``tests/fixtures/vllm_signatures.json``.
"""

from __future__ import annotations

import gc
import importlib
import os
import re
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from PIL import Image
from pydantic import ValidationError

from judges.base import Judge, Keep, Question, Reply
from judges.grids import Album, Grid
from judges.panel import PANELS, SETTINGS, Wanted
from judges.prompt import Prompt, reply_schema
from judges.sampling import SEED, LanguageModelJudge, optional_package, requested_models, sampling_of
from judges.vllm_options import MAX_MODEL_LEN, MAX_NUM_SEQS, REASON_CHARS, VllmOptions
from methods.errors import UserError, first_line
from methods.setting_problems import quoted, reason

#: Questions that the engine has at a time: it computes :data:`MAX_NUM_SEQS` of them, and others wait for their places.
IN_FLIGHT = 2 * MAX_NUM_SEQS
#: An engine that refuses this many questions in a row will refuse all.
GIVE_UP_AFTER = 32

#: vLLM's own messages belong to stderr, since stdout may be read by programs; nothing is sent to its authors.
ENVIRONMENT = {
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
}


class VllmJudge(LanguageModelJudge):
    """One model: a name on the Hugging Face hub or the path of a local folder, with options of ``vllm.LLM``.

    It is loaded when it is entered as a context manager, and removed from the GPU on exit.
    """

    kind = "vllm"
    own_process = True

    def __init__(self, model: str, options: VllmOptions) -> None:
        super().__init__(model)
        self._options = options
        self._engine: Any = None

    @property
    def n_gpus(self) -> int:
        return self._options.tensor_parallel_size

    def settings(self) -> dict[str, Any]:
        bounds = {"max_model_len": MAX_MODEL_LEN, "reason_chars": REASON_CHARS}
        return {**super().settings(), **bounds, **self._options.of_replies()}

    def __enter__(self) -> VllmJudge:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        vllm = optional_package("vllm", "vllm")
        _release_cached_memory()
        try:
            self._engine = vllm.LLM(
                model=self.name,
                max_model_len=MAX_MODEL_LEN,
                max_num_seqs=MAX_NUM_SEQS,
                seed=SEED,
                **self._options.arguments(),
            )
        except Exception as error:  # vLLM's own errors have no common base but this one
            raise UserError(
                f"vLLM could not start {self.name!r}: {_reason(error).rstrip('.')}. {_advice(error)}"
            ) from error
        return self

    def __exit__(self, *exception: object) -> None:
        engine, self._engine = self._engine, None
        if engine is None:
            return
        # The engine runs in a separate process, and the next model needs the memory now, not at the next collection.
        with suppress(Exception):  # of an engine that has died before
            engine.llm_engine.engine_core.shutdown()
        del engine
        gc.collect()
        importlib.import_module("vllm.distributed.parallel_state").cleanup_dist_env_and_memory()

    def ask(self, questions: Sequence[Question], prompt: Prompt, album: Album, keep: Keep) -> None:
        """Ask all questions, always :data:`IN_FLIGHT` of them at a time, and keep each reply as it comes."""
        unanswered: list[Reply] = []
        try:
            self._ask(questions, prompt, album, keep, unanswered)
        except _EngineDied:
            # It failed them because it was dying; nothing is wrong with these questions.
            raise
        except BaseException:
            keep(unanswered)
            raise
        keep(unanswered)

    def _ask(
        self, questions: Sequence[Question], prompt: Prompt, album: Album, keep: Keep, unanswered: list[Reply]
    ) -> None:
        """Ask all questions; ``unanswered`` are failed ones since the last answer, of an engine that may be dying."""
        waiting = deque(questions)
        asked: dict[str, Question] = {}
        refused = 0
        last = time.perf_counter()
        while waiting or asked:
            while waiting and len(asked) < IN_FLIGHT:
                question = waiting.popleft()
                try:
                    request = self._enqueue(question, prompt, album)
                except Exception as error:
                    self._require_alive(error)
                    reason = f"error: {_reason(error)[:200]}"
                    unanswered.append(Reply(self.key(question, prompt), question.attempt, None, reason))
                    refused += 1
                    if refused >= GIVE_UP_AFTER:
                        raise self._stopped(f"refused {refused} questions in a row ({reason})") from error
                else:
                    asked[request] = question
                    refused = 0
            if not asked:
                continue
            if not self._engine.llm_engine.has_unfinished_requests():
                raise self._stopped(f"lost {len(asked)} questions")
            outputs = [output for output in self._step() if output.finished and output.request_id in asked]
            now = time.perf_counter()
            if outputs:
                seconds, last = (now - last) / len(outputs), now
                replies = [self._reply(asked.pop(output.request_id), prompt, output, seconds) for output in outputs]
                unanswered += [reply for reply in replies if not reply.came]
                if came := [reply for reply in replies if reply.came]:
                    keep([*unanswered, *came])
                    unanswered.clear()

    def _enqueue(self, question: Question, prompt: Prompt, album: Album) -> str:
        """Give one question to the engine and return the identifier that its output will have."""
        (request,) = self._engine.enqueue_chat(
            [_messages(question, prompt, album)], sampling_params=[_sampling_params(question, prompt)], use_tqdm=False
        )
        # The engine's own identifier is that of the request with a random part behind it.
        return str(request).partition("-")[0]

    def _step(self) -> Sequence[Any]:
        """Return the outputs that came since the last call, after waiting for some.

        Raises:
            UserError: the engine fails.
        """
        try:
            outputs: Sequence[Any] = self._engine.llm_engine.step()
        except Exception as error:
            self._require_alive(error)
            # The error does not say which of the requests it is of.
            raise self._stopped(f"failed: {_reason(error)}") from error
        return outputs

    def _reply(self, question: Question, prompt: Prompt, output: Any, seconds: float) -> Reply:
        completion = output.outputs[0]
        reason = completion.finish_reason or "unknown"
        return Reply(
            self.key(question, prompt),
            question.attempt,
            None if reason in _UNANSWERED else completion.text,
            reason,
            seconds,
            len(output.prompt_token_ids or ()),
            len(completion.token_ids),
        )

    def _require_alive(self, error: Exception) -> None:
        """Raise UserError if an error says that the engine's process has died, so that no question will be answered."""
        if "EngineDeadError" in {kind.__name__ for kind in type(error).__mro__}:
            raise self._stopped("died; its reason stands in the log above", _EngineDied) from error

    def _stopped(self, what: str, kind: type[UserError] = UserError) -> UserError:
        """Return the error of an engine that gives no more replies."""
        return kind(
            f"The vLLM engine of {self.name!r} {what.rstrip('.')}. "
            "The replies that came before are stored; repeat the command to ask the rest."
        )


class _EngineDied(UserError):
    """Error of an engine whose process has ended."""


#: Ends of a request that gave no reply.
_UNANSWERED = ("abort", "error")


def _release_cached_memory() -> None:
    """Give back what PyTorch keeps of the GPU for this process: the engine refuses to start if too little is free."""
    gc.collect()
    # Not imported for this: a process without it has no memory of the GPU.
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _reason(error: Exception) -> str:
    """Return the sentence of an error's message that says what is wrong: its first line, or its type if it has none.

    Of a pydantic error the first line is only a count; the reason follows it.
    """
    if found := _PYDANTIC_REASON.search(str(error)):
        return found.group(1)
    name = type(error).__name__
    return first_line(error).removeprefix(f"{name}: ")


#: The sentence after the count, and after the field if the error names one.
_PYDANTIC_REASON = re.compile(
    r"validation errors? for [^\n]*\n(?:[^\n]*\n)?\s*(?:Value|Assertion) error, (.*?)(?: \[type=|\n|$)"
)
#: Words of messages about memory, of vLLM and of CUDA.
_OF_MEMORY = re.compile(r"(?i)memory|kv.?cache|max_num_batched_tokens|max_model_len")


def _advice(error: Exception) -> str:
    """Return a sentence on what to do about an engine that does not start."""
    if _OF_MEMORY.search(str(error)):
        return (
            "If memory is missing: set a smaller max_num_batched_tokens, enforce_eager = true, a larger "
            "gpu_memory_utilization or tensor_parallel_size, or end other programs on the GPU."
        )
    return "`harness doctor` shows what this machine has; use --panel openai for a server on another machine."


def _messages(question: Question, prompt: Prompt, album: Album) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = [
        {"type": "image_pil", "image_pil": _picture(grid, album)} for grid in question.pictures
    ]
    return [{"role": "user", "content": [*content, {"type": "text", "text": prompt.text_for(question.concept)}]}]


def _picture(grid: Grid, album: Album) -> Image.Image:
    # Read from the file, not from memory: every kind of judge sees the same pixels.
    with Image.open(album.file(grid)) as image:
        return image.convert("RGB")


def _sampling_params(question: Question, prompt: Prompt) -> Any:
    vllm = optional_package("vllm", "vllm")
    if not prompt.structured:
        return vllm.SamplingParams(**sampling_of(question))
    structured = importlib.import_module("vllm.sampling_params").StructuredOutputsParams(
        json=reply_schema(min(REASON_CHARS, prompt.text_chars or REASON_CHARS), prompt.schema)
    )
    return vllm.SamplingParams(**sampling_of(question), structured_outputs=structured)


def judges_for(wanted: Wanted) -> tuple[Judge, ...]:
    """Return the requested models, or the paper's three.

    Raises:
        UserError: an invalid option, or an entry without a name.
    """
    judges = []
    for name, options in requested_models(wanted):
        try:
            judges.append(VllmJudge(name, VllmOptions(**options)))
        except ValidationError as error:
            raise UserError(_option_error(error)) from error
    return tuple(judges)


def _option_error(error: ValidationError) -> str:
    problem = error.errors()[0]
    where, allowed = ".".join(map(str, problem["loc"])), ", ".join(VllmOptions.model_fields)
    if problem["type"] == "extra_forbidden":
        return f"A vllm panel has no option {where!r}; allowed are {allowed}."
    return f"The option {where!r} of a vllm panel is {quoted(problem['input'])}: {reason(problem)}."


SETTINGS["vllm"] = VllmOptions
PANELS.add("vllm", judges_for, description="the paper's three vision-language models on this machine's GPU")
