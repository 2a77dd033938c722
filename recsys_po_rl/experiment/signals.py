"""Handling of SIGINT and SIGTERM: the first stops after the training step is saved, a second of its kind at once."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any, Optional

from recsys_po_rl.common import output

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """Interruption of a run by signal `signum`."""

    def __init__(self, signum: int) -> None:
        """Store the signal."""
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class _State:
    """State of signal handling, global to the process as signals are."""

    deferring = False
    asked: Optional[int] = None  # the first deferred signal
    seen: frozenset[int] = frozenset()  # kinds of signals received since then


_state = _State()


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Make the signals raise `Stopped` in this block: at once, or within `deferred` after the current step.

    The previous handlers are restored afterwards. The block has no effect within another such block, or in a thread
    other than the main one, where Python does not allow handlers.
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
    """Defer the first signal of each kind, within `handled`; `asked` returns whether there is one."""
    _state.deferring = True
    try:
        yield
    finally:
        _state.deferring = False


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Restore the handlers of the signals after the block, in which a library may replace them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [(signum, signal.getsignal(signum)) for signum in SIGNALS]
    try:
        yield
    finally:
        for signum, handler in before:
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)


def asked() -> bool:
    """Return whether a signal was received and deferred."""
    return _state.asked is not None


def stop() -> None:
    """Stop because of the deferred signal.

    Raises:
      Stopped: always.
    """
    raise Stopped(_state.asked or signal.SIGINT)


def _on_signal(signum: int, frame: Any) -> None:
    del frame
    if _state.deferring and signum not in _state.seen:
        # A scheduler may signal all processes of a run: the process of a seed then also gets its parent's signal.
        _state.seen |= {signum}
        if _state.asked is not None:
            return
        _state.asked = signum
        with contextlib.suppress(RuntimeError):  # reentrant call: the signal interrupted the writing of a line
            output.complain("stopping after this training step (once more: at once)")
    else:
        raise Stopped(signum)
