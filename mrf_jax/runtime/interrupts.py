"""SIGTERM and Ctrl-C as an exception, or as a request that work ends soon."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_RESEND_S = 0.01
# Where the code of the import statement is.
_IMPORT_FILE = "<frozen importlib._bootstrap>"


class Stopped(BaseException):
  """The process was asked to stop by a signal.

  Not an `Exception`: code that catches errors and goes on must not catch it.

  Attributes:
    number: number of the signal.
  """

  def __init__(self, number: int):
    super().__init__(signal.Signals(number).name)
    self.number = number


class StopRequest:
  """Record of a signal that asks work to end.

  Attributes:
    number: number of the signal; None until one arrives.
  """

  number: int | None = None


@contextlib.contextmanager
def stop_at_once() -> Iterator[None]:
  """Within the block SIGTERM and Ctrl-C raise `Stopped`; after it they kill.

  Python drops an exception that is raised in a callback of the garbage
  collector or of a weak reference, and a library may catch any exception of an
  import. A signal that arrives there is sent again a moment later.
  """
  default_hook = sys.unraisablehook

  def send_again(unraisable):
    if not isinstance(unraisable.exc_value, Stopped):
      default_hook(unraisable)
      return
    _send_again(unraisable.exc_value.number)

  set_handlers()
  sys.unraisablehook = send_again
  try:
    yield
  finally:
    for number in _SIGNALS:
      signal.signal(number, signal.SIG_DFL)
    sys.unraisablehook = default_hook


def set_handlers() -> None:
  """Sets the handlers of `stop_at_once`, which a library may have replaced."""

  def stop(number, frame):
    if _is_importing(frame):
      _send_again(number)
    else:
      raise Stopped(number)

  for number in _SIGNALS:
    signal.signal(number, stop)


def _send_again(number: int) -> None:
  """Sends a signal to the main thread once more, after what runs there now."""
  main = threading.main_thread().ident
  threading.Timer(_RESEND_S, signal.pthread_kill, (main, number)).start()


def _is_importing(frame: FrameType | None) -> bool:
  """Whether a module is being imported in a frame, or in what called it."""
  while frame is not None and frame.f_code.co_filename != _IMPORT_FILE:
    frame = frame.f_back
  return frame is not None


@contextlib.contextmanager
def stop_later() -> Iterator[StopRequest]:
  """Within the block the first signal is recorded; a second raises `Stopped`.

  Yields:
    The request, which the block reads to end at a good moment.
  """
  request = StopRequest()
  if threading.current_thread() is not threading.main_thread():
    # Only the main thread may set handlers; those that are set stay.
    yield request
    return

  def record(number, frame):
    del frame
    if request.number is not None:
      raise Stopped(number)
    request.number = number

  previous = {number: signal.signal(number, record) for number in _SIGNALS}
  try:
    yield request
  finally:
    for number, handler in previous.items():
      signal.signal(number, handler)
