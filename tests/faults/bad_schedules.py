"""What makes schedules bad: text, MATLAB, Pulseq."""

import re
from collections.abc import Callable

import numpy as np
import scipy.io
from edits import Damage, with_bytes, with_one


def _with_text(change: Callable[[str], str]) -> Damage:
  return lambda path: path.write_text(change(path.read_text()))


def of_text() -> dict[str, Damage]:
  def rows(change):
    return _with_text(lambda x: "\n".join(change(x.splitlines())) + "\n")

  def words(old, new, count=1):
    return _with_text(lambda text: text.replace(old, new, count))

  damages: dict[str, Damage] = {
    "a row missing": rows(lambda lines: lines[1:]),
    "a row more": rows(lambda lines: [*lines, lines[0]]),
    "a ragged row": rows(lambda lines: [lines[0][:8], *lines[1:]]),
    "a word": rows(lambda lines: ["fifteen 12 2", *lines[1:]]),
    "unknown names": rows(lambda lines: ["a b c", *lines]),
    "a name twice": rows(lambda lines: ["FA FA TE", *lines]),
    "no angles": rows(lambda lines: ["TR TE PH", *lines]),
    "nine columns": rows(lambda lines: [f"{x} {x} {x}" for x in lines]),
    "comments alone": rows(lambda lines: [f"# {x}" for x in lines]),
    "a very long line": _with_text(lambda text: "1 " * (1 << 20)),
    "other letters": with_bytes(lambda data: b"\xff\xfe1\x002\x00"),
    "in s": words("12.0000", "0.012", -1),
    "in µs": words("12.0000", "12000", -1),
    "in radians": rows(
      lambda lines: [f"0.{i:02d} 12 2" for i in range(1, len(lines) + 1)]
    ),
  }
  for name, sound, values in (
    ("a TR", "12.0000", ("nan", "inf", "-1", "0", "1e300", "1e999")),
    ("a TE", " 2.0000", (" nan", " inf", " -1", " 13")),
    ("an angle", "10.0000", ("nan", "-inf")),
  ):
    for value in values:
      damages[f"{name} of {value.strip()}"] = words(sound, value)
  return damages


def of_trs() -> dict[str, Damage]:
  def rows(change):
    # The first two words name the column.
    return _with_text(lambda x: "\n".join(change(x.split()[2:])) + "\n")

  return {
    "two columns": rows(lambda trs: [f"10 {x}" for x in trs]),
    "two columns, none named so": rows(
      lambda trs: ["FA,TE", *(f"10,{x}" for x in trs)]
    ),
    "two columns named so": rows(
      lambda trs: ["TR,tr_ms", *(f"{x},{x}" for x in trs)]
    ),
    "angles": rows(lambda trs: ["FA", *trs]),
    "angles by a comment": rows(lambda trs: ["# FA", *trs]),
    "a TR less": rows(lambda trs: trs[1:]),
    "a word": rows(lambda trs: [*trs[:-1], "twelve"]),
    "nan": rows(lambda trs: ["TR", "nan", *trs[1:]]),
    "negative": rows(lambda trs: [f"-{x}" for x in trs]),
    "in s": rows(lambda trs: [str(float(x) / 1000) for x in trs]),
    "in µs": rows(lambda trs: [str(float(x) * 1000) for x in trs]),
  }


def of_train() -> dict[str, Damage]:
  def values(**changes):
    def write(path):
      found = scipy.io.loadmat(path)
      found = {name: found[name] for name in ("FA", "TR", "TE")}
      for name, change in changes.items():
        found[name] = change(found["TR"])
      scipy.io.savemat(path, {k: v for k, v in found.items() if v is not None})

    return write

  return {
    "no angles": values(FA=lambda x: None),
    "angles of text": values(FA=lambda x: "sixty"),
    "a matrix": values(FA=lambda x: np.ones((3, 4))),
    "a complex angle": values(FA=lambda x: with_one(x + 0j, 1.6 - 0.4j)),
    "angles of none": values(FA=lambda x: np.zeros((1, 0))),
    "TRs of none": values(TR=lambda x: np.zeros((1, 0))),
    "one angle": values(FA=lambda x: 30.0),
    "a TR less": values(TR=lambda x: x[:, 1:]),
    "a TR of nan": values(TR=lambda x: with_one(x, np.nan)),
    "a TR of -1": values(TR=lambda x: with_one(x, -1)),
    "TR in s": values(TR=lambda x: x / 1000),
    "TR in µs": values(TR=lambda x: 1000 * x),
    "TE after TR": values(TE=lambda x: x + 1),
    "two TR": values(tr_ms=lambda x: x),
    "a TI of nan": values(TI=lambda x: np.nan),
    "two TI": values(TI=lambda x: np.ones(2)),
    "cells": values(FA=lambda x: np.array([[1, "a"]], object)),
    "a structure": values(FA=lambda x: {"a": 3}),
  }


def of_pulseq() -> dict[str, Damage]:
  def words(old, new):
    def change(text):
      text = text.split("\n[SIGNATURE]")[0]
      changed = re.sub(old, new, text, count=1, flags=re.MULTILINE)
      assert changed != text
      return changed

    return _with_text(change)

  shapes = r"\[SHAPES\]\n+((.+\n)+\n?)+"
  long_shapes = "".join(
    f"shape_id {k}\nnum_samples 150000000\n0\n0\n149999998\n\n"
    for k in range(1, 9)
  )
  sections = "".join(f"[S{k}]\n" for k in range(100_000))
  return {
    "another version": words(r"^major \d+", "major 9"),
    "no version": words(r"\[VERSION\]\n(.+\n)+", ""),
    "no blocks": words(r"\[BLOCKS\]\n(.+\n)+", ""),
    "no pulses": words(r"\[RF\]\n(.+\n)+", ""),
    "no readouts": words(r"\[ADC\]\n(.+\n)+", ""),
    "no shapes": words(shapes, ""),
    "words in blocks": words(r"^ *1 +\d+ ", "one ten "),
    "an unknown event": words(r"^( *1 +\d+ +)1 ", r"\g<1>77 "),
    "a section twice": words(r"(\[BLOCKS\]\n(?:.+\n)+)", r"\1\n\1"),
    "an unknown section": words(r"\[ADC\]", "[ABC]"),
    "a negative duration": words(r"^( *1 +)\d+", r"\g<1>-50"),
    "a duration of nan": words(r"^( *1 +)\d+", r"\g<1>nan"),
    "a huge shape": words(r"num_samples \d+", "num_samples 999999999"),
    "shapes of minutes": words(shapes, f"[SHAPES]\n\n{long_shapes}"),
    "many sections": words(r"\[SHAPES\]", sections),
    "one frame less": words(r"^ *24 .*\n", ""),
  }
