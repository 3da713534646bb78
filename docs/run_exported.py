"""Maps of a scan from an exported model; needs jax, numpy and flatbuffers only.

python run_exported.py model.stablehlo signals.npy mask.npy

signals.npy: complex64 [slice, y, x, window]; mask.npy: bool [slice, y, x].
Writes pd.npy, t1_ms.npy, t2_ms.npy, float32 [slice, y, x], to this folder, and
their predicted standard deviations (pd_sd.npy, ...) where the model has some.
"""

import pathlib
import sys

import jax.export
import numpy as np

if len(sys.argv) != 4:
  sys.exit(__doc__)
exported = jax.export.deserialize(
  bytearray(pathlib.Path(sys.argv[1]).read_bytes())
)
signals = np.load(sys.argv[2]).astype(np.complex64)
mask = np.load(sys.argv[3]).astype(bool)
if signals.shape[:3] != mask.shape:
  sys.exit(f"error: signals {signals.shape} and mask {mask.shape} do not fit")
for name, values in exported.call(signals, mask).items():
  np.save(f"{name}.npy", values)
  print(name, values.shape, "median", np.median(np.asarray(values)[mask]))
