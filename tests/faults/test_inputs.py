"""Bad input ends in one clear line, at once, and writes nothing.

A share by default, drawn anew by MRF_FAULTS_SEED; `pytest -m long` gives all
of it.
"""

import os
import random

import pytest
from corpus import make_cases
from inputs import try_inputs

SEED = int(os.environ.get("MRF_FAULTS_SEED", "0"))
# Of some 800.
SHARE = 100


def test_sound_files_are_taken(sources, launch, tmp_path):
  for kind, source in sources.items():
    out = tmp_path / kind
    flags = [flag.format(out=out) for flag in source.flags]
    done = launch(*flags, f"{source.flag}={source.path}")
    assert done.returncode == 0, (kind, done.stderr)


def refused(sources, launch, folder, share=None):
  cases = list(make_cases(sources, folder / "bad", SEED))
  if share is not None:
    cases = random.Random(SEED).sample(cases, share)
  answers = list(try_inputs(cases, sources, launch))
  wrong = [
    f"{a.case.kind}, {a.case.name}: {a.wrong}: {a.done.stderr.strip()}"
    for a in answers
    if a.wrong
  ]
  assert not wrong, "\n".join(wrong)
  assert not list((folder / "bad").glob("*"))


def test_some_bad_inputs_are_refused(sources, launch, tmp_path):
  refused(sources, launch, tmp_path, SHARE)


@pytest.mark.long
def test_every_bad_input_is_refused(sources, launch, tmp_path):
  refused(sources, launch, tmp_path)
