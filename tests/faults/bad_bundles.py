"""What makes model bundles bad."""

import json
import shutil

from edits import Damage

from mrf_jax.inference.bundle_description import description_checksum


def of_bundle() -> dict[str, Damage]:
  damages: dict[str, Damage] = {
    "no variables": lambda path: shutil.rmtree(path / "variables"),
    "no model.json": lambda path: (path / "model.json").unlink(),
  }

  def text(label, change):
    def edit(path):
      file = path / "model.json"
      found = json.loads(file.read_text())
      found = change(found) or found
      if isinstance(found, dict):
        # As if written so by another program.
        found["sha256"]["description"] = description_checksum(found)
      file.write_text(json.dumps(found))

    damages[f"model.json: {label}"] = edit

  for name in (
    "format",
    "version",
    "method",
    "network",
    "maps_low",
    "maps_high",
    "normalise_signals_per",
    "sequence",
    "window",
    "stride",
  ):
    text(f"no {name}", lambda d, n=name: d.pop(n) and None)
    text(f"{name} is null", lambda d, n=name: d.update({n: None}))
    text(f"{name} is a list", lambda d, n=name: d.update({n: [[], {}]}))
  text("a list", lambda d: [d])
  text("a number", lambda d: 3)
  text("an unknown method", lambda d: d.update(method="__class__"))
  text("wider", lambda d: d["network"].update(widths=[99, 99]))
  text("absurdly wide", lambda d: d["network"].update(widths=[10**9, 10**9]))
  text("a million layers", lambda d: d["network"].update(widths=[8] * 10**6))
  text(
    "absurdly deep",
    lambda d: d.update(method="spatiotemporal_plus", network={"depth": 3000}),
  )
  text("an unknown option", lambda d: d["network"].update(colour="red"))
  text("a window of 0", lambda d: d.update(window=0))
  text("a window of 1e9", lambda d: d.update(window=10**9))
  text("a negative stride", lambda d: d.update(stride=-1))
  text("a map range of nan", lambda d: d.update(maps_low=[float("nan")] * 3))
  text("a map range of two", lambda d: d.update(maps_low=[0.0, 0.0]))
  text("an empty train", lambda d: d["sequence"].update(tr_ms=[]))
  text("text in the train", lambda d: d["sequence"].update(tr_ms=["a"]))
  return damages
