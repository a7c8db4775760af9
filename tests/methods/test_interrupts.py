"""An interruption by the user is recognised, whatever the code that runs makes of the signal."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable

import pytest

from methods.interrupts import interrupting, is_interrupt, recognisable_interrupts


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def replaced() -> None:
    try:
        press()
    except KeyboardInterrupt:
        raise ValueError("lost") from None


def suppressed() -> None:
    with contextlib.suppress(KeyboardInterrupt):
        press()


def in_asyncio() -> None:
    async def main() -> None:
        press()
        await asyncio.sleep(10)

    asyncio.run(main())


def with_handler() -> None:
    before = signal.signal(signal.SIGINT, lambda *_: None)
    press()
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("code", [press, replaced, suppressed, in_asyncio, with_handler])
def test_a_signal_is_an_interruption(code: Callable[[], None]) -> None:
    handler, wakeup = signal.getsignal(signal.SIGINT), signal.set_wakeup_fd(-1)
    with pytest.raises(KeyboardInterrupt) as caught, recognisable_interrupts():
        code()
    assert is_interrupt(caught.value)
    assert signal.getsignal(signal.SIGINT) is handler and signal.set_wakeup_fd(wakeup) == -1


@pytest.mark.parametrize("code", [press, replaced, suppressed, in_asyncio, with_handler])
def test_contexts_can_be_nested(code: Callable[[], None]) -> None:
    suppressing = contextlib.suppress(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt) as caught, recognisable_interrupts(), suppressing, recognisable_interrupts():
        code()
    assert is_interrupt(caught.value)


def test_an_exception_of_the_code_is_none() -> None:
    with pytest.raises(KeyboardInterrupt) as caught, recognisable_interrupts():
        raise KeyboardInterrupt
    assert not is_interrupt(caught.value)


def test_a_marked_function_interrupts_through_another_exception() -> None:
    @interrupting
    def check() -> None:
        raise KeyboardInterrupt

    with pytest.raises(ValueError) as caught, recognisable_interrupts():
        try:
            check()
        except KeyboardInterrupt as error:
            raise ValueError("wrapped") from error
    assert is_interrupt(caught.value)


def test_nothing_happens_in_another_thread() -> None:
    raised: list[BaseException] = []

    def work() -> None:
        try:
            with recognisable_interrupts():
                raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(raised) == 1 and not is_interrupt(raised[0])
