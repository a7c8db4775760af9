"""App for reading a results store in a browser. Needs streamlit (the extra ``app``), and no torch.

Each page is one file in ``screens``, and each figure one file in ``figures``. The SQL queries of the store are in
``queries.py`` and ``queries_judging.py``.
"""

__all__: list[str] = []
