#!/usr/bin/env bash
# ml_collections 1.1.0, absl-py 2.3.1.
#
# Guess: a field of a ConfigDict that was made with `placeholder(int)` may be an
# int or None, and so `--config.rank=None` sets it back to None, as
# `config.rank = None` does in Python.
#
# Behaviour: the placeholder does take None in Python, also after it had a
# number. The flag does not: its text goes through int(), and the program ends
# with "invalid literal for int() with base 10: 'None'". "none" and an empty
# value fail as well.
#
# Why it matters: "None means all" is a common default of research
# configurations. Where a configuration file has replaced it by a number, no
# command line brings it back; only another file can.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install -q ml_collections==1.1.0 absl-py==2.3.1
"$folder/v/bin/python" - <<'PYTHON'
import sys

import ml_collections
from absl import flags
from ml_collections import config_flags

config = ml_collections.ConfigDict()
config.rank = ml_collections.config_dict.placeholder(int)
assert config.rank is None
config.rank = 10
config.rank = None
assert config.rank is None
print("in Python: None, 10, None")
config.rank = 10


def by_flag(text):
  values = flags.FlagValues()
  # config_flags looks there for the names of the values.
  sys.argv = ["program", f"--config.rank={text}"]
  config_flags.DEFINE_config_dict("config", config, flag_values=values)
  try:
    values(sys.argv)
    return values.config.rank
  except (flags.Error, ValueError) as error:
    return str(error)


seven = by_flag("7")
print(f"--config.rank=7: {seven!r}")
assert seven == 7
for text in ("None", "none", ""):
  answer = by_flag(text)
  print(f"--config.rank={text}: {answer}")
  assert "invalid literal for int()" in answer
PYTHON
echo "as described"
