"""Writes MATLAB files of both kinds."""

import h5py
import numpy as np
import scipy.io


def save_v5(path, variables):
  """Writes a file before version 7.3."""
  scipy.io.savemat(path, variables)


def save_v73(path, variables, **options):
  """Writes a file of version 7.3: axes reversed, complex numbers as pairs."""
  with h5py.File(path, "w", userblock_size=512) as file:
    for name, values in variables.items():
      stored = np.asarray(values).T
      if stored.dtype.kind == "c":
        kind = stored.real.dtype
        pair = np.dtype([("real", kind), ("imag", kind)])
        stored = np.ascontiguousarray(stored).view(pair)
      file.create_dataset(name, data=stored, **options)


def mark_empty(path, name, shape):
  """Writes an empty variable as MATLAB does since 7.3: its shape and a mark."""
  with h5py.File(path, "r+") as file:
    file[name] = np.array(shape, np.uint64)
    file[name].attrs["MATLAB_empty"] = np.uint8(1)
