"""Ask a hostile server one question per misbehaviour, in a process of its own, and print time, memory and reply.

Arguments: base URLs with a time limit for each, as JSON. A line of JSON comes back for each.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import tracemalloc
from functools import partial
from pathlib import Path

import httpx2
from PIL import Image

from judges.base import Question, Reply
from judges.grids import Album, Grid, Tile
from judges.panels.openai import OpenAIJudge, OpenAIOptions
from judges.prompt import prompt_for


class Black:
    """Images of one pixel."""

    def open(self, index: int) -> Image.Image:
        return Image.new("RGB", (1, 1))


def main() -> None:
    # The context for TLS takes longer than a call, and is not needed here.
    httpx2.AsyncClient = partial(httpx2.AsyncClient, verify=httpx2.create_ssl_context())  # type: ignore[misc]
    question = Question(Grid((Tile("a", 0),)), Grid((Tile("b", 1),)))
    with tempfile.TemporaryDirectory() as folder:
        album = Album(Black(), Path(folder))
        for number, (url, timeout_s) in enumerate(json.loads(sys.argv[1])):
            judge = OpenAIJudge("m", OpenAIOptions(base_url=url, timeout_s=timeout_s, tries=1, longest_wait_s=0.01))
            kept: list[Reply] = []
            if number == 1:  # after one call that imports everything
                tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            if tracemalloc.is_tracing():
                tracemalloc.reset_peak()
            started = time.monotonic()
            judge.ask([question], prompt_for("plain"), album, kept.extend)
            seconds = time.monotonic() - started
            (reply,) = kept
            verdict = reply.verdict
            print(
                json.dumps(
                    {
                        "seconds": seconds,
                        "bytes": tracemalloc.get_traced_memory()[1] - before,
                        "answer": verdict.answer,
                        "came": reply.came,
                        "finish_reason": reply.finish_reason,
                        "stored": repr((reply, verdict)),
                        "tokens": reply.prompt_tokens,
                    }
                )
            )


if __name__ == "__main__":
    main()
