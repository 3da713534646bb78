"""All flags but --mode, in a table that says which modes use them.

A new flag is a new line of `TABLE`.
"""

from collections.abc import Callable

from absl import flags
from ml_collections.config_flags import config_flags

from mrf_jax.command_line.modes import EXPERIMENTS, MODES
from mrf_jax.io.ismrmrd_trajectory import TRAJECTORY_UNITS

# Modes whose work several processes can share.
_SHARED_MODES = ("crossval", "sweep", "simulate")
# Modes that may find programs of earlier commands. `benchmark` times how long
# they are compiled.
_COMPILING_MODES = tuple(mode for mode in MODES if mode != "benchmark")
# Modes that read scans of other formats than our own.
SCAN_MODES = ("import", "reconstruct")
# And those that read a schedule.
SCHEDULE_MODES = (*SCAN_MODES, "train")
# The flags in groups: the modes that use them, the function that defines
# them, and the meaning of each with its unit and default. The value of a flag
# that is not given is None.
TABLE: tuple[tuple[tuple[str, ...], Callable, dict[str, str]], ...] = (
  (
    (*EXPERIMENTS, "reconstruct", "train"),
    config_flags.DEFINE_config_file,
    {
      "config": "Name of a built-in configuration, or file; "
      "--config.KEY=VALUE changes one of its values.",
    },
  ),
  (
    (*EXPERIMENTS, "report", "verify"),
    flags.DEFINE_string,
    {"workdir": "Folder of all results of a configuration."},
  ),
  (
    tuple(EXPERIMENTS),
    flags.DEFINE_boolean,
    {"profile": "Writes a trace of the devices to WORKDIR/profile."},
  ),
  (
    ("sweep",),
    flags.DEFINE_list,
    {"questions": "Questions of the configuration. Default: all."},
  ),
  (
    ("report",),
    flags.DEFINE_list,
    {
      "compare": "Files benchmark.json whose times are compared. Default: the "
      "report is on the study in --workdir.",
    },
  ),
  (
    _COMPILING_MODES,
    flags.DEFINE_string,
    {
      "compilation_cache": "Folder of compiled programs, which later commands "
      "find again, or none. Default: mrf_jax in the user's cache folder, such "
      "as ~/.cache.",
    },
  ),
  (
    _SHARED_MODES,
    flags.DEFINE_string,
    {
      "coordinator": "Address host:port of process 0, if several processes "
      "share the work. Default: that of the cluster, or a single process.",
    },
  ),
  (
    _SHARED_MODES,
    flags.DEFINE_integer,
    {
      "num_processes": "Number of processes that share the work.",
      "process_id": "Number of this process, from 0.",
      "coordinator_timeout_s": "Longest time to wait for the other processes, "
      "s. Default: 300.",
    },
  ),
  (
    ("report", "import", "reconstruct", "train", "finetune", "export"),
    flags.DEFINE_string,
    {
      "output": "Folder that report, reconstruct, train or finetune writes, or "
      "file that import (.h5) or export (.stablehlo) writes. Default of "
      "report: --workdir.",
    },
  ),
  (
    ("reconstruct", "finetune", "export"),
    flags.DEFINE_list,
    {
      "model": "Folder of a model bundle. In reconstruct also several, whose "
      "maps are averaged, or a dictionary, with --config: dictionary_fit, "
      "dictionary_svd or dictionary.",
    },
  ),
  (
    ("export",),
    flags.DEFINE_string,
    {
      "export_shape": "Number of slices and of voxels along y and x of the "
      "largest volume, such as 6,96,96: such a file runs on older versions of "
      "jax, too. Default: any volume.",
    },
  ),
  (
    ("reconstruct",),
    flags.DEFINE_string,
    {
      "bids": "Folder of a subject or a session in a BIDS derivative data set, "
      "such as derivatives/mrf_jax/sub-01: the maps are also written there, "
      "as sub-01_T1map.nii.gz and T2map in s, and PDmap.",
    },
  ),
  (
    ("reconstruct",),
    flags.DEFINE_boolean,
    {"uncertainty": "Also writes standard deviations of the maps."},
  ),
  (
    ("reconstruct", "train"),
    flags.DEFINE_string,
    {
      "b1": "What --model=dictionary_fit does with B1: none (it is 1), free "
      "(it is fitted, too), or map (it is that of --b1_map, or of the subject "
      "file). Default: map if there is one, else none.",
    },
  ),
  (
    ("reconstruct",),
    flags.DEFINE_integer,
    {
      "passes": "Number of passes with dropout for the standard deviations. "
      "Default: 16.",
      "passes_seed": "Seed of the dropout. Default: 0.",
    },
  ),
  (
    SCAN_MODES,
    flags.DEFINE_string,
    {
      "misfit": "What is done with a scan that does not fit its sequence, or "
      "reference maps that do not fit the scan: refuse (default), accept with "
      "a sentence, or ignore, which compares nothing and writes no fit.",
    },
  ),
  (
    ("train",),
    flags.DEFINE_float,
    {
      "noise_level": "Noise of the scans that the network is for, relative to "
      "their mean signal. Default: that of --scan, or else that of the "
      "configuration, 0.03.",
    },
  ),
  (
    ("finetune",),
    flags.DEFINE_list,
    {"subjects": "Subject files with reference maps."},
  ),
  (
    ("finetune",),
    flags.DEFINE_integer,
    {
      "epochs": "Number of passes over the voxels. Default: a quarter of the "
      "steps of the bundle's training, or all for another sequence or window.",
    },
  ),
  (
    ("finetune",),
    flags.DEFINE_float,
    {
      "learning_rate": "Learning rate of the first step. Default: a quarter of "
      "that of the bundle's training, or all for another sequence or window.",
    },
  ),
  # A scan that is no subject file: the fields of `ImportOptions`.
  (
    SCHEDULE_MODES,
    flags.DEFINE_string,
    {
      "scan": "File of the images (.nii, .nii.gz, .mat, .npy, .npz) or of the "
      "raw data (.mrd, .h5, .ismrmrd); in reconstruct also a subject file.",
      "imaginary": "File of the images' imaginary part, if --scan has only the "
      "real part.",
      "variable": "Variable of a .mat or .npz file that has the images. "
      "Default: the only one that can be images.",
      "imaginary_variable": "Variable that has the images' imaginary part (or "
      "their phase in --phase), if --variable has only the other one.",
      "phase": "File of the images' phase, if --scan has their magnitude.",
      "axes": "Letters of the stored axes in their order: x, y, z, t (images), "
      "c (real and imaginary part). Default: xyt, xyzt or xyztc.",
      "trajectory": "File of the trajectory of raw data: Pulseq (.seq); [arm, "
      "sample, 2] or complex kx + i ky (.npy, .npz, .mat); or text of two "
      "columns (.txt, .csv). Default: that in the file of the scan.",
      "trajectory_variable": "Variable of a .mat or .npz file that has the "
      "trajectory. Default: the only one that can be.",
      "trajectory_unit": "Unit of the raw data's trajectory: "
      + ", ".join(TRAJECTORY_UNITS)
      + " (normalized is 1 at the edge). Default: that which the file says, or "
      "else the only one in which it fits the voxels.",
      "frame": "Counter of the raw data that counts the frames, such as "
      "repetition, set or acquisition_time_stamp; several with commas, slowest "
      "first; file for the order of the file. Default: the time stamps and the "
      "counters that differ in all frames of a slice, if they agree.",
      "noise": "File of the noise of the coils of raw data: acquisitions that "
      "are flagged as noise (.mrd, .h5, .ismrmrd), or complex [coil, sample] "
      "(.npy). Default: those in the file of the scan.",
    },
  ),
  (
    SCAN_MODES,
    flags.DEFINE_string,
    {
      "subject": "Name of the subject. Default: the name of the scan's file.",
      "affine_from": "NIfTI file of the same shape that has the positions of "
      "the voxels. Default: those in the scan's file.",
      "voxel_mm": "Voxel sizes along x, y and slices, mm, such as 1,1,5. "
      "Default: those in the scan's file.",
      "mask": "NIfTI mask. Default: the largest bright object.",
      "pd": "NIfTI reference map of proton density, arbitrary unit.",
      "t1": "NIfTI reference map of T1, in --t1_unit.",
      "t2": "NIfTI reference map of T2, in --t2_unit.",
      "t1_unit": "Unit of --t1: s, ms, us, or 1/s or 1/ms for a map of the "
      "rate R1. Default: ms.",
      "t2_unit": "Unit of --t2: s, ms, us, or 1/s or 1/ms for a map of the "
      "rate R2. Default: ms.",
      "b1_map": "NIfTI map of the factor on the flip angles, 1 for the nominal "
      "ones; for --model=dictionary_fit, and for networks that "
      "--mode=train --b1=map made. Default: none.",
      "b0_map": "NIfTI map of the offset of the main field, for raw data: its "
      "turning during a readout is turned back. Default: none.",
      "b0_unit": "Unit of --b0_map: Hz, rad/s or ppm. Default: Hz, if images "
      "become no sharper by another.",
    },
  ),
  (
    SCHEDULE_MODES,
    flags.DEFINE_string,
    {
      "schedule": "File of flip angles and times: text, .mat or .seq (Pulseq). "
      "The sequence is taken to be gradient-spoiled (FISP), unless a text file "
      "has the line # balanced, a .mat file balanced = 1, or a Pulseq file "
      "rewinds all gradients.",
      "schedule_tr": "Text file of the TRs, if --schedule has none: its only "
      "column, or the one named tr_ms.",
      "time_unit": "Unit of the schedule's times: ms, s or us. Default: ms.",
      "angle_unit": "Unit of the schedule's angles: deg or rad. Default: deg.",
      "phase_unit": "Unit of the phases of the schedule's pulses: deg, rad, "
      "cycles or half_turns. Default: --angle_unit.",
      "echo": "Time of the echo in a readout of a Pulseq file: adc_start, for "
      "spirals, or adc_centre, for lines. Default: adc_start.",
      "inversion_time_ms": "Inversion time, ms, or none, if the schedule does "
      "not have it. Default: 20.",
    },
  ),
  (
    SCAN_MODES,
    flags.DEFINE_float,
    {
      "phase_turn": "Value of a full turn in --phase, such as 360 for degrees. "
      "Default: found from the range of the phases.",
    },
  ),
  (
    SCHEDULE_MODES,
    flags.DEFINE_float,
    {
      "sample_time_us": "Time from sample to sample of raw data, µs. Default: "
      "that in the file.",
      "delay_us": "Time by which the gradients of raw data are late, µs. "
      "Default: 0.",
      "coil_loss": "Share of the energy of the raw data that fewer, virtual "
      "coils may lose, such as 0.001. Default: all coils are kept.",
      "tr_ms": "Repetition time, ms, if the schedule has none. Default: 15.",
      "te_ms": "Echo time, ms, if the schedule has none. Default: 2.",
      "field_strength_t": "Field strength, T. Default: as in the scan's file.",
    },
  ),
  (
    SCHEDULE_MODES,
    flags.DEFINE_boolean,
    {
      "whiten": "Combines the coils of the raw data so that their noise is "
      "equal and uncorrelated. Default: if there is noise to tell it.",
    },
  ),
  (
    SCAN_MODES,
    flags.DEFINE_integer,
    {
      "b0_sign": "Sign of --b0_map: 1 if a positive value turns the phase of a "
      "voxel forwards, exp(+2πi f t), -1 if backwards. Default: 1, if images "
      "become no sharper by -1.",
    },
  ),
  (
    SCHEDULE_MODES,
    flags.DEFINE_integer,
    {
      "n_frames": "Number of frames of the schedule that are used, from its "
      "first. Default: all.",
      "window": "Number of frames that are averaged to an image. Default: 1.",
      "stride": "Number of frames from one image to the next. Default: 1.",
    },
  ),
  (
    SCAN_MODES,
    flags.DEFINE_boolean,
    {
      "voxel_by_voxel": "Takes mask and reference maps voxel by voxel, "
      "whatever their headers say of positions; their shapes must be the "
      "scan's. Default: they lie where their headers say.",
      "leave_out_invalid": "Removes voxels without valid reference maps from "
      "the mask. Default: they are an error.",
      "align_phases": "Turns the phase of each fingerprint so that its largest "
      "part is real. Default: for raw data and with --phase only.",
      "demodulate": "Removes the phases of the pulses from the raw data. "
      "Default: only if the receiver of a Pulseq file does not follow them.",
    },
  ),
)
# What a flag means in one mode, where the table says it of several.
IN_MODE: dict[str, dict[str, str]] = {
  "report": {"output": "Folder of the report. Default: --workdir."},
  "import": {
    "output": "Subject file to write (.h5).",
    "scan": "File of the images (.nii, .nii.gz, .mat, .npy, .npz) or of the "
    "raw data (.mrd, .h5, .ismrmrd).",
  },
  "reconstruct": {
    "model": "Folder of a trained network (a model bundle), or several with "
    "commas, whose maps are averaged; or dictionary_fit, dictionary_svd or "
    "dictionary, which need --config and no training.",
    "scan": "A subject file, images (.nii, .nii.gz, .mat, .npy, .npz) or raw "
    "data (.mrd, .h5, .ismrmrd).",
    "output": "Folder of the maps.",
    "config": "Configuration of the dictionary, such as paper; for --model="
    "dictionary_fit, dictionary_svd and dictionary only.",
    "schedule": "File of flip angles and times: text, .mat or .seq (Pulseq), "
    "as for import. Default: the model's sequence.",
  },
  "train": {
    "config": "Configuration of the heads, the scanner and the network, with "
    "one network and one fold; with it, as in --config=train, "
    "--config.KEY=VALUE changes one of its values. Default: train.",
    "output": "Folder of the new model bundle.",
    "b1": "Whether the network sees a measured B1 map of each scan, which it "
    "then needs: map or none. Default: none.",
    "scan": "Scan of the sequence whose dark region tells the noise: a file as "
    "import reads it. Default: none.",
    "field_strength_t": "Field strength of the heads, 0.55, 1.5, 3 or 7 T. "
    "Default: that of the configuration, 1.5.",
    "window": "Number of frames that are averaged to an image. Default: that "
    "of the configuration, 48.",
    "stride": "Number of frames from one image to the next. Default: that of "
    "the configuration, 8.",
  },
  "finetune": {
    "model": "Folder of a trained network (a model bundle).",
    "output": "Folder of the new model bundle.",
  },
  "export": {
    "model": "Folder of a trained network (a model bundle).",
    "output": "File to write (.stablehlo).",
  },
}
# Flags that have no effect without another, and flags that exclude another.
NEEDS = {
  "passes": "uncertainty",
  "passes_seed": "uncertainty",
  "phase_turn": "phase",
}
EXCLUDES = {"output": "compare"}
