"""Arguments of ``vllm.LLM`` that a panel may set, their defaults, and which of them can change a reply."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from methods.number_types import Real, Whole

#: Longest prompt with its reply, in tokens.
MAX_MODEL_LEN = 32768

#: Requests that the engine computes at the same time.
MAX_NUM_SEQS = 64

#: Tokens of one step of the engine. vLLM reserves memory for it: of Gemma 3 27B, 9.4 GiB of KV cache for one request of
#: 32,768 tokens instead of 15.5 at its own default, so that the paper's models fit on 80 GB. Not fewer than the 2560
#: tokens of InternVL3's grid.
MAX_NUM_BATCHED_TOKENS = 8192

#: JSON without line breaks and spaces between its parts. Models that may write them can fill their reply with them.
STRUCTURED_OUTPUTS = {"backend": "xgrammar", "disable_any_whitespace": True}

#: Characters of each of the two reasons, so that the answer comes before the tokens end.
REASON_CHARS = 400

#: Options that can change a reply, so that they are part of the judge's identity.
OF_REPLIES = ("dtype", "quantization", "structured_outputs_config", "mm_processor_kwargs", "generation_config")


class VllmOptions(BaseModel):
    """Arguments of ``vllm.LLM`` that a panel may set; None: vLLM's default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gpu_memory_utilization: Real = Field(0.9, ge=0.01, le=1, description="share of the GPU's memory that vLLM takes")
    tensor_parallel_size: Whole = Field(1, ge=1, le=1024, description="number of GPUs that share a model")
    dtype: str = Field("auto", description="type of the weights")
    quantization: str | None = Field(None, description="quantisation of the weights")
    trust_remote_code: bool = Field(False, strict=True, description="run code from the model's repository")
    max_num_batched_tokens: Whole = Field(
        MAX_NUM_BATCHED_TOKENS, ge=1, le=1_048_576, description="tokens of a step of the engine; fewer take less memory"
    )
    enforce_eager: bool = Field(False, strict=True, description="compute without CUDA graphs, which take memory")
    kv_cache_memory_bytes: Whole | None = Field(
        None, ge=1, le=2**50, description="size of the KV cache, instead of what gpu_memory_utilization leaves"
    )
    mm_processor_kwargs: dict[str, Any] | None = Field(None, description="arguments of the model's image processor")
    structured_outputs_config: dict[str, Any] = Field(
        default_factory=lambda: dict(STRUCTURED_OUTPUTS), description="how replies are kept to the JSON schema"
    )
    limit_mm_per_prompt: dict[str, Any] = Field(
        default_factory=lambda: {"image": 2},
        description="images per prompt, with their largest size if a model needs it",
    )
    generation_config: str | None = Field(
        None, description="where default sampling settings come from: auto, vllm or a folder"
    )

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of ``vllm.LLM``: what was given, and defaults that differ from vLLM's."""
        ours = {"tensor_parallel_size", "max_num_batched_tokens", "structured_outputs_config", "limit_mm_per_prompt"}
        return self.model_dump(include=ours | self.model_fields_set)

    def of_replies(self) -> dict[str, Any]:
        """Return the options that can change a reply, as far as they differ from vLLM's defaults."""
        return {name: value for name, value in self.arguments().items() if name in OF_REPLIES}
