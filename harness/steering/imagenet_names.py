"""One name in words for each class of ImageNet-1k."""

from __future__ import annotations

import functools
from collections import Counter

#: Names of the classes whose words are all the same.
_SAME_WORDS = {134: "crane (bird)", 517: "crane (machine)"}


@functools.cache
def imagenet_names() -> tuple[str, ...]:
    """Return the 1000 names in the order of the classes: the first word of each, or all words where that is ambiguous.

    The words are those of WordNet, as timm lists them.
    """
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    descriptions = [str(info.index_to_description(index)) for index in range(info.num_classes())]
    first = [description.split(",")[0].strip() for description in descriptions]
    count, count_all = Counter(first), Counter(descriptions)
    names = []
    for index, (word, words) in enumerate(zip(first, descriptions, strict=True)):
        if count[word] == 1:
            names.append(word)
        elif count_all[words] == 1:
            names.append(words)
        else:
            names.append(_SAME_WORDS[index])
    return tuple(names)
