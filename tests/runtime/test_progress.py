"""Time left, and what is written with and without a terminal."""

import io

import numpy as np
import pytest

from mrf_jax.runtime import progress as module
from mrf_jax.runtime.progress import (
  Pace,
  TrainingProgress,
  bar,
  in_words,
  progress,
)


class Clock:
  """A clock that a test moves."""

  def __init__(self):
    self.now = 100.0

  def monotonic(self):
    return self.now


@pytest.fixture
def clock(monkeypatch):
  clock = Clock()
  monkeypatch.setattr(module, "time", clock)
  return clock


class Terminal(io.StringIO):
  """Standard error that is a terminal."""

  def isatty(self):
    return True


def test_time_left_is_known_after_the_first_part(clock):
  pace = Pace(101)
  assert pace.seconds_left is None
  clock.now += 60  # compiles
  pace.update(1)
  assert pace.seconds_left is None
  clock.now += 4
  pace.update(8)
  assert pace.seconds_each == pytest.approx(0.5)
  assert pace.seconds_left == pytest.approx(92 * 0.5)
  # The clock goes on while nothing is done, but not below 0.
  clock.now += 6
  assert pace.seconds_left == pytest.approx(40)
  clock.now += 600
  assert pace.seconds_left == 0


def test_time_left_is_known_soon_if_it_is_short(clock):
  pace = Pace(100)
  pace.update(1)
  clock.now += 0.5
  pace.update(1)
  assert pace.seconds_each is None  # 49 s
  pace.update(90)
  assert pace.seconds_left == pytest.approx(8 * 0.5 / 91)


def test_what_is_done_once_does_not_count(clock):
  pace = Pace(100)
  pace.update(1)
  clock.now += 60
  pace.skip()
  for _ in range(4):
    clock.now += 0.5
    pace.update(1)
  assert pace.seconds_each == pytest.approx(0.5)


def test_resumed_work_has_less_left(clock):
  pace = Pace(100, done=90)
  pace.update(1)
  clock.now += 10
  pace.update(1)
  assert pace.seconds_left == pytest.approx(80)


@pytest.mark.parametrize(
  ("seconds", "words"),
  [
    (0.2, "0 s"),
    (99.4, "99 s"),
    (100, "2 min"),
    (5900, "98 min"),
    (6000, "1.7 h"),
    (288000, "80.0 h"),
  ],
)
def test_durations_in_words(seconds, words):
  assert in_words(seconds) == words


def test_lines_without_a_terminal(clock, capsys):
  """Few, each whole, and the time left once it is known."""
  for _ in progress(range(1000), total=1000, text="matching"):
    clock.now += 0.25
  text = capsys.readouterr().err
  assert "\r" not in text
  lines = text.splitlines()
  assert 5 <= len(lines) <= 10
  assert lines[0] == "matching 10%, 100/1,000, 4 min left"


def test_short_work_writes_no_line(clock, capsys):
  assert [*progress(range(9), total=9, text="short")] == [*range(9)]
  assert capsys.readouterr().err == ""


def test_slow_work_writes_a_line_now_and_then(clock, capsys):
  """A training of days is seen to be alive."""
  with bar(total=100_000, text="training") as shown:
    for _ in range(30):
      clock.now += 60
      shown.update()
  assert len(capsys.readouterr().err.splitlines()) == 3


def test_training_says_epoch_and_loss(clock, capsys):
  with TrainingProgress(
    "training 2 folds",
    total=40,
    done=10,
    per_epoch=10,
    estimates=6,
    note="weighted: rises to 0",
  ) as shown:
    for _ in range(3):
      clock.now += 20
      shown.update(5, 20.0, np.array([0.25, 0.5]))
  first, second, _ = capsys.readouterr().err.splitlines()
  assert "left" not in first and "patches/s" not in first
  assert second == (
    "training 2 folds 50%, 20/40, 80 s left, epoch 2/4, 2 patches/s, "
    "loss 0.2500 0.5000 (weighted: rises to 0)"
  )


@pytest.mark.parametrize("dumb", [False, True])
def test_a_terminal_has_a_bar(dumb, clock, monkeypatch):
  monkeypatch.setattr("sys.stderr", Terminal())
  monkeypatch.setenv("TERM", "dumb" if dumb else "xterm")
  with bar(total=10, text="matching") as shown:
    shown.set_postfix_str("cohen")
    shown.update()
    before = str(shown)
    clock.now += 4
    shown.update()
    after = str(shown)
  if dumb:
    assert not hasattr(shown, "set_description")
    return
  assert "matching  10%|" in before and "left" not in before
  assert "2/10, 32 s left, cohen" in after
