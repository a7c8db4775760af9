"""Vision-language models behind an OpenAI-compatible server: ``vllm serve``, and many others."""

from __future__ import annotations

import asyncio
import base64
import math
import os
import random
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from judges.base import Judge, Keep, Question, Reply
from judges.calls import Answered, CallFailed, Desk, Pacer, Refused
from judges.chat_completion import read_completion, unusable
from judges.grids import Album, Grid
from judges.http_reply import ACCEPT, NoCookies, UnusableBody, read_body
from judges.panel import PANELS, SETTINGS, Wanted
from judges.prompt import Prompt
from judges.redaction import redactor
from judges.sampling import SEED, LanguageModelJudge, optional_package, requested_models, sampling_of
from methods.errors import UserError
from methods.number_types import Real, Whole
from methods.setting_problems import reason

#: Status codes after which another try may succeed; other errors are permanent.
RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
#: Status codes after which no question to this judge will be answered, and the reason or remedy.
REFUSED = {
    401: "set its key in the environment variable {variable}.",
    403: "the key in {variable} may not use this model.",
    404: "it has no such model, or base_url does not end where its API begins (usually /v1).",
}


class OpenAIOptions(BaseModel):
    """Settings of an ``openai`` panel; none of them changes what a model replies, except ``structured``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str = Field("", description="address of the server, including /v1; default: the variable OPENAI_BASE_URL")
    api_key_env: str = Field("OPENAI_API_KEY", description="environment variable that holds the key; never the key")
    concurrency: Whole = Field(16, ge=1, le=512, description="number of calls at the same time")
    timeout_s: Real = Field(120.0, ge=0.001, le=86_400, description="timeout of one try in seconds")
    tries: Whole = Field(5, ge=1, le=100, description="tries per call if the server is busy or unreachable")
    backoff_s: Real = Field(1.0, ge=0, le=3600, description="wait in seconds after a failed try; doubled each time")
    longest_wait_s: Real = Field(
        60.0, ge=0, le=86_400, description="longest wait in seconds, even if the server asks for more"
    )
    requests_per_minute: Real | None = Field(
        None, ge=0.001, le=1_000_000, description="largest rate of requests; None: no limit"
    )
    structured: bool = Field(True, description="ask the server to enforce the JSON schema")


class OpenAIJudge(LanguageModelJudge):
    """One model on one server.

    A call ends as a reply or, after ``tries`` tries of at most ``timeout_s`` each, as a reply without text. Every reply
    has bounds (:mod:`judges.http_reply`), and one beyond them is an invalid reply. A call keeps its place among the
    ``concurrency`` calls in flight until its reply is stored, so that killing the process loses at most these.
    """

    kind = "openai"

    def __init__(self, model: str, options: OpenAIOptions) -> None:
        super().__init__(model)
        self._options = options
        self._url = _checked_url(options.base_url or os.environ.get("OPENAI_BASE_URL", ""), model)
        # Used only for the pauses between tries.
        self._jitter = random.Random(SEED)
        self._replied = False

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "structured": self._options.structured}

    def ask(self, questions: Sequence[Question], prompt: Prompt, album: Album, keep: Keep) -> None:
        asking = self._ask_all(list(questions), prompt, album, keep)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            asyncio.run(asking)
        else:  # in a notebook, where a loop is already running
            with ThreadPoolExecutor(1) as thread:
                thread.submit(asyncio.run, asking).result()

    async def _ask_all(self, questions: list[Question], prompt: Prompt, album: Album, keep: Keep) -> None:
        httpx = optional_package("httpx2", "judge")
        key = self._key()
        headers = {**ACCEPT, **({"Authorization": f"Bearer {key}"} if key else {})}
        limits = httpx.Limits(max_connections=self._options.concurrency)
        pacer = Pacer(self._options.requests_per_minute)
        # Redirects are not followed: they would send the grids, and perhaps the key, to another host.
        async with httpx.AsyncClient(
            headers=headers,
            timeout=self._options.timeout_s,
            limits=limits,
            cookies=NoCookies(),
            follow_redirects=False,
        ) as client:

            async def answer(question: Question) -> Reply:
                return await self._answer(client, question, prompt, album, pacer)

            await Desk(self._options.concurrency, keep).run(questions, answer)

    async def _answer(self, client: Any, question: Question, prompt: Prompt, album: Album, pacer: Pacer) -> Reply:
        started = time.perf_counter()
        body = await asyncio.to_thread(self._body, question, prompt, album)
        outcome = Answered(None, "")
        for attempt in range(self._options.tries):
            await pacer.turn()
            try:
                outcome = await self._try(client, body)
                break
            except CallFailed as failed:
                outcome = Answered(None, failed.reason)
                if attempt + 1 < self._options.tries:
                    wait = self._options.backoff_s * 2**attempt * self._jitter.uniform(0.5, 1.0)
                    wait = min(max(wait, failed.wait_s), self._options.longest_wait_s)
                    if failed.everybody:
                        pacer.pause(wait)
                    await asyncio.sleep(wait)
        seconds = time.perf_counter() - started
        return Reply(self.key(question, prompt), question.attempt, *outcome[:2], seconds, *outcome[2:])

    async def _try(self, client: Any, body: Mapping[str, Any]) -> Answered:
        """Send one request.

        Raises:
            CallFailed: another try may succeed.
            Refused: no call of this judge will succeed.
        """
        httpx = optional_package("httpx2", "judge")
        redact = redactor(self._key())
        try:
            # The client's own timeout applies between two bytes; a server that sends them slowly would never reach it.
            # asyncio.wait_for is not used: before Python 3.12 it swallows a cancellation that meets a finished reply.
            async with (
                asyncio.timeout(self._options.timeout_s),
                client.stream("POST", f"{self._url}/chat/completions", json=body) as response,
            ):
                self._require_answer(response)
                try:
                    answered = read_completion(response.status_code, await read_body(response), redact)
                except UnusableBody as problem:
                    answered = unusable(response.status_code, problem.reason, problem.start, redact)
        except (CallFailed, Refused):
            raise
        except (TimeoutError, httpx.TimeoutException) as error:
            raise CallFailed(f"no reply within {self._options.timeout_s:g} s") from error
        except Exception as error:
            # Not only the library's own: a reply of any kind must not end the other calls.
            raise CallFailed(f"connection failed: {type(error).__name__}") from error
        self._replied = True
        return answered

    def _require_answer(self, response: Any) -> None:
        """Raise CallFailed or Refused if the status says that this reply is no answer.

        A status that refuses all calls is believed only before the first answer: later, it is one odd reply.
        """
        status = response.status_code
        if status in REFUSED and not self._replied:
            reason = REFUSED[status].format(variable=self._options.api_key_env)
            raise Refused(f"The server of {self.name!r} answered {status}: {reason}")
        if status in RETRIED or status in REFUSED:
            raise CallFailed(f"http {status}", _retry_after(response.headers), everybody=status == 429)

    def _key(self) -> str:
        """Return the API key.

        Raises:
            UserError: it cannot be sent in a header; the message does not contain it.
        """
        key = os.environ.get(self._options.api_key_env, "").strip()
        if not all("!" <= character <= "~" for character in key):
            raise UserError(
                f"The variable {self._options.api_key_env} contains white space or characters other than ASCII, so it "
                "cannot be sent as an API key. Set it again."
            )
        return key

    def _body(self, question: Question, prompt: Prompt, album: Album) -> dict[str, Any]:
        pictures = [_data_url(grid, album) for grid in question.pictures]
        content: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}} for url in pictures]
        content.append({"type": "text", "text": prompt.text_for(question.concept)})
        body: dict[str, Any] = {
            "model": self.name,
            "messages": [{"role": "user", "content": content}],
            **sampling_of(question),
        }
        if self._options.structured and prompt.structured:
            schema = {"name": "verdict", "strict": True, "schema": dict(prompt.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body


def _retry_after(headers: Mapping[str, str]) -> float:
    try:
        seconds = float(headers.get("retry-after", 0))
    except ValueError:  # a date, which model servers do not send
        return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0


def _data_url(grid: Grid, album: Album) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(album.file(grid).read_bytes()).decode("ascii")


def _checked_url(url: str, model: str) -> str:
    try:
        parts = urlsplit(url)
        # Accessing the port validates it.
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise UserError(
            f"The server of {model!r} has no valid address: set --judge {model}@http://HOST:PORT/v1, base_url in the "
            "suite, or the environment variable OPENAI_BASE_URL."
        )
    if parts.query or parts.fragment:
        raise UserError("base_url contains a query or fragment (? or #): remove it; a key belongs into OPENAI_API_KEY.")
    if parts.username or parts.password:
        raise UserError("base_url contains a user or password: remove it, and set the variable OPENAI_API_KEY instead.")
    return url.rstrip("/")


def judges_for(wanted: Wanted) -> tuple[Judge, ...]:
    """Return the requested models, or the paper's three, each at its own ``base_url`` or all at the panel's.

    Raises:
        UserError: a wrong setting, an entry without a name, or no address.
    """
    judges = []
    for name, settings in requested_models(wanted):
        try:
            options = OpenAIOptions(**settings)
        except ValidationError as error:
            problem = error.errors()[0]
            # The value is omitted, since it may contain a key.
            where = ".".join(str(part) for part in problem["loc"])
            raise UserError(
                f"The setting {where!r} of an openai panel is wrong: {reason(problem)}. "
                f"Allowed are {', '.join(OpenAIOptions.model_fields)}."
            ) from error
        judges.append(OpenAIJudge(name, options))
    return tuple(judges)


SETTINGS["openai"] = OpenAIOptions
PANELS.add("openai", judges_for, description="vision-language models behind OpenAI-compatible servers")
