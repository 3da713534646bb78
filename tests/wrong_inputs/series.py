"""Image series, masks and reference maps of other programs."""

import functools

import numpy as np

from tests.wrong_inputs import map_units
from tests.wrong_inputs.cases import Case
from tests.wrong_inputs.series_files import (
  AFFINE,
  BARE,
  BRAIN,
  HEAD,
  MASK,
  X,
  Y,
  Z,
  complex_above_zero,
  finer_soft_mask,
  from_numpy,
  half_a_voxel_off,
  images,
  images_as_vectors,
  in_units,
  magnitude_and_phase,
  magnitude_and_phase_in_one,
  mask_of_two_files,
  moved_maps,
  numpy_with_place_of,
  other_shape,
  placed,
  qform_elsewhere,
  resaved,
  signed_magnitude,
  small_region,
  soft,
  transposed_series,
  unsigned_parts,
  with_maps,
  with_mask,
  zeros,
)

NONE = (BARE, {"code": 0})
_part = functools.partial
CASES: list[Case] = [
  # Where voxels lie.
  Case("series, mask and maps with one affine", "right", "", placed),
  Case(
    "series with a place, mask and maps without (codes 0)",
    "refused",
    "mask.nii: its place is not stated",
    _part(placed, maps_place=NONE),
  ),
  Case(
    "the same, --voxel_by_voxel",
    "named",
    "t1.nii: taken voxel by voxel",
    _part(placed, maps_place=NONE, voxel_by_voxel=True),
  ),
  Case("the same, maps of another shape", "refused", "same shape", other_shape),
  Case(
    "series without a place (codes 0), mask and maps with one",
    "refused",
    "--affine_from=",
    _part(placed, series_place=NONE),
  ),
  Case(
    "series, mask and maps without a place (codes 0)",
    "named",
    "states no place",
    _part(placed, series_place=NONE, maps_place=NONE),
  ),
  Case(
    "series without a place, mask and maps that nibabel saved with its affine",
    "named",
    "states no place",
    _part(resaved, series_code=0),
  ),
  Case(
    "series with a place, mask and maps with nibabel's affine for codes 0",
    "refused",
    "nibabel invents",
    _part(resaved, series_code=1),
  ),
  Case(
    "series with a place, maps of the affine diag(voxel size)",
    "refused",
    "mere diagonal",
    _part(placed, maps_place=(BARE, {})),
  ),
  Case(
    ".npy and --voxel_mm, maps without a place (codes 0)",
    "named",
    "taken voxel by voxel",
    _part(from_numpy, maps_place=NONE),
  ),
  Case(
    ".npy and --voxel_mm, maps of the affine diag(voxel size)",
    "named",
    "taken voxel by voxel",
    _part(from_numpy, maps_place=(BARE, {})),
  ),
  Case(
    ".npy and --voxel_mm, maps of np.eye(4)",
    "refused",
    "--voxel_by_voxel",
    _part(from_numpy, maps_place=(np.eye(4), {})),
  ),
  Case(
    ".npy and --voxel_mm, maps with a place",
    "refused",
    "--affine_from=",
    _part(from_numpy, maps_place=(AFFINE, {})),
  ),
  Case(
    ".npy and --affine_from of the mask, which has a place",
    "right",
    "",
    numpy_with_place_of,
  ),
  Case(
    ".npy and --affine_from of a file without a place (codes 0)",
    "refused",
    "--voxel_mm=3,3,5",
    _part(numpy_with_place_of, affine=BARE, code=0),
  ),
  Case(
    "mask and maps in MNI coordinates (code 4) beside scanner coordinates",
    "refused",
    "MNI coordinates",
    _part(placed, maps_place=(AFFINE @ np.diag([1.1, 1, 1, 1]), {"code": 4})),
  ),
  Case(
    "series whose qform and sform are two places",
    "named",
    "its qform lies elsewhere",
    qform_elsewhere,
  ),
  Case(
    "mask and maps in metres by their headers",
    "right",
    "",
    _part(in_units, unit="meter", factor=1e-3),
  ),
  Case(
    "mask and maps in µm by their headers",
    "right",
    "",
    _part(in_units, unit="micron", factor=1e3),
  ),
  Case(
    "--affine_from in metres by its header",
    "right",
    "",
    _part(
      numpy_with_place_of,
      affine=np.diag([1e-3] * 3 + [1]) @ AFFINE,
      unit="meter",
    ),
  ),
  Case(
    "mask and maps whose headers say metres, but are in mm",
    "refused",
    "mask.nii: voxels of 3e+03",
    _part(in_units, unit="meter", factor=1.0),
  ),
  # What masks hold, and where.
  Case(
    "mask of the whole head", "right", "", lambda f: with_mask(f, HEAD * 1.0)
  ),
  Case("mask of a small region", "right", "", small_region),
  Case(
    "mask of a single slice",
    "right",
    "",
    lambda f: with_mask(f, MASK * (Z == 2).astype(np.uint8)),
  ),
  Case(
    "mask mirrored from left to right in its data",
    "refused",
    "mirrored along x",
    lambda f: with_mask(f, HEAD[::-1] * 1.0),
  ),
  Case(
    "mask moved by 3 voxels",
    "refused",
    "moved by 3 voxels along y",
    lambda f: with_mask(f, np.roll(HEAD, 3, 1) * 1.0),
  ),
  Case(
    "mask of a small region in the air",
    "refused",
    "in common",
    lambda f: with_mask(f, ((Z == 1) & (np.hypot(X - 3, Y - 3) < 3)) * 1.0),
  ),
  Case(
    "inverted mask", "refused", "darker", lambda f: with_mask(f, ~HEAD * 1.0)
  ),
  Case(
    "probabilities as mask",
    "named",
    "0.5 or more is inside",
    lambda f: with_mask(f, soft(), expected=soft() >= 0.5),
  ),
  Case(
    "probabilities in per cent as mask",
    "named",
    "taken for per cent",
    lambda f: with_mask(f, 100 * soft(), expected=soft() >= 0.5),
  ),
  Case(
    "probabilities from 0 to 255 as mask",
    "named",
    "shares of 255",
    lambda f: with_mask(
      f, np.round(255 * soft()).astype(np.uint8), expected=soft() >= 0.5
    ),
  ),
  Case(
    "probabilities on a finer grid",
    "named",
    "resampled to the scan (linear)",
    finer_soft_mask,
  ),
  Case(
    "mask of 0 and 255",
    "named",
    "255 is inside",
    lambda f: with_mask(f, MASK * np.uint8(255)),
  ),
  Case(
    "labels of tissues 1, 2 and 3 as mask",
    "named",
    "3 labels",
    lambda f: with_mask(f, (MASK * (1 + X % 3)).astype(np.uint8)),
  ),
  Case(
    "mask of 0, 25 and 100",
    "refused",
    "labels, or shares",
    lambda f: with_mask(f, (MASK * (25 + 75 * (X > 11))).astype(np.uint8)),
  ),
  Case(
    "mask of -1 and 1",
    "refused",
    "values from -1 to 1",
    lambda f: with_mask(f, np.where(BRAIN, 1, -1).astype(np.int16)),
  ),
  Case(
    "image without its skull instead of a mask",
    "refused",
    "those of an image",
    lambda f: with_mask(f, BRAIN * np.abs(images())[..., -1] * 740),
  ),
  Case(
    "probabilities of at most 0.4",
    "refused",
    "none is",
    lambda f: with_mask(f, 0.4 * soft()),
  ),
  Case(
    "mask of 1 in NaN",
    "refused",
    "NaN or infinite; 0 is outside",
    lambda f: with_mask(f, np.where(BRAIN, 1, np.nan).astype(np.float32)),
  ),
  Case(
    "mask as a pair .hdr and .img",
    "refused",
    "the header of a pair of files",
    mask_of_two_files,
  ),
  # Reference maps.
  *[
    Case(
      f"maps of a finer grid, {name} around the brain",
      "right",
      "",
      _part(half_a_voxel_off, background=value),
    )
    for name, value in (("0", 0), ("NaN", np.nan), ("-1", -1), ("1e-6", 1e-6))
  ],
  Case(
    "maps moved by 5 voxels in their data, --leave_out_invalid",
    "refused",
    "t1.nii: the map and the bright voxels",
    _part(
      with_maps,
      change=moved_maps,
      leave_out_invalid=True,
    ),
  ),
  Case(
    "maps in seconds",
    "refused",
    "--t1_unit=s",
    _part(
      with_maps,
      change=lambda m: {
        "pd": m["pd"],
        "t1": m["t1"] / 1e3,
        "t2": m["t2"] / 1e3,
      },
    ),
  ),
  Case(
    "the map of T1 for T2, too",
    "refused",
    "t2.nii: has the values of t1_ms",
    _part(with_maps, change=lambda m: {**m, "t2": m["t1"]}),
  ),
  Case(
    "T2 that is a tenth of T1",
    "right",
    "",
    _part(with_maps, change=lambda m: {**m, "t2": 0.1 * m["t1"]}),
  ),
  Case(
    "a map of PD that is moved, --leave_out_invalid",
    "named",
    "pd is not above 0 in 36% of the mask",
    _part(
      with_maps,
      change=lambda m: {**m, "pd": np.roll(m["pd"], 4, 1)},
      leave_out_invalid=True,
    ),
  ),
  Case(
    "times in units of 0.1 ms",
    "refused",
    "none of s, ms, us, 1/s, 1/ms explains it",
    _part(with_maps, change=lambda m: {**m, "t1": 10 * m["t1"]}),
  ),
  Case(
    "--affine_from and --voxel_mm",
    "refused",
    "only one of them is needed",
    _part(placed, affine_from="mask.nii", voxel_mm="3,3,5"),
  ),
  Case(
    "series of five axes, the images as components of a vector",
    "right",
    "",
    images_as_vectors,
  ),
  Case("series of zeros", "refused", "series.nii: all images are 0", zeros),
  Case("series stored [y, x, slice]", "refused", "x and y", transposed_series),
  # Magnitude and phase.
  *[
    Case(
      f"magnitude and phase ({name}) as real and imaginary part",
      "refused",
      "--phase=",
      _part(
        magnitude_and_phase, low=low, turn=turn, flags=("scan", "imaginary")
      ),
    )
    for name, low, turn in (
      ("±π", -np.pi, 2 * np.pi),
      ("0…2π", 0, 2 * np.pi),
      ("±180", -180, 360),
      ("0…360", 0, 360),
      ("±4096", -4096, 8192),
      ("0…4095", 0, 4096),
      ("±1", -1, 2),
      ("±500", -500, 1000),
      ("mrad", -3142, 6283),
    )
  ],
  Case(
    "phase and magnitude as real and imaginary part",
    "refused",
    "--phase=",
    _part(
      magnitude_and_phase,
      low=-np.pi,
      turn=2 * np.pi,
      flags=("scan", "imaginary"),
      swap=True,
    ),
  ),
  Case(
    "magnitude and phase in one file",
    "refused",
    "--phase=",
    magnitude_and_phase_in_one,
  ),
  *[
    Case(
      f"magnitude, and phase ({name}) with --phase",
      "named",
      f"phases of which {turn:.6g} are a full turn",
      _part(
        magnitude_and_phase,
        low=low,
        turn=turn,
        flags=("scan", "phase"),
        align_phases=False,
      ),
    )
    for name, low, turn in (
      ("±π", -np.pi, 2 * np.pi),
      ("±180", -180, 360),
      ("0…4095", 0, 4096),
    )
  ],
  Case(
    "magnitude, and phase (±1) with --phase",
    "refused",
    "--phase_turn",
    _part(magnitude_and_phase, low=-1, turn=2, flags=("scan", "phase")),
  ),
  Case(
    "the same, --phase_turn=2",
    "named",
    "phases of which 2 are a full turn",
    _part(
      magnitude_and_phase,
      low=-1,
      turn=2,
      flags=("scan", "phase"),
      phase_turn=2.0,
      align_phases=False,
    ),
  ),
  Case(
    "the same in degrees, --phase_turn=6.2832",
    "refused",
    "a full turn of 360",
    _part(
      magnitude_and_phase,
      low=-180,
      turn=360,
      flags=("scan", "phase"),
      phase_turn=6.2832,
    ),
  ),
  Case(
    "real and imaginary parts as unsigned numbers about 2048",
    "refused",
    "unsigned numbers without their offset",
    unsigned_parts,
  ),
  Case(
    "real part and phase with --phase",
    "refused",
    "this is the magnitude",
    signed_magnitude,
  ),
  Case(
    "complex series whose real part is never negative",
    "right",
    "",
    _part(complex_above_zero, kind="coil phase"),
  ),
  Case(
    "the same, aligned, so that the imaginary part is noise",
    "right",
    "",
    _part(complex_above_zero, kind="aligned"),
  ),
  *map_units.CASES,
]
