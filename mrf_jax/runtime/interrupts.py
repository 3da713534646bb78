"""SIGTERM and Ctrl-C as something that work can end at a good moment for."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_AGAIN_S = 0.01


class Stopped(BaseException):
  """The process was asked to stop.

  Not an `Exception`: what is caught and got over elsewhere must not hold it.

  Attributes:
    number: of the signal.
  """

  def __init__(self, number: int):
    super().__init__(signal.Signals(number).name)
    self.number = number


class StopRequest:
  """Whether a signal has come.

  Attributes:
    number: of the signal, or None.
  """

  number: int | None = None


@contextlib.contextmanager
def stop_at_once() -> Iterator[None]:
  """Within the block SIGTERM and Ctrl-C raise `Stopped`; after it they kill.

  A signal may come while Python runs a callback, of the garbage collector or
  of a weak reference, that no exception leaves. It comes again then.
  """
  report = sys.unraisablehook

  def again(unraisable):
    if not isinstance(unraisable.exc_value, Stopped):
      report(unraisable)
      return
    # Not from here, which no exception leaves either.
    main, number = threading.main_thread().ident, unraisable.exc_value.number
    threading.Timer(_AGAIN_S, signal.pthread_kill, (main, number)).start()

  set_handlers()
  sys.unraisablehook = again
  try:
    yield
  finally:
    for number in _SIGNALS:
      signal.signal(number, signal.SIG_DFL)
    sys.unraisablehook = report


def set_handlers() -> None:
  """Sets those of `stop_at_once` anew, after a library has set its own."""

  def stop(number, frame):
    del frame
    raise Stopped(number)

  for number in _SIGNALS:
    signal.signal(number, stop)


@contextlib.contextmanager
def stop_later() -> Iterator[StopRequest]:
  """Within the block the first signal is noted, and a second one stops.

  Yields:
    The request; its block looks at it and ends in time.
  """
  request = StopRequest()
  if threading.current_thread() is not threading.main_thread():
    # Only the main thread may handle signals; it goes on doing so.
    yield request
    return

  def note(number, frame):
    del frame
    if request.number is not None:
      raise Stopped(number)
    request.number = number

  before = {number: signal.signal(number, note) for number in _SIGNALS}
  try:
    yield request
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
