"""Pairwise comparison of units: grids of images, the prompt, and panels of judges.

Public names: parse_reply, Verdict, PROMPT; the rest is in the modules.
"""

from judges.parsing import Verdict, parse_reply
from judges.prompt import PROMPT

__all__ = ["PROMPT", "Verdict", "parse_reply"]
