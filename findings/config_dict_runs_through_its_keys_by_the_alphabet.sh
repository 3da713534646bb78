#!/usr/bin/env bash
# ml_collections 1.1.0.
#
# Guess: a ConfigDict keeps the order in which its fields were written, as the
# dict that it was made from does, and as reading its file suggests.
#
# Behaviour: keys(), items(), values() and iteration go by the alphabet, at every
# level, and so do to_dict(), to_json() and ** of it. The order of writing is
# nowhere kept. Only a list or a tuple inside keeps its own.
#
# Why it matters: a configuration that lists the variants of a study, or the
# layers of a network, as fields runs through them in another order than it was
# written: "10_percent" before "5_percent", and a plan that puts the important
# ones first, and is stopped when the time is up, has run others.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install -q ml_collections==1.1.0
"$folder/v/bin/python" - <<'PYTHON'
import ml_collections

written = ["same", "noise_5", "noise_10", "b1"]
config = ml_collections.ConfigDict(
  dict(ways={name: 0 for name in written}, order=tuple(written))
)
ways = config.ways
seen = {
  "keys()": list(ways.keys()),
  "iteration": list(ways),
  "items()": [name for name, _ in ways.items()],
  "to_dict()": list(config.to_dict()["ways"]),
  "**": list(dict(**ways)),
  "a tuple": list(config.order),
}
for name, order in seen.items():
  print(f"{name:>10}: {', '.join(order)}")
assert seen.pop("a tuple") == written
assert all(order == sorted(written) for order in seen.values())
config.ways.a_later_one = 0
assert next(iter(config.ways)) == "a_later_one"
print("as described")
PYTHON
