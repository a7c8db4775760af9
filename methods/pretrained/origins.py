"""Names of sites and backbones in other programs, compared with those of the harness."""

from __future__ import annotations

import re

_BLOCK = re.compile(r"(?:blocks|layers?|h|encoder\.layers?|model\.blocks)\.(\d+)(?:\.(.*))?", re.I)
#: What TransformerLens and its relatives call the parts of a block -> endings of the harness's paths within it.
_PARTS = {
    "hook_resid_post": ("",),
    "hook_mlp_out": ("mlp", "mlp.fc2"),
    "mlp.hook_post": ("mlp.act",),
    "mlp.hook_pre": ("mlp.fc1",),
    "hook_attn_out": ("attn", "attn.proj"),
}


def is_same_site(named: str, path: str) -> bool:
    """Return True if a site that a file names may be the module at ``path``: ``blocks.10.hook_resid_post``, ``10``."""
    if named == path:
        return True
    of_path, of_name = _BLOCK.search(path), _BLOCK.search(named)
    if of_path is None:
        return False
    number, part = of_path[1], of_path[2] or ""
    if of_name is None:
        return named.isdecimal() and int(named) == int(number) and not part
    if int(of_name[1]) != int(number):
        return False
    wanted = of_name[2] or ""
    return part in _PARTS.get(wanted, (wanted,))


def is_same_backbone(named: str, name: str) -> bool:
    """Return True if two names of a backbone agree, without prefixes, owners and signs."""
    first, second = (
        re.sub(r"[^a-z0-9]", "", text.lower().rpartition(":")[2].rpartition("/")[2]) for text in (named, name)
    )
    return first in second or second in first
