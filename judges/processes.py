"""Judges that load a model: each is asked in a process of its own, as many at a time as there are GPUs for.

This process stores the replies: it answers a message of a judge's process when its replies are kept. It also draws the
grids, because the images may be those of a plugin, which the other processes do not have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing.connection import wait

from judges.base import Judge
from judges.gpus import VARIABLE, GpuPool, visible_gpus
from judges.grids import Album
from judges.judge_process import Assignment, JudgeProcess
from judges.panel import described
from methods.errors import UserError

#: Seconds between two looks at processes that send nothing.
_POLL_S = 0.2


def ask_in_processes(assignments: Sequence[Assignment], album: Album, say: Callable[[str], None]) -> list[str]:
    """Ask each judge in a process of its own, and keep its replies as they come.

    Judges run at the same time if there are GPUs for them, and each process sees its GPUs alone. Without a GPU they run
    one after the other. A judge that fails does not stop the others. If this process is interrupted, replies that have
    come are kept, and all processes are ended.

    Args:
        assignments: the judges, those that come first are started first.
        album: draws the grids that the judges ask for.
        say: receives a sentence when a judge starts and when it has ended.

    Returns:
        One sentence per judge that failed.

    Raises:
        UserError: a judge needs more GPUs than there are; none is asked then.
        StoreError: replies cannot be kept; whatever ``keep`` raises ends all judges.
    """
    pool = GpuPool(visible_gpus())
    require_gpus([judge for judge, _ in assignments], pool.names)
    waiting = list(assignments)
    running: list[JudgeProcess] = []
    failures: list[str] = []
    try:
        while waiting or running:
            for assignment in list(waiting):
                gpus = pool.take(assignment.judge.n_gpus)
                if gpus is None:
                    continue
                waiting.remove(assignment)
                process = JudgeProcess(assignment, gpus, sees_others=len(gpus) < len(pool.names))
                running.append(process)
                if process_id := process.start(album.folder):
                    on = f" on GPU {', '.join(gpus)}" if gpus else ""
                    say(f"{assignment.judge.name} starts in process {process_id}{on}.")
            for process in _with_news(running):
                process.take(album)
                if process.is_over:
                    process.wait()
                    process.end()
                    running.remove(process)
                    pool.give_back(process.gpus)
                    say(f"{process.judge.name} has ended; {process.n_kept} replies are stored.")
                    failures += [process.failure] if process.failure else []
    except KeyboardInterrupt:
        for process in running:
            process.keep_rest()
        raise
    finally:
        _end_all(running)
    return failures


def require_gpus(judges: Sequence[Judge], gpus: Sequence[str]) -> None:
    """Check that there are GPUs enough for each of the judges that load a model; without a GPU, nothing is checked.

    Raises:
        UserError: a judge needs more than ``gpus``.
    """
    for judge in judges:
        if judge.own_process and gpus and judge.n_gpus > len(gpus):
            raise UserError(
                f"{described(judge)} needs {judge.n_gpus} GPUs, and this process sees {len(gpus)}: set a smaller "
                f"tensor_parallel_size, or make more GPUs visible ({VARIABLE})."
            )


def _with_news(running: Sequence[JudgeProcess]) -> list[JudgeProcess]:
    """Return the processes that have sent something or have ended, after waiting a moment for one."""
    sent = wait([process.connection for process in running], timeout=_POLL_S) if running else []
    return [process for process in running if process.connection in sent or process.has_news()]


def _end_all(running: Sequence[JudgeProcess]) -> None:
    """End the processes that still run, all at the same time; a second interruption kills them at once."""
    with ExitStack() as ends:
        for process in running:
            ends.callback(process.end)
            process.stop()
        for process in running:
            process.wait()
