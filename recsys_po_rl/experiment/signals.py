"""SIGINT and SIGTERM: the first lets a training step end and be saved, a second of its kind stops at once."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any, Optional

from recsys_po_rl.common import output

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A run was asked to stop, by signal `signum`."""

    def __init__(self, signum: int) -> None:
        """Remembers the signal."""
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class _State:
    """Signals belong to the process, and so does this."""

    deferring = False
    asked: Optional[int] = None  # the first signal that is held back
    seen: frozenset[int] = frozenset()  # while it is


_state = _State()


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Has the signals raise `Stopped` in this block: at once, or within `deferred` once a step is done.

    Handlers from before come back afterwards. In a thread other than the main one, where Python allows no handlers,
    and within another such block nothing changes.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is _on_signal:
        yield
        return
    before = [(signum, signal.signal(signum, _on_signal)) for signum in SIGNALS]
    _state.asked, _state.seen = None, frozenset()
    try:
        yield
    finally:
        for signum, handler in before:
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)
        _state.asked, _state.seen = None, frozenset()


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Holds back the first signal of each kind, within `handled`, until `asked` is asked for it."""
    _state.deferring = True
    try:
        yield
    finally:
        _state.deferring = False


def asked() -> bool:
    """Whether a signal has come and is held back."""
    return _state.asked is not None


def stop() -> None:
    """Stops for the signal that was held back.

    Raises:
      Stopped: always.
    """
    raise Stopped(_state.asked or signal.SIGINT)


def _on_signal(signum: int, frame: Any) -> None:
    del frame
    if _state.deferring and signum not in _state.seen:
        # A scheduler may signal all processes of a run: one of several seeds then gets its parent's signal besides.
        _state.seen |= {signum}
        if _state.asked is not None:
            return
        _state.asked = signum
        with contextlib.suppress(RuntimeError):  # a line that was being written
            output.complain("stopping after this training step (once more: at once)")
    else:
        raise Stopped(signum)
