"""What BIDS sidecars say about the estimation of maps."""

import os
import platform
from collections.abc import Sequence
from typing import Any

from mrf_jax.dataset.subject import Subject
from mrf_jax.methods.estimators import Estimator

# Method to its publication.
_REFERENCES = {
  "spatiotemporal": "Balsiger et al. 2018, Machine Learning for Medical Image "
  "Reconstruction, LNCS 11074:39-46, doi:10.1007/978-3-030-00129-2_5",
  "cohen": "Cohen et al. 2018, Magn Reson Med 80:885-894, "
  "doi:10.1002/mrm.27198",
  "hoppe": "Hoppe et al. 2017, Stud Health Technol Inform 243:202-206",
  "dictionary": "Ma et al. 2013, Nature 495:187-192, doi:10.1038/nature11971",
  "dictionary_svd": "McGivney et al. 2014, IEEE Trans Med Imaging "
  "33:2311-2322, doi:10.1109/TMI.2014.2337321",
}


def bids_metadata(
  subject: Subject,
  estimator: Estimator,
  *,
  scan: str | os.PathLike,
  version: str,
  remarks: Sequence[str],
  files: Sequence[str] = (),
) -> dict[str, Any]:
  """Metadata of all maps of a scan, by the names of the specification.

  Args:
    subject: the scan.
    estimator: the method.
    scan: file of the scan, whose name is given without its folder.
    version: version of the program.
    remarks: sentences on what was assumed, and on what is in doubt.
    files: files and folders of the run, which remarks name without the folders
      that they lie in: maps are passed on, and the folders of a computer are
      nobody else's business.

  Returns:
    Names to values that JSON can store. Not of the specification: `Simulated`,
    for simulated scans, and `Remarks`.
  """
  references = [
    _REFERENCES[name]
    for name in estimator.name.split(" and ")
    if name in _REFERENCES
  ]
  metadata: dict[str, Any] = {
    "BasedOn": [os.path.basename(scan)],
    "EstimationAlgorithm": estimator.name,
    "EstimationSoftwareName": "mrf_jax",
    "EstimationSoftwareVer": version,
    "EstimationSoftwareLang": f"Python {platform.python_version()}",
    "EstimationSoftwareEnv": platform.platform(),
    "MagneticFieldStrength": float(subject.field_strength_t),
  }
  if references:
    metadata["EstimationReference"] = "; ".join(references)
  if subject.is_simulated:
    metadata["Simulated"] = True
  if remarks:
    metadata["Remarks"] = [_without_folders(text, files) for text in remarks]
  return metadata


def _without_folders(text: str, files: Sequence[str]) -> str:
  """A sentence that names files by their last part alone."""
  # The longest first: one may lie in another.
  for file in sorted(map(str, files), key=len, reverse=True):
    text = text.replace(file, os.path.basename(os.path.normpath(file)))
  return text
