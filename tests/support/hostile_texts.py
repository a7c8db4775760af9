"""Texts that tables, pages and spreadsheets may take for something else, drawn with a seed."""

from __future__ import annotations

import random

PIECES = (
    "=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "＝1+1", "＋1", "－1", "＠x", '"=1', "'=1", ";=1", "; =1",
    "−1+2", "\t=1", "\r=1", "\n=1", " =1", "\xa0=1", "\u3000=1", "\u200b=1", "\ufeff=1", "\u202e", "\u2066",
    "\u2069", "\x1b[31m", "\x9b2J", "\x00", "\x07", "\x7f", "\u2028", "\u2029", "\x85", "\x1c", "\ufffe",
    "\ue000", "\u3164", "<script>", "</td>", "</table>", "<!--", "-->", "]]>", "&lt;", "&", "&#124;",
    '" onload="x', "'", "`", "```", "|", "\\|", "\\", "\\\\", "*", "**", "_", "~~", "$", "$$", "#", "# ",
    "[a](javascript:x)", "![a](http://b)", "http://e.com", "www.e.com", "@user", "a@b.com", "%", "% comment",
    "{", "}", "{}", "\\end{document}", "\\input{/etc/passwd}", "\\write18{x}", "^^5c", "~", "^", "<<", ">>",
    "--", "---", "?`", "!`", "''", ",,", "[", "]", "*x", "&&", "\\\\[1ex]", "1. ", "- ", "+ ", "> ", "---\n",
    "ELUDe", "TopK SAE", "ä", "猫", "🙂", "👩\u200d🔬", "e\u0301", " ", "  ", "0.5", "-0.5", "1e5", "k=3",
    '<g id="point0">', "</svg>", "<style>", "</style>", "x" * 300,
)  # fmt: skip


def hostile_texts(number: int, seed: int = 0) -> list[str]:
    """Each piece alone, then random joins of pieces."""
    draw = random.Random(seed)
    joined = ["".join(draw.choice(PIECES) for _ in range(draw.randint(1, 5))) for _ in range(number)]
    return [*PIECES, *joined][:number] if number < len(PIECES) else [*PIECES, *joined[: number - len(PIECES)]]
