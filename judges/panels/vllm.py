"""Vision-language models run locally by vLLM's offline engine, one after the other on one GPU.

The settings are the paper's (App. B.1). Calls are checked against the signatures of the version in
``tests/fixtures/vllm_signatures.json``.
"""

from __future__ import annotations

import gc
import importlib
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from judges.base import Judge, Keep, Question, Reply
from judges.grids import Album, Grid
from judges.panel import PANELS, SETTINGS, Wanted
from judges.prompt import REPLY_SCHEMA, Prompt
from judges.sampling import SEED, LanguageModelJudge, optional_package, requested_models, sampling_of
from methods.errors import UserError, first_line
from methods.number_types import Real, Whole
from methods.setting_problems import quoted, reason

BATCH = 64
#: An engine that refuses this many questions, each asked alone, is considered dead.
GIVE_UP_AFTER = 8
MAX_MODEL_LEN = 32768


class VllmOptions(BaseModel):
    """Arguments of ``vllm.LLM`` that a panel may set; those that are not given keep vLLM's defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gpu_memory_utilization: Real = Field(0.9, ge=0.01, le=1, description="share of the GPU's memory that vLLM takes")
    tensor_parallel_size: Whole = Field(1, ge=1, le=1024, description="number of GPUs that share a model")
    dtype: str = Field("auto", description="type of the weights")
    quantization: str | None = Field(None, description="quantisation of the weights")
    trust_remote_code: bool = Field(False, strict=True, description="run code from the model's repository")


class VllmJudge(LanguageModelJudge):
    """One model: a name on the Hugging Face hub or the path of a local folder, with further arguments of ``vllm.LLM``.

    It is loaded when it is entered as a context manager, and removed from the GPU on exit.
    """

    kind = "vllm"

    def __init__(self, model: str, arguments: Mapping[str, Any]) -> None:
        super().__init__(model)
        self._arguments = arguments
        self._engine: Any = None

    def settings(self) -> dict[str, Any]:
        changing = {key: value for key, value in self._arguments.items() if key in ("dtype", "quantization")}
        return {**super().settings(), "max_model_len": MAX_MODEL_LEN, **changing}

    def __enter__(self) -> VllmJudge:
        vllm = optional_package("vllm", "vllm")
        try:
            self._engine = vllm.LLM(
                model=self.name,
                max_model_len=MAX_MODEL_LEN,
                max_num_seqs=BATCH,
                limit_mm_per_prompt={"image": 2},
                seed=SEED,
                **{"tensor_parallel_size": 1, **self._arguments},
            )
        except Exception as error:  # vLLM's own errors have no common base but this one
            raise UserError(
                f"vLLM could not start {self.name!r}: {_reason(error)}. "
                "`harness doctor` shows what this machine has; use --panel openai for a server on another machine."
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
        for start in range(0, len(questions), BATCH):
            batch = questions[start : start + BATCH]
            try:
                replies = self._chat(batch, prompt, album)
            except Exception as error:
                self._require_alive(error)
                # One prompt that the engine refuses fails the whole batch, so find it.
                replies = self._one_by_one(batch, prompt, album, keep)
            else:
                keep(replies)
            if len(batch) >= GIVE_UP_AFTER and not any(reply.came for reply in replies):
                raise UserError(
                    f"{self.name!r} gave no reply to {len(batch)} questions in a row ({replies[-1].finish_reason}). "
                    "The other replies are stored; repeat the command to ask the rest."
                )

    def _one_by_one(self, batch: Sequence[Question], prompt: Prompt, album: Album, keep: Keep) -> list[Reply]:
        """Ask and keep each question alone.

        Raises:
            UserError: the engine died; the replies before are kept.
        """
        replies = []
        for question in batch:
            try:
                reply = self._chat([question], prompt, album)[0]
            except Exception as error:
                self._require_alive(error)
                reply = Reply(self.key(question, prompt), question.attempt, None, f"error: {_reason(error)[:200]}")
            keep([reply])
            replies.append(reply)
        return replies

    def _require_alive(self, error: Exception) -> None:
        """Raise UserError if an error says that the engine's process has died, so that no question will be answered."""
        if "EngineDeadError" in {kind.__name__ for kind in type(error).__mro__}:
            raise UserError(
                f"The vLLM engine of {self.name!r} died; its reason stands in the log above. "
                "The replies that came before are stored; repeat the command to ask the rest."
            ) from error

    def _chat(self, batch: Sequence[Question], prompt: Prompt, album: Album) -> list[Reply]:
        started = time.perf_counter()
        outputs = self._engine.chat(
            [_messages(question, prompt, album) for question in batch],
            sampling_params=[_sampling_params(question) for question in batch],
            use_tqdm=False,
        )
        seconds = (time.perf_counter() - started) / len(batch)
        completions = [output.outputs[0] for output in outputs]
        return [
            Reply(
                self.key(question, prompt),
                question.attempt,
                completion.text,
                completion.finish_reason or "unknown",
                seconds,
                len(output.prompt_token_ids or ()),
                len(completion.token_ids),
            )
            for question, output, completion in zip(batch, outputs, completions, strict=True)
        ]


def _reason(error: Exception) -> str:
    """Return the first line of an error's message, or its type if it has none."""
    name = type(error).__name__
    return first_line(error).removeprefix(f"{name}: ")


def _messages(question: Question, prompt: Prompt, album: Album) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = [
        {"type": "image_pil", "image_pil": _picture(grid, album)} for grid in (question.grid_a, question.grid_b)
    ]
    return [{"role": "user", "content": [*content, {"type": "text", "text": prompt.text}]}]


def _picture(grid: Grid, album: Album) -> Image.Image:
    # Read from the file, not from memory: every kind of judge sees the same pixels.
    with Image.open(album.file(grid)) as image:
        return image.convert("RGB")


def _sampling_params(question: Question) -> Any:
    structured = importlib.import_module("vllm.sampling_params").StructuredOutputsParams(json=REPLY_SCHEMA)
    vllm = optional_package("vllm", "vllm")
    return vllm.SamplingParams(**sampling_of(question), structured_outputs=structured)


def judges_for(wanted: Wanted) -> tuple[Judge, ...]:
    """Return the requested models, or the paper's three.

    Raises:
        UserError: an invalid option, or an entry without a name.
    """
    judges = []
    for name, options in requested_models(wanted):
        try:
            VllmOptions(**options)
        except ValidationError as error:
            raise UserError(_option_error(error)) from error
        judges.append(VllmJudge(name, options))
    return tuple(judges)


def _option_error(error: ValidationError) -> str:
    problem = error.errors()[0]
    where, allowed = ".".join(map(str, problem["loc"])), ", ".join(VllmOptions.model_fields)
    if problem["type"] == "extra_forbidden":
        return f"A vllm panel has no option {where!r}; allowed are {allowed}."
    return f"The option {where!r} of a vllm panel is {quoted(problem['input'])}: {reason(problem)}."


SETTINGS["vllm"] = VllmOptions
PANELS.add("vllm", judges_for, description="the paper's three vision-language models on this machine's GPU")
