"""What the program says without a stage to run, and of a mode."""

import re

import pytest
from test_launch import SMOKE, fails_in_one_line

import mrf_jax
from mrf_jax.command_line.configurations import built_in
from mrf_jax.command_line.modes import MODES, listed


def test_nothing_asked_shows_two_commands(launch):
  done = launch()
  assert done.returncode == 1 and not done.stderr
  commands = re.findall("^  python launch.py (.*)", done.stdout, re.MULTILINE)
  assert commands[0] == "--mode=crossval --config=demo --workdir=runs/demo"
  assert commands[1].startswith("--mode=reconstruct ") and len(commands) == 2


def test_help_names_modes_and_configurations(launch):
  text = launch.succeed("--help").stdout
  for name in (*MODES, *built_in()):
    assert re.search(f"^  {name}  ", text, re.MULTILINE), name
  assert max(map(len, text.splitlines())) <= 80
  assert launch.succeed("-h").stdout == text


@pytest.mark.parametrize("mode", MODES)
def test_help_of_a_mode(launch, mode):
  """Its own flags, those that it needs first, and an example with them."""
  text = launch.succeed(mode, "--help").stdout
  assert launch.succeed("--help", f"--mode={mode}").stdout == text
  assert text.startswith(f"{mode}: {MODES[mode].summary}\n")
  assert max(map(len, text.splitlines())) <= 80
  example = text.split("Example:\n")[1].split("\n\n")[0]
  flags = re.findall("^  --([a-z_0-9]+) ", text, re.MULTILINE)
  assert len(flags) == len(set(flags))
  assert tuple(flags[: len(MODES[mode].needs)]) == MODES[mode].needs
  for name in re.findall("--([a-z_0-9]+)=", example):
    assert name in (*flags, "mode")
  assert all(f"--{name}=" in example for name in MODES[mode].needs)
  # Flags of others are not shown, and are an error.
  foreign = "epochs" if mode != "finetune" else "scan"
  assert foreign not in flags
  fails_in_one_line(launch(mode, f"--{foreign}=3"), f"--{foreign} is for")


def test_version(launch):
  text = f"mrf_jax {mrf_jax.__version__}\n"
  assert launch.succeed("--version").stdout == text


@pytest.mark.parametrize(
  ("flags", "words"),
  [
    (["dance"], "unknown mode 'dance': crossval, sweep, simulate"),
    (["dance", "--help"], "unknown mode 'dance'"),
    (["--mode=dance", "--help"], "unknown mode 'dance': crossval"),
    (["demo"], "--config=demo is a configuration"),
    (["design", "--mode=report"], "two modes: design and --mode"),
    (["design", SMOKE, "report"], "unknown argument 'report'"),
  ],
)
def test_unknown_modes_name_what_there_is(launch, flags, words):
  fails_in_one_line(launch(*flags), words)


def test_what_is_alike_is_named_first():
  names = ["zz.h5", "a.txt", "b.txt", "c.txt", "scan.nii", "d.txt"]
  assert listed(names, like="scam.nii", most=2) == "scan.nii, a.txt and 4 more"
  assert listed(names, like="x.h5", most=1) == "zz.h5 and 5 more"
  assert listed(["b", "a"], like="q") == "a, b"
