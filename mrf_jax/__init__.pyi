"""MR fingerprinting reconstruction in JAX."""

from .dataset.map_files import save_maps
from .dataset.subject import Subject, load_subject, save_subject
from .errors import UserError
from .importing.load_scan import load_scan
from .inference.bundle import load_model, save_model
from .inference.model import (
  Model,
  reconstruct,
  reconstruct_ensemble,
  reconstruct_with_deviations,
)
from .io.ismrmrd_reader import RawData, load_raw_data
from .maps import Maps
from .matching.atlas import AtlasScan, match_atlas
from .matching.dictionary import Dictionary, build_dictionary
from .matching.dot_product import match
from .matching.off_grid import OffGridMatch, match_off_grid
from .matching.off_grid_matcher import OffGridMatcher, make_off_grid_matcher
from .methods.train import train
from .networks.cohen import Cohen
from .networks.hoppe import Hoppe
from .networks.spatiotemporal import Spatiotemporal
from .networks.spatiotemporal_plus import SpatiotemporalPlus
from .relaxometry.fits import fit_t2, fit_vfa_t1
from .relaxometry.nifti_series import T1Maps, T2Maps, t2_maps, vfa_t1_maps
from .sequence.acquisition import Acquisition
from .sequence.files import load_sequence, save_sequence
from .sequence.schedules import jiang_type, rf_spoiling_phases_deg, tailored
from .sequence.sequence import Sequence, make_sequence
from .sequence.sliding_window import sliding_window
from .signal.cramer_rao import cramer_rao_bounds
from .signal.fingerprints import (
  FingerprintDerivatives,
  fingerprint_derivatives,
  simulate_fingerprints,
)
from .signal.slice_profile import SliceProfile, sinc_slice_profile
from .simulation.head import simulate_head
from .training.options import TrainingOptions

__version__: str

__all__ = [
  "Acquisition",
  "AtlasScan",
  "Cohen",
  "Dictionary",
  "FingerprintDerivatives",
  "Hoppe",
  "Maps",
  "Model",
  "OffGridMatch",
  "OffGridMatcher",
  "RawData",
  "Sequence",
  "SliceProfile",
  "Spatiotemporal",
  "SpatiotemporalPlus",
  "Subject",
  "T1Maps",
  "T2Maps",
  "TrainingOptions",
  "UserError",
  "build_dictionary",
  "cramer_rao_bounds",
  "fingerprint_derivatives",
  "fit_t2",
  "fit_vfa_t1",
  "jiang_type",
  "load_model",
  "load_raw_data",
  "load_scan",
  "load_sequence",
  "load_subject",
  "make_off_grid_matcher",
  "make_sequence",
  "match",
  "match_atlas",
  "match_off_grid",
  "reconstruct",
  "reconstruct_ensemble",
  "reconstruct_with_deviations",
  "rf_spoiling_phases_deg",
  "save_maps",
  "save_model",
  "save_sequence",
  "save_subject",
  "simulate_fingerprints",
  "simulate_head",
  "sinc_slice_profile",
  "sliding_window",
  "t2_maps",
  "tailored",
  "train",
  "vfa_t1_maps",
]
