"""SIGINT and SIGTERM: the first asks a run to save and exit, a second one makes it exit at once.

Signals concern the whole process, so only the program catches them (`catch_signals`). If nothing
has to be saved, the first one raises `Interrupted` wherever the program is. In `deferred`, it waits
for the next call of `leave_if_asked`.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# Signals that arrive together are one request: `timeout` and some terminals send each to the
# process and to its group.
_ONE_REQUEST_SECONDS = 0.5


class Interrupted(BaseException):
    """The process was asked to exit.

    Args:
        number: the signal's number.
    """

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.exit_status = 128 + number


class _State:
    received: int | None = None
    is_deferred = False


def catch_signals() -> None:
    """Makes the process exit cleanly on signals; call it once, in the main thread."""
    # Python calls handlers only in its main thread, which a compilation can block for long. The
    # bytes that signals write to a pipe are seen by another thread, whatever the main one does.
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    threading.Thread(target=_leave_at_the_second, args=(reader,), daemon=True).start()
    for number in _SIGNALS:
        signal.signal(number, _ask)


@contextlib.contextmanager
def caught() -> Iterator[None]:
    """Lets SIGINT and SIGTERM stop a run inside as they stop the program, from Python.

    Handlers that were there before are back afterwards; then SIGINT is a KeyboardInterrupt, and
    SIGTERM a SystemExit with the status 143, as if they came now. Where signals are caught already,
    or in another thread than the main one, nothing changes.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) is _ask:
        yield
        return
    before = {number: signal.signal(number, _ask) for number in _SIGNALS}
    try:
        yield
    except Interrupted as interrupted:
        if interrupted.exit_status == 128 + signal.SIGINT:
            raise KeyboardInterrupt(str(interrupted)) from interrupted
        raise SystemExit(interrupted.exit_status) from interrupted
    finally:
        _State.received = None
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Defers signals inside to the next call of `leave_if_asked`."""
    _State.is_deferred = True
    try:
        yield
    finally:
        _State.is_deferred = False


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Defers signals to the end of imports, since an interrupted extension module fails to load.

    Raises:
        Interrupted: a signal was received.
    """
    with deferred():
        yield
    leave_if_asked()


def leave_if_asked() -> None:
    """Raises what a deferred signal would have raised.

    Raises:
        Interrupted: a signal was received.
    """
    if _State.received is not None:
        raise Interrupted(_State.received)


def _ask(number: int, frame: FrameType | None) -> None:
    _State.received = number
    if not _State.is_deferred:
        raise Interrupted(number)


def _leave_at_the_second(reader: int) -> None:
    os.read(reader, 1)
    time.sleep(_ONE_REQUEST_SECONDS)
    os.set_blocking(reader, False)
    with contextlib.suppress(BlockingIOError):
        os.read(reader, 1024)
    os.set_blocking(reader, True)
    (number,) = os.read(reader, 1)
    os._exit(128 + number)
