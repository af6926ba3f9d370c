"""Threads that switch as often as they can, and handlers of signals, for tests."""

import contextlib
import gc
import signal
import sys
import threading


def add(metric, batch):
    """Update whatever kind of metric it is."""
    getattr(metric, "update_state", getattr(metric, "update", None))(*batch)


def in_threads(*works):
    """Run each in a thread of its own, all at once; raise what they raise."""
    errors = []
    start = threading.Barrier(len(works))

    def run(work):
        try:
            start.wait()
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=[work]) for work in works]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    if errors:
        raise errors[0]


@contextlib.contextmanager
def alarm(handler):
    """Give a function that starts a timer, by the arguments of `signal.setitimer`."""
    before = signal.signal(signal.SIGALRM, handler)
    # Libraries have callbacks for it, and an exception in one of them is lost.
    gc.disable()
    try:
        yield lambda *times: signal.setitimer(signal.ITIMER_REAL, *times)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()
