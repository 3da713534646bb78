"""Runs that are killed at random moments, and started again."""

import pathlib
import random
import re
import shutil
import signal
import subprocess
import time
from typing import NamedTuple

from stages import Stage, check_whole, leftovers, start

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# A run that goes on for so long hangs, on any machine.
_HANGS_S = 3600


class Killed(NamedTuple):
  """What came of the kills of one stage.

  Attributes:
    kills: how many there were.
    whole: runs that came to their end, each after some of the kills, with the
      results of an undisturbed one.
  """

  kills: int
  whole: int


def kill(
  stage: Stage, folder: pathlib.Path, *, kills: int, seed: int = 0
) -> Killed:
  """Kills a stage so many times, and lets it end in between and at last.

  Args:
    stage: what is started.
    folder: an empty one.
    kills: how many runs are killed.
    seed: of the moments.

  Returns:
    Kills and whole runs; every kill was followed by a start that took over.

  Raises:
    AssertionError: something was half written, a later start failed, or its
      results are others.
  """
  draw = random.Random(f"{seed} {stage.name}")
  expected = _whole(stage, folder / "undisturbed")
  # Measured now that all is compiled, on the machine as it is.
  begin = time.perf_counter()
  assert _whole(stage, folder / "again") == expected
  seconds = time.perf_counter() - begin
  place = folder / "killed"
  place.mkdir()
  killed = whole = 0
  while killed < kills:
    number = draw.choice(SIGNALS)
    process = start(stage, place)
    try:
      _, said = process.communicate(timeout=draw.uniform(0.01, 1.1) * seconds)
    except subprocess.TimeoutExpired:
      process.send_signal(number)
      _, said = process.communicate(timeout=_HANGS_S)
      check_whole(place)
    if _stands(process, said):
      # It was faster than the signal, or the one before was.
      assert stage.content(place) == expected
      whole += 1
      seconds *= 0.8
      shutil.rmtree(place)
      place.mkdir()
      continue
    assert process.returncode in (-number, 128 + number), said
    assert not re.search("Traceback|Exception ignored", said), said
    killed += 1
  assert _whole(stage, place) == expected, stage.name
  assert not leftovers(place)
  return Killed(killed, whole + 2)


def _whole(stage: Stage, folder: pathlib.Path):
  """What an undisturbed run makes, over whatever lies there."""
  folder.mkdir(exist_ok=True)
  process = start(stage, folder)
  _, said = process.communicate(timeout=_HANGS_S)
  assert _stands(process, said), said
  check_whole(folder)
  return stage.content(folder)


def _stands(process: subprocess.Popen, said: str) -> bool:
  """Whether a run came to its end, or says that one before it had."""
  return process.returncode == 0 or (
    process.returncode == 1 and "is there already" in said
  )
