"""Maps of a scan from an exported model; needs jax, numpy and flatbuffers only.

python run_exported.py model.stablehlo signals.npy mask.npy

signals.npy: complex64 [slice, y, x, window]; mask.npy: bool [slice, y, x].
Writes pd.npy, t1_ms.npy, t2_ms.npy, float32 [slice, y, x], to this folder.
"""

import pathlib
import sys

import jax.export
import numpy as np

model, signals, mask = map(pathlib.Path, sys.argv[1:])
exported = jax.export.deserialize(bytearray(model.read_bytes()))
maps = exported.call(
  np.load(signals).astype(np.complex64), np.load(mask).astype(bool)
)
for name, values in maps.items():
  np.save(f"{name}.npy", values)
  print(name, values.shape, "median", np.median(values[np.load(mask)]))
