"""Scans whose signals do not fit their sequence."""

import contextlib
import dataclasses
import io
import json
import pathlib
from collections.abc import Callable

import nibabel
import numpy as np
import scipy.ndimage

from configs import smoke
from mrf_jax import Acquisition, Maps, Subject, save_subject, tailored
from mrf_jax.fit.check import check_scan
from mrf_jax.fit.maps import fit_maps, quick_match
from mrf_jax.stages.reconstruct import reconstruct_files
from tests.fit.examples import (
  ACQUISITION,
  VOXEL_MM,
  make_scan,
  scan,
  with_signals,
)
from tests.stages.conftest import flags
from tests.wrong_inputs.cases import OUTPUT, Case, Seen

_RIGHT_T1 = 0.1


def reconstructed(subject: Subject, folder: pathlib.Path, **more) -> Seen:
  """Maps of the dictionary of the scan's own sequence, from file to files."""
  path = folder / "scan.h5"
  save_subject(dataclasses.replace(subject, maps=None), path)
  config = smoke.get_config()
  config.dictionary.step_percent = 5.0
  config.dictionary.t1_ms = more.pop("t1_ms", (300.0, 5000.0))
  printed = io.StringIO()
  with contextlib.redirect_stdout(printed):
    reconstruct_files(
      flags(
        **{"model": ["dictionary"], **more},
        config=config,
        scan=str(path),
        output=str(folder / OUTPUT),
      )
    )
  t1_ms, t2_ms = (
    nibabel.load(folder / OUTPUT / f"{name}.nii.gz").get_fdata().T[subject.mask]
    for name in ("t1", "t2")
  )
  truth = scan().maps.t1_ms
  error = float(np.median(np.abs(t1_ms / truth - 1)))
  record = json.loads((folder / OUTPUT / "reconstruction.json").read_text())
  return Seen(
    f"T1 within {error:.1%}, T2 of {t2_ms.min():.0f} to {t2_ms.max():.0f} ms",
    error < _RIGHT_T1,
    tuple(record["assumed"]),
  )


def changed(change: Callable[[np.ndarray], np.ndarray], **more):
  """A case's function: the scan with other signals."""
  return lambda folder: reconstructed(
    with_signals(scan(), change(scan().signals)), folder, **more
  )


def with_b1_map(change: Callable[[np.ndarray], np.ndarray], shift_mm=0.0):
  """A case's function: the scan, with a B1 of 1 that is changed and shifted."""

  def run(folder: pathlib.Path) -> Seen:
    subject = scan()
    values = change(np.ones(subject.mask.shape, np.float32)).T
    affine = subject.affine.copy()
    affine[0, 3] += shift_mm
    path = folder / "b1.nii"
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    given = {"model": ["dictionary_fit"], "b1_map": str(path)}
    return reconstructed(subject, folder, **given)

  return run


def for_network(change: Callable[[np.ndarray], np.ndarray]):
  """A case's function: the scan with other signals, checked for a network."""

  def run(folder: pathlib.Path) -> Seen:
    subject = with_signals(scan(), change(scan().signals))
    said = check_scan(
      dataclasses.replace(subject, maps=None),
      path=folder / "scan.h5",
      needs_phase=True,
    )
    return Seen("accepted", change is np.array, tuple(said))

  return run


def played(sequence) -> Callable[[pathlib.Path], Seen]:
  """A case's function: another sequence was played than the file says."""
  return lambda folder: reconstructed(make_scan(sequence=sequence), folder)


def noisy(factor: float) -> Callable[[pathlib.Path], Seen]:
  """A case's function: noise of so much of the mean magnitude."""
  return lambda folder: reconstructed(make_scan(noise=factor), folder)


def _random(shape) -> np.ndarray:
  rng = np.random.default_rng(1)
  return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def _spikes(signals: np.ndarray) -> np.ndarray:
  spiked = signals.copy()
  spiked[::90] *= 1e4
  return spiked


def _in_slice(k: int, change: Callable[[np.ndarray], np.ndarray]):
  """A change of the signals of one slice."""

  def changed_there(signals: np.ndarray) -> np.ndarray:
    own = np.nonzero(scan().mask)[0] == k
    new = signals.copy()
    new[own] = change(signals[own])
    return new

  return changed_there


def _every(step: int, change: Callable[[np.ndarray], np.ndarray]):
  """A change of the signals of every so many voxels."""

  def changed_there(signals: np.ndarray) -> np.ndarray:
    new = signals.copy()
    new[::step] = change(signals[::step])
    return new

  return changed_there


def _noise_like(signals: np.ndarray) -> np.ndarray:
  return np.abs(signals).mean() * _random(signals.shape)


def _fortran_order(signals: np.ndarray) -> np.ndarray:
  """Signals of the voxels of the mask as MATLAB orders them."""
  mask = scan().mask
  volume = np.zeros((*mask.shape, signals.shape[1]), signals.dtype)
  volume[mask] = signals
  return volume.transpose(2, 1, 0, 3)[mask.transpose(2, 1, 0)]


def _in_windows(window: int, stride: int):
  """A case's function: images of other windows, as many of them."""
  made = Acquisition(_TRAIN, window, stride)
  assert made.n_windows == ACQUISITION.n_windows
  return lambda folder: reconstructed(
    dataclasses.replace(make_scan(made), acquisition=ACQUISITION), folder
  )


def _sound(acquisition: Acquisition = ACQUISITION, **more):
  """A case's function: a scan that may look wrong; nothing may be said."""

  def run(folder: pathlib.Path) -> Seen:
    said = check_scan(
      make_scan(acquisition, **more), path=folder / "scan.h5", needs_phase=True
    )
    # Each scan has a sentence on what is explained.
    return Seen("accepted", len(said) == 1, tuple(said[1:]))

  return run


def _references(change: Callable[[np.ndarray], np.ndarray]):
  """A case's function: reference maps in another order of the volume."""

  def run(folder: pathlib.Path) -> Seen:
    subject = scan()
    values = {}
    for name in ("pd", "t1_ms", "t2_ms"):
      own = getattr(subject.maps, name)
      volume = np.full(subject.mask.shape, np.median(own), np.float32)
      volume[subject.mask] = own
      values[name] = change(volume)[subject.mask]
    moved = dataclasses.replace(subject, maps=Maps(**values))
    said = check_scan(moved, path=folder / "scan.h5")
    return Seen("accepted", change is np.array, tuple(said))

  return run


def _another_head(volume: np.ndarray) -> np.ndarray:
  return np.roll(volume, (5, 7), (1, 2))


def spheres(estimate: Callable[[Maps], Maps]):
  """A case's function: 14 spheres, and what a method makes of them."""

  def run(folder: pathlib.Path) -> Seen:
    t1_ms, t2_ms = np.geomspace(83, 2376, 14), np.geomspace(8, 939, 14)
    z, y, x = np.indices((3, 60, 60))
    label = np.full(z.shape, -1)
    for k in range(14):
      row, column = divmod(k, 4)
      inside = (x - 8 - 14 * column) ** 2 + (y - 8 - 14 * row) ** 2 < 25
      label[inside] = k
    mask = label >= 0
    own = label[mask]
    truth = Maps(
      np.full(own.size, 0.9, np.float32),
      t1_ms[own].astype(np.float32),
      t2_ms[own].astype(np.float32),
    )
    subject = make_scan(noise=0.1, mask=mask, maps=truth)
    found = estimate(truth)
    match = quick_match(ACQUISITION, subject.signals)
    fit = fit_maps(match, found, mask, VOXEL_MM)
    wrong = [
      k
      for k in range(14)
      if abs(np.median(found.t1_ms[own == k]) / t1_ms[k] - 1) > 0.15
      or abs(np.median(found.t2_ms[own == k]) / t2_ms[k] - 1) > 0.15
    ]
    marked = [k for k in range(14) if fit.is_doubtful[own == k].mean() > 0.5]
    missed = set(wrong) - set(marked)
    sentence = (
      f"{len(marked)} of 14 spheres are marked as doubtful, "
      f"{len(wrong)} err by more than 15 %, {len(missed)} of them unmarked"
    )
    return Seen(sentence, not missed, (sentence,) if marked else ())

  return run


def _brain(truth: Maps) -> Maps:
  """All spheres as white matter, as networks for heads make them."""
  n = len(truth.pd)
  return Maps(
    truth.pd, np.full(n, 608.0, np.float32), np.full(n, 70.0, np.float32)
  )


_TRAIN = ACQUISITION.sequence
CASES = [
  Case("a sound scan", "right", "", changed(np.array)),
  Case(
    "frames reversed",
    "refused",
    "reversed in time",
    changed(lambda s: s[:, ::-1]),
  ),
  Case(
    "frames shuffled",
    "refused",
    "another order",
    changed(lambda s: s[:, np.random.default_rng(3).permutation(s.shape[1])]),
  ),
  Case(
    "odd images before even ones",
    "refused",
    "another order",
    changed(lambda s: np.hstack([s[:, ::2], s[:, 1::2]])),
  ),
  Case("magnitudes only", "refused", "phase is missing", changed(np.abs)),
  Case(
    "a dummy image first, the last lost",
    "refused",
    "without its first image",
    changed(lambda s: np.hstack([s[:, :1], s[:, :-1]])),
  ),
  Case(
    "three dummy images first",
    "refused",
    "without its first 3 images",
    changed(lambda s: np.hstack([s[:, :1]] * 3 + [s[:, :-3]])),
  ),
  Case(
    "the first three images lost",
    "refused",
    "another 3 images before the first",
    changed(lambda s: np.hstack([s[:, 3:]] + [s[:, -1:]] * 3)),
  ),
  Case(
    "the first eight images lost",
    "refused",
    "another 8 images before the first",
    changed(lambda s: np.hstack([s[:, 8:]] + [s[:, -1:]] * 8)),
  ),
  Case(
    "images of windows of 76 frames, 3 apart, said to be of 24, 4 apart",
    "refused",
    "are --window and --stride",
    _in_windows(76, 3),
  ),
  Case(
    "images smoothed over nine neighbours",
    "refused",
    "are --window and --stride",
    changed(lambda s: scipy.ndimage.uniform_filter1d(s, 9, axis=1)),
  ),
  Case(
    "one image is the one before again",
    "named",
    "repeats the one before, image 31 first",
    changed(lambda s: s[:, [*range(30), 29, *range(31, 55)]]),
  ),
  Case(
    "the last ten images filled with zeros",
    "refused",
    "10 images of 55 are zero",
    changed(lambda s: np.hstack([s[:, :-10], 0 * s[:, -10:]])),
  ),
  Case(
    "one image filled with zeros",
    "refused",
    "1 image of 55 is zero",
    changed(lambda s: s * (np.arange(55) != 30)),
  ),
  Case(
    "one slice of three reversed in time",
    "refused",
    "slice 2 of 3: the series fits its sequence reversed",
    changed(_in_slice(1, lambda s: s[:, ::-1])),
  ),
  Case(
    "one slice of three is noise",
    "refused",
    "slice 3 of 3: the sequence explains",
    changed(_in_slice(2, _noise_like)),
  ),
  Case(
    "one slice of three without signal",
    "refused",
    "slice 1 of 3 has no signal",
    changed(_in_slice(0, np.zeros_like)),
  ),
  Case(
    "every eighth voxel is noise",
    "named",
    "are like noise",
    changed(_every(8, _noise_like)),
  ),
  Case(
    "every eighth voxel is zero",
    "named",
    "have no signal",
    changed(_every(8, np.zeros_like)),
  ),
  Case("a map of B1", "named", "B1 by b1.nii: 1 to 1", with_b1_map(np.copy)),
  Case(
    "a map of B1 in per cent",
    "refused",
    "b1.nii: the median B1 in the mask is 100",
    with_b1_map(lambda b1: 100 * b1),
  ),
  Case(
    "a map of B1 that is zero in half of the head",
    "refused",
    "masked voxels have no B1 above 0",
    with_b1_map(lambda b1: b1 * (np.arange(b1.shape[-1]) % 2)),
  ),
  Case(
    "a map of B1 of another place",
    "refused",
    "b1.nii",
    with_b1_map(np.copy, shift_mm=1000.0),
  ),
  Case(
    "voxels in the order of MATLAB",
    "named",
    "in the order of the mask",
    changed(_fortran_order),
  ),
  Case(
    "flip angles × 1.3, as B1 makes them, without a window",
    "right",
    "",
    _sound(
      Acquisition(_TRAIN),
      sequence=dataclasses.replace(
        _TRAIN, flip_angles_deg=1.3 * _TRAIN.flip_angles_deg
      ),
    ),
  ),
  Case(
    "seven images of flip angles that rise evenly",
    "right",
    "",
    _sound(
      Acquisition(
        dataclasses.replace(
          tailored(96), flip_angles_deg=np.linspace(5.0, 60.0, 96)
        ),
        48,
        8,
      ),
      noise=0.05,
    ),
  ),
  Case(
    "noise three times the signal, with reference maps",
    "named",
    "estimates scatter",
    lambda folder: Seen(
      "accepted",
      right=False,
      said=tuple(check_scan(make_scan(noise=3.0), path=folder / "scan.h5")),
    ),
  ),
  Case(
    "noise alone", "refused", "noise alone", changed(lambda s: _random(s.shape))
  ),
  Case(
    "signals of zeros",
    "refused",
    "all signals are zero",
    changed(lambda s: 0 * s),
  ),
  Case(
    "noise as strong as the signal", "named", "estimates scatter", noisy(1.0)
  ),
  Case(
    "noise three times the signal", "named", "estimates scatter", noisy(3.0)
  ),
  Case(
    "signals × 1e-22", "right", "", changed(lambda s: s * np.float32(1e-22))
  ),
  Case("signals × 1e20", "right", "", changed(lambda s: s * np.float32(1e20))),
  Case("signals × 1e5", "right", "", changed(lambda s: s * np.float32(1e5))),
  Case(
    "ten voxels × 1e4", "refused", "as bright as the median", changed(_spikes)
  ),
  Case(
    "a sequence without the inversion that was played",
    "named",
    "is it this one",
    lambda folder: reconstructed(
      dataclasses.replace(
        scan(),
        acquisition=Acquisition(
          dataclasses.replace(_TRAIN, inversion_time_ms=None), 24, 4
        ),
      ),
      folder,
    ),
  ),
  Case(
    "another sequence of as many frames (flip angles reversed)",
    "named",
    "is it this one",
    played(
      dataclasses.replace(
        _TRAIN, flip_angles_deg=_TRAIN.flip_angles_deg[::-1].copy()
      )
    ),
  ),
  Case(
    "another sequence of as many frames (constant flip angle)",
    "named",
    "is it this one",
    played(dataclasses.replace(_TRAIN, flip_angles_deg=np.full(240, 30.0))),
  ),
  Case(
    "T1 of the dictionary ends at 700 ms",
    "named",
    "at the edge of the dictionary",
    changed(np.array, t1_ms=(300.0, 700.0)),
  ),
  Case("for a network: a sound scan", "right", "", for_network(np.array)),
  Case(
    "for a network: sign flipped",
    "refused",
    "--align_phases",
    for_network(lambda s: -s),
  ),
  Case(
    "for a network: × i",
    "refused",
    "turned by 90°",
    for_network(lambda s: 1j * s),
  ),
  Case(
    "for a network: phase of 0.5 rad",
    "named",
    "turned by 29°",
    for_network(lambda s: np.exp(0.5j) * s),
  ),
  Case(
    "for a network: a random phase in each voxel",
    "refused",
    "from voxel to voxel",
    for_network(
      lambda s: (
        s * np.exp(2j * np.pi * np.random.default_rng(0).random((len(s), 1)))
      )
    ),
  ),
  Case(
    "for a network: a smooth phase of the coils",
    "named",
    "differ over the scan",
    for_network(
      lambda s: (
        s * np.exp(2j * (np.nonzero(scan().mask)[2] / 24 - 0.5))[:, None]
      )
    ),
  ),
  Case(
    "for a network: one slice of three turned by 180°",
    "refused",
    "the phase of slice 2 of 3 is turned by 180°",
    for_network(_in_slice(1, lambda s: -s)),
  ),
  Case(
    "for a network: one slice of three turned by 20°",
    "named",
    "the phase of slice 2 of 3 is turned by 20°",
    for_network(_in_slice(1, lambda s: s * np.exp(1j * np.pi / 9))),
  ),
  Case("reference maps of the scan", "right", "", _references(np.array)),
  Case(
    "reference maps mirrored left to right",
    "refused",
    "mirrored along x",
    _references(lambda v: v[:, :, ::-1]),
  ),
  Case(
    "reference maps end for end",
    "refused",
    "mirrored along z",
    _references(lambda v: v[::-1]),
  ),
  Case(
    "reference maps of another head",
    "refused",
    "T1 of the reference maps and of the signals correlate",
    _references(_another_head),
  ),
  Case(
    "spheres of T1 83 to 2376 ms, estimated as white matter",
    "named",
    "0 of them unmarked",
    spheres(_brain),
  ),
  Case(
    "spheres of T1 83 to 2376 ms, estimated as they are",
    "right",
    "",
    spheres(lambda truth: truth),
  ),
]
