"""Names in words of the classes of ImageNet-1k."""

from __future__ import annotations

import functools
from collections import Counter

#: Names of the classes whose words are all the same.
_SAME_WORDS = {134: "crane (bird)", 517: "crane (machine)"}


@functools.cache
def imagenet_names() -> tuple[str, ...]:
    """Return the name of each of the 1000 classes, in their order: its words in WordNet, as ``tabby, tabby cat``."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    words = [str(info.index_to_description(index)) for index in range(info.num_classes())]
    count = Counter(words)
    return tuple(_SAME_WORDS[index] if count[name] > 1 else name for index, name in enumerate(words))
