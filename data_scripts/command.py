# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""How a command ends: in one line where its user can mend what is wrong, and without remains when it is stopped."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import multiprocess

from data_scripts.hub_errors import HubError, explain_full_disk, is_disk_full
from data_scripts.reading import DataError


@contextmanager
def ending_in_one_line(what_stands: Callable[[], str]) -> Iterator[None]:
    """Ends the process with a message and exit status 1 on broken input, a fault of the Hub or a full disk; with
    status 130 on Ctrl-C and 143 on SIGTERM, after what stands in the block has cleaned up.

    Args:
        what_stands: what an interrupted command tells of its work, for example "nothing was written".
    """
    process, received = os.getpid(), None

    def stop(number, frame):
        nonlocal received
        if os.getpid() == process:
            for one in before:  # the impatient press twice: the cleaning up goes on
                signal.signal(one, signal.SIG_IGN)
            received = number
            sys.unraisablehook = lambda _: None  # what was being made, a progress bar, is not whole when it goes
            signal.signal(signal.SIGALRM, _kill_workers)
            signal.setitimer(signal.ITIMER_REAL, 2, 2)
            raise KeyboardInterrupt
        # A worker is ended by the process that started it, whatever else a terminal sends to both.
        if number == signal.SIGTERM:
            sys.exit(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except BaseException as error:
        # Work in several processes that is broken off raises whatever it likes.
        if received is not None:
            print(f"interrupted; {what_stands()}", file=sys.stderr)
            sys.exit(128 + received)
        if isinstance(error, DataError | HubError):
            sys.exit(f"error: {error}")
        if is_disk_full(error):
            sys.exit(f"error: {explain_full_disk(error)}")
        if isinstance(error, OSError) and error.filename is not None:
            sys.exit(f"error: {error.filename}: {error.strerror}")
        raise
    finally:
        if received is None:
            for number, handler in before.items():
                signal.signal(number, handler)
        else:
            signal.setitimer(signal.ITIMER_REAL, 0)


def in_words(error: Exception) -> str:
    """An error as a command's last line: a file's by its name and the system's words, without their number."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _kill_workers(number, frame):
    """A worker that was started just when all were told to end did not hear it, and would be waited for."""
    for worker in multiprocess.active_children():
        worker.kill()
