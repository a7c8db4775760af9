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
#: Parts of a block whose output is the input of a linear layer -> the endings of its paths.
_INPUTS = {
    "mlp.hook_post": ("mlp.fc2",), "mlp.act": ("mlp.fc2",),
    "ln2.hook_normalized": ("mlp.fc1",), "norm2": ("mlp.fc1",),
    "attn.hook_z": ("attn.proj",),
    "norm1": ("attn.qkv",),
}  # fmt: skip
#: Parts of a block whose output is that of a linear layer -> the endings of its paths.
_OUTPUTS = {
    "hook_mlp_out": ("mlp.fc2",), "mlp": ("mlp.fc2",), "mlp.hook_pre": ("mlp.fc1",), "hook_attn_out": ("attn.proj",),
}  # fmt: skip
#: Further parts, which are neither.
_OTHERS = frozenset(
    {"", "hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_mlp_in", "hook_attn_in", "attn", "ln1", "ln2"}
    | {"ln1.hook_normalized", "ln2.hook_scale", "attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_result"}
)


class NotOneLayer(ValueError):
    """The two ends of a transcoder are not the input and the output of one linear layer."""


def transcoded_layer(named_in: str | None, named_out: str | None) -> str | None:
    """Return the linear layer whose input and output a transcoder reads and writes; None if its names do not tell.

    Args:
        named_in: name of the site that it reads, in the words of the program that trained it.
        named_out: name of the site that it writes.

    Raises:
        NotOneLayer: if they tell that no linear layer has both.
    """
    if named_in is None or named_out is None:
        return None
    ends = [_BLOCK.search(named) for named in (named_in, named_out)]
    if named_in == named_out and (ends[0] is None or not _is_part(ends[0][2] or "")):
        return named_out  # the path of a module, whose input and output are meant
    if ends[0] is None or ends[1] is None:
        return None
    block_in, block_out = (int(end[1]) for end in ends if end is not None)
    part_in, part_out = (end[2] or "" for end in ends if end is not None)
    is_known = _is_part(part_in) and (_is_part(part_out) or part_out in _linear_parts())
    layers = set(_INPUTS.get(part_in, ())) & {part_out, *_OUTPUTS.get(part_out, ())}
    if block_in != block_out or (is_known and not layers):
        raise NotOneLayer
    return f"blocks.{block_in}.{layers.pop()}" if layers else None


def _is_part(part: str) -> bool:
    return part in _INPUTS or part in _OUTPUTS or part in _OTHERS


def _linear_parts() -> set[str]:
    return {part for parts in _INPUTS.values() for part in parts}


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


#: Part of a block of a timm ViT -> what TransformerLens and its relatives call its output.
_HOOKS = {
    "": "hook_resid_post",
    "mlp": "hook_mlp_out",
    "mlp.fc2": "hook_mlp_out",
    "mlp.fc1": "mlp.hook_pre",
    "mlp.act": "mlp.hook_post",
    "attn": "hook_attn_out",
    "attn.proj": "hook_attn_out",
}
_TIMM_BLOCK = re.compile(r"blocks\.(\d+)(?:\.(.*))?")


def hook_name(path: str) -> str:
    """Return what TransformerLens and its relatives call the output of the module at ``path``; else the path itself."""
    block = _TIMM_BLOCK.fullmatch(path)
    hook = None if block is None else _HOOKS.get(block[2] or "")
    return path if block is None or hook is None else f"blocks.{block[1]}.{hook}"


def hook_names_of_layer(path: str) -> tuple[str, str]:
    """Return what TransformerLens and its relatives call the input and the output of a linear layer; else its path."""
    block = _TIMM_BLOCK.fullmatch(path)
    if block is None or block[2] != "mlp.fc2":
        return path, path
    return f"blocks.{block[1]}.mlp.hook_post", f"blocks.{block[1]}.hook_mlp_out"
