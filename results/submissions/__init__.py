"""Submissions: results as text that a person can review, in a folder of a repository. Needs no torch.

`submit` writes the text from a store, `verify_strict` is what CI runs, and `rebuilt` makes a store of the text.
A folder comes from anyone, so nothing in it is trusted: see `files`, `text` and `parquet`.
"""

from results.submissions.choose import Wanted
from results.submissions.rebuild import rebuilt
from results.submissions.strict import StrictVerdict, verify_strict
from results.submissions.submit import Submitted, submit

__all__ = ["StrictVerdict", "Submitted", "Wanted", "rebuilt", "submit", "verify_strict"]
