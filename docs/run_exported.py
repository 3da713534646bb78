"""Reconstructs a scan with an exported model, without mrf_jax.

python run_exported.py model.stablehlo signals.npy mask.npy

Needs jax, numpy and flatbuffers only. signals.npy: complex64 [slice, y, x,
window]; mask.npy: bool [slice, y, x]. Writes pd.npy, t1_ms.npy and t2_ms.npy,
float32 [slice, y, x], to the current folder, and the predicted standard
deviations (pd_sd.npy, ...) if the model predicts them.
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
