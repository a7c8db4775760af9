"""The app: a reader of a results store in a browser. Needs streamlit (the extra ``app``), and no torch.

One page is one file in ``screens``, one figure one file in ``figures``; what is read from the store is SQL in
``queries.py`` and ``queries_judged.py``.
"""

__all__: list[str] = []
