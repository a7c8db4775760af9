"""People as judges: what they are shown and their votes, as files beside the store.

The app only reads the store, and works while a run holds it. So `harness judge --panel people` writes the questions to
a *ballot*, the app appends votes to a file per annotator, and `harness judge` takes the votes into the store. All of
these files may come from somebody else: whatever is in them is checked and bounded.
"""

__all__: list[str] = []
