"""Our protocol: replies are kept to a JSON schema, and an invalid one is repeated at most twice."""

from __future__ import annotations

from judges.prompt import OUTLINES, PROMPT, PROTOCOLS, VERSION, Prompt, with_sentence


def default(style: str) -> Prompt:
    """Return our prompt for grids of a style."""
    prompt = Prompt(VERSION, PROMPT)
    return prompt if style == "plain" else with_sentence(prompt, OUTLINES, before="Call a unit COHERENT")


PROTOCOLS.add("default", default, description="replies kept to a JSON schema, invalid ones repeated at most twice")
