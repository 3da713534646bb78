"""Runs that are killed at random moments, and started again."""

import pathlib
import random
import re
import shutil
import signal
import subprocess
import time

from stages import HANGS_S, Stage, check_whole, stands, start, whole_run

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def kill(
  stage: Stage, folder: pathlib.Path, *, kills: int, seed: int = 0
) -> int:
  """Kills a stage so many times, and lets it end in between and at last.

  Returns:
    Runs that came to their end, each after some of the kills, with the results
    of an undisturbed one.

  Raises:
    AssertionError: something was half written, a later start failed, or its
      results are others.
  """
  draw = random.Random(f"{seed} {stage.name}")
  expected = whole_run(stage, folder / "undisturbed")
  # Measured now that all is compiled, on the machine as it is.
  begin = time.perf_counter()
  assert whole_run(stage, folder / "again") == expected
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
      _, said = process.communicate(timeout=HANGS_S)
      check_whole(place)
    if stands(process, said):
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
  assert whole_run(stage, place, may_stand=True) == expected, stage.name
  return whole + 2
