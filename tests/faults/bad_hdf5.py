"""What makes HDF5 files bad: subjects, raw data, MATLAB 7.3."""

import re

import numpy as np
from edits import Damage, edited, replace, to_group, to_huge, with_one


def of_subject() -> dict[str, Damage]:
  damages: dict[str, Damage] = {}

  def with_values(name, label, change):
    damages[f"{name}: {label}"] = edited(
      lambda file: replace(file, name, change(file[name][()]))
    )

  for name in ("signals", "affine", "sequence/tr_ms", "maps/t1_ms"):
    for value in (np.nan, np.inf):
      with_values(name, f"one {value}", lambda x, v=value: with_one(x, v))
    with_values(name, "one too many", lambda x: np.append(x, x[:1], 0))
    with_values(name, "text", lambda x: np.array([b"text"] * len(x)))
    with_values(name, "none", lambda x: x[:0])
    damages[f"{name}: missing"] = edited(lambda f, n=name: f.__delitem__(n))
    damages[f"{name}: a group"] = edited(lambda f, n=name: to_group(f, n))
    damages[f"{name}: a huge size"] = edited(lambda f, n=name: to_huge(f, n))
  with_values("signals", "transposed", lambda x: x.T)
  with_values("signals", "in double precision", lambda x: x.astype(complex))
  with_values("signals", "magnitudes", lambda x: np.abs(x))
  with_values("mask", "nothing inside", np.zeros_like)
  with_values("mask", "whole numbers", lambda x: x.astype(np.int32))
  with_values("mask", "turned round", lambda x: ~x)
  with_values("affine", "nothing", np.zeros_like)
  with_values("sequence/tr_ms", "negative", np.negative)
  with_values("sequence/te_ms", "in µs", lambda x: 1000 * x)
  with_values("sequence/flip_angles_deg", "infinite", lambda x: x * np.inf)
  windows = (0, -1, 10**9, 1.5, "ten")
  for place, name, values in (
    ("/", "format", ("another",)),
    ("/", "version", (2,)),
    ("/", "field_strength_t", (np.nan, -1.5, "1.5 T")),
    ("/", "subject", (3,)),
    ("sequence", "window", windows),
    ("sequence", "stride", windows),
  ):
    for value in values:
      damages[f"attribute {name}: {value}"] = edited(
        lambda f, p=place, n=name, v=value: f[p].attrs.__setitem__(n, v)
      )
  return damages


def of_raw() -> dict[str, Damage]:
  damages: dict[str, Damage] = {}

  def head(name, value):
    def edit(file):
      acquisitions = file["dataset/data"][()]
      acquisitions["head"][name][len(acquisitions) // 2] = value
      file["dataset/data"][...] = acquisitions

    damages[f"{name} of an acquisition: {value}"] = edited(edit)

  for name, values in (
    ("number_of_samples", (0, 1, 65535)),
    ("active_channels", (0, 3, 65535)),
    ("trajectory_dimensions", (0, 1, 9)),
    ("discard_pre", (1, 65535)),
    ("discard_post", (1, 65535)),
  ):
    for value in values:
      head(name, value)

  def samples(label, change):
    def edit(file):
      row = file["dataset/data"][3]
      row["data"] = change(row["data"]).astype(np.float32)
      file["dataset/data"][3] = row

    damages[f"samples: {label}"] = edited(edit)

  samples("one nan", lambda x: with_one(x, np.nan))
  samples("one inf", lambda x: with_one(x, np.inf))
  samples("one missing", lambda x: x[:-1])
  samples("none", lambda x: x[:0])

  def header(label, old, new):
    def edit(file):
      (text,) = np.ravel(file["dataset/xml"][()])
      changed = re.sub(old, new, text.decode(), flags=re.DOTALL)
      assert changed != text.decode()
      replace(file, "dataset/xml", [changed.encode()])

    damages[f"header: {label}"] = edited(edit)

  header("cut", ".{40}$", "")
  header("empty", "^.*$", "")
  header("entities", r"^(<\?xml.*?\?>)", r'\1<!DOCTYPE a [<!ENTITY b "c">]>')
  for tag, values in (
    ("x", ("0", "-3", "many", "1e999", "nan")),
    ("systemFieldStrength_T", ("0", "-1.5", "strong", "inf")),
  ):
    for value in values:
      new = f"<{tag}>{value}</{tag}>"
      header(f"{tag} {value}", f"<{tag}>[^<]*</{tag}>", new)
  matrix = r"<matrixSize>\s*<x>[^<]*</x>\s*<y>[^<]*</y>"
  for label, value in (("20,000", 20_000), ("1e12", 10**12)):
    new = f"<matrixSize><x>{value}</x><y>{value}</y>"
    header(f"a matrix of {label} voxels", matrix, new)
  data, xml, numbers = "dataset/data", "dataset/xml", np.zeros((4, 4))
  return damages | {
    "no acquisitions": edited(lambda f: f.__delitem__(data)),
    "a group for acquisitions": edited(lambda f: to_group(f, data)),
    "numbers for acquisitions": edited(lambda f: replace(f, data, numbers)),
    "numbers for a header": edited(lambda f: replace(f, xml, numbers)),
  }


def of_matlab73() -> dict[str, Damage]:
  def values(label, change):
    return {label: edited(lambda f: replace(f, "scan", change(f["scan"][()])))}

  def one(value):
    def change(pairs):
      pairs["real"] = with_one(pairs["real"], value)
      return pairs

    return change

  return {
    "missing": edited(lambda f: f.__delitem__("scan")),
    "a group": edited(lambda f: to_group(f, "scan")),
    "a huge size": edited(lambda f: to_huge(f, "scan")),
    "a second one": edited(lambda f: f.copy("scan", "other")),
    **values("real", lambda pairs: pairs["real"]),
    **values("one nan", one(np.nan)),
    **values("one inf", one(np.inf)),
    **values("turned", np.transpose),
    **values("one frame less", lambda x: x[1:]),
    **values("flat", np.ravel),
    **values("text", lambda x: np.array([b"text"])),
    **values("other pairs", lambda x: x.astype([("a", "f4"), ("b", "f4")])),
  }
