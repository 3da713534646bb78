"""Prints predicted standard deviations beside errors against the truth.

python docs/run_calibration.py runs/demo

Of every method of a finished workdir of simulated heads that predicts them.
`calibration.md` in the workdir compares them with the errors against the
acquired reference maps, which err themselves.
"""

import pathlib
import sys

import ml_collections

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from mrf_jax.evaluation.calibration import (
  NOTE,
  calibrate,
  format_calibration,
)
from mrf_jax.io import nifti
from mrf_jax.maps import MAP_NAMES, Maps
from mrf_jax.methods import METHODS
from mrf_jax.report.results import LeftOut, load_results
from mrf_jax.workdir.workdir import Workdir


def main(root: pathlib.Path) -> None:
  """Prints the table of a workdir."""
  workdir = Workdir.existing(root)
  config = ml_collections.ConfigDict(workdir.config)
  results = load_results(root)

  def deviations(method: str, own: LeftOut) -> Maps:
    return Maps(
      *(
        nifti.load_map(
          workdir.map_file(method, own.number, name, deviation=True),
          own.subject.mask,
        )
        for name in MAP_NAMES
      )
    )

  methods = [
    m for m in config.methods if METHODS[m].predicts_deviations(config)
  ]
  rows = calibrate(
    {m: [own.estimates[m] for own in results] for m in methods},
    {m: [deviations(m, own) for own in results] for m in methods},
    [own.subject.truth for own in results],
    [own.tissues for own in results],
  )
  print(f"{NOTE}\n\n{format_calibration(rows)}")


if __name__ == "__main__":
  main(pathlib.Path(sys.argv[1]))
