"""SIGTERM and Ctrl-C as something that work can end at a good moment for."""

import contextlib
import signal
import threading
from collections.abc import Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


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


def stop_at_once() -> None:
  """From now on SIGTERM and Ctrl-C raise `Stopped`."""

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
