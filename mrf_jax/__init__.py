"""MR fingerprinting reconstruction in JAX."""

from mrf_jax.cramer_rao import cramer_rao_bounds
from mrf_jax.dataset.raw_data import RawData, load_raw_data
from mrf_jax.dataset.subject import Subject, load_subject, save_subject
from mrf_jax.errors import UserError
from mrf_jax.maps import Maps
from mrf_jax.matching.atlas import AtlasScan, match_atlas
from mrf_jax.matching.dictionary import Dictionary, build_dictionary
from mrf_jax.matching.dot_product import match
from mrf_jax.model import (
  Model,
  reconstruct,
  reconstruct_ensemble,
  reconstruct_with_deviations,
)
from mrf_jax.relaxometry import fit_t2, fit_vfa_t1
from mrf_jax.relaxometry_nifti import T1Maps, T2Maps, t2_maps, vfa_t1_maps
from mrf_jax.sequence import (
  Sequence,
  jiang_type,
  make_sequence,
  rf_spoiling_phases_deg,
  tailored,
)
from mrf_jax.sequence_files import load_sequence
from mrf_jax.signal.fingerprints import (
  FingerprintDerivatives,
  fingerprint_derivatives,
  simulate_fingerprints,
)
from mrf_jax.signal.slice_profile import SliceProfile, sinc_slice_profile
from mrf_jax.training.bundle import load_model, save_model

__all__ = [
  "AtlasScan",
  "Dictionary",
  "FingerprintDerivatives",
  "Maps",
  "Model",
  "RawData",
  "Sequence",
  "SliceProfile",
  "Subject",
  "T1Maps",
  "T2Maps",
  "UserError",
  "build_dictionary",
  "cramer_rao_bounds",
  "fingerprint_derivatives",
  "fit_t2",
  "fit_vfa_t1",
  "jiang_type",
  "load_model",
  "load_raw_data",
  "load_sequence",
  "load_subject",
  "make_sequence",
  "match",
  "match_atlas",
  "reconstruct",
  "reconstruct_ensemble",
  "reconstruct_with_deviations",
  "rf_spoiling_phases_deg",
  "save_model",
  "save_subject",
  "simulate_fingerprints",
  "sinc_slice_profile",
  "t2_maps",
  "tailored",
  "vfa_t1_maps",
]
