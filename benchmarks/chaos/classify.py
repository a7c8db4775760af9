"""Classification of what a command printed and used: the sentences that say why it is a fault."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chaos.case import Case, Done

#: About three lines of 100 characters.
LONGEST_SENTENCE = 300
#: A suite with several mistakes has a line for each.
MOST_LINES = 12

#: Exceptions that say nothing to a user.
_INTERNAL = re.compile(
    r"\b(AssertionError|AttributeError|IndexError|KeyError|NameError|NotImplementedError|OverflowError|RecursionError|"
    r"TypeError|UnboundLocalError|UnicodeEncodeError|ZeroDivisionError|CatalogException|BinderException|"
    r"InternalException|ConversionException)\b"
)
#: Control characters that a terminal obeys, and those that turn the direction of a text around.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_TRACEBACK = re.compile(r"Traceback \(most recent call last\)|^\s+File \"[^\"]+\", line \d+, in ", re.MULTILINE)
_PREFIX = "harness: "


def faults_of(done: Done, case: Case) -> Iterator[str]:
    """Yield the faults of one command of a case."""
    if done.code is None:
        yield f"stopped after {done.seconds:.0f} s (bound: {case.bounds.seconds:g} s)"
        return
    if done.mebibytes > case.bounds.mebibytes:
        yield f"used {done.mebibytes:.0f} MiB more than at its start (bound: {case.bounds.mebibytes:g} MiB)"
    text = done.stdout + done.stderr
    if _TRACEBACK.search(text):
        yield "printed a traceback"
    if done.code not in case.codes:
        yield f"ended with exit code {done.code}; documented are {', '.join(map(str, sorted(case.codes)))}"
    if control := _CONTROL.search(text):
        yield f"printed the control character U+{ord(control[0]):04X}"
    if done.code == 0 and case.must_fail:
        yield "accepted an input that must be refused"
    if done.code == 2 or (done.code != 0 and not done.stdout.strip()):
        yield from _faults_of_message(done, case)
    elif done.code != 0 and case.mentions and not any(name in text for name in case.mentions):
        yield f"does not name {' or '.join(case.mentions)}"


def _faults_of_message(done: Done, case: Case) -> Iterator[str]:
    """Yield the faults of the message that a refused command ends with."""
    message = message_of(done)
    lines = message.splitlines()
    if not message:
        yield "ended without a message"
        return
    if longest := max((line for line in lines if len(line) > LONGEST_SENTENCE), key=len, default=""):
        yield f"a sentence has {len(longest)} characters (bound: {LONGEST_SENTENCE})"
    if len(lines) > MOST_LINES:
        yield f"the message has {len(lines)} lines (bound: {MOST_LINES})"
    if (internal := _INTERNAL.search(message)) and not case.of_its_own:
        yield f"the message is about {internal[0]}, an exception of the program"
    if case.mentions and not any(name in message for name in case.mentions):
        yield f"the message does not name {' or '.join(case.mentions)}"


def message_of(done: Done) -> str:
    """Return the message at the end of the standard error: from the last line that starts with ``harness:``."""
    at = done.stderr.rfind(f"\n{_PREFIX}") + 1
    return done.stderr[at:].removeprefix(_PREFIX).strip()
