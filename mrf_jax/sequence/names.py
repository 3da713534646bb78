"""What the names of columns, variables and settings mean, and their units."""

import re

from mrf_jax.units import PHASES_DEG

# Names that mean a field without doubt, in lower case.
_EXACT = {
  "flip_angles_deg": (
    "flip_angles_deg",
    "flip_angle_deg",
    "flip_angles",
    "flip_angle",
    "flipangles",
    "flipangle",
    "flip",
    "fa",
  ),
  "tr_ms": ("tr_ms", "tr"),
  "te_ms": ("te_ms", "te"),
  "rf_phases_deg": (
    "rf_phases_deg",
    "rf_phase_deg",
    "phases",
    "phase",
    "ph",
  ),
  "inversion_time_ms": ("inversion_time_ms", "ti_ms", "ti"),
  "saturation_time_ms": ("saturation_time_ms",),
  "t2_preparation_ms": ("t2_preparation_ms",),
}
# Other names, as `_plain` leaves them.
_SIMILAR = {
  "flip_angles_deg": "flipangle flip fa alpha angle tip tipangle rfangle rffa "
  "nutation excitationangle",
  "tr_ms": "tr repetitiontime repetition reptime",
  "te_ms": "te echotime",
  "rf_phases_deg": "phase ph phi rfphase rfph rfphi phirf phaserf pulsephase "
  "phaseangle rfphaseangle excitationphase txphase transmitphase",
  "inversion_time_ms": "ti inversiontime invtime tinv tinversion "
  "inversiondelay invdelay tidelay delayinv delayinversion delayafterinversion",
  "saturation_time_ms": "ts tsat saturationtime sattime saturationdelay",
  "t2_preparation_ms": "t2preparation t2prep t2preptime t2preparationtime "
  "t2prepduration t2prepdur teprep tet2prep",
}
_SIMILAR_FIELDS = {
  word: field for field, words in _SIMILAR.items() for word in words.split()
}
# Words around a name that do not change what it means.
_FILLERS = (
  "list lists array arr vector vec train trains schedule sched sequence seq "
  "values value vals val all nominal mrf pattern"
).split()
_UNITS = {
  "s": "s sec secs second seconds",
  "ms": "ms msec msecs millisecond milliseconds",
  "us": "us usec usecs µs μs microsecond microseconds",
  "deg": "deg degs degree degrees °",
  "rad": "rad rads radian radians",
  "cycles": "cycle cycles turn turns",
  "half_turns": "pi π",
}
UNIT_OF = {
  word: unit for unit, words in _UNITS.items() for word in words.split()
}
# A unit behind a name is set off from it: "TR [ms]", "TR_s", "TE in µs".
_WITH_UNIT = re.compile(
  r"(?P<name>.*?\w)(?:\s*[\[(/]\s*|[\s_.-]+(?:in[\s_]+)?)(?P<unit>[^\W_]+|°)"
  r"\s*[\])]?"
)
_ATTACHED_UNIT = re.compile("(?P<name>[A-Z]{2})(?P<unit>rad|deg|ms|us|sec)")
# Phases, but of something else than the pulses.
_OTHER_PHASES = re.compile(
  "enc|grad|spiral|rot|traj|gold|spoke|azim|polar|kspace"
)
_PHASE_LIKE = re.compile("(?<!al)pha|phi|theta|psi")
# Names of two words, between blanks.
_TWO_WORDS = re.compile(
  r"\b(flip|tip|rf|pulse|repetition|echo|inversion|saturation)\s+"
  r"(angles?|phases?|times?)\b",
  re.IGNORECASE,
)
# The short name in brackets behind the long one: "Echo time (TE)".
_SHORT_NAME = re.compile(r"(?P<name>.*\w)\s*[\[(](?P<short>T[REI]|FA|PH)[\])]")
# A unit that follows a name after a blank.
_BRACKETS = re.compile(r"\s+([\[(][^\])]*[\])])")


def exact_field(name: str) -> str | None:
  """The field that a name means without doubt, or None."""
  fields = (field for field, names in _EXACT.items() if name.lower() in names)
  return next(fields, None)


def field_and_unit(name: str) -> tuple[str | None, str | None]:
  """The field that a name means, exactly or nearly, and the unit in it.

  Units are those of `mrf_jax.units`; None for a name without a unit, and for
  one with the unit of the field, which is what is assumed anyway.
  """
  field = exact_field(name)
  if field is not None:
    return field, None
  name = name.strip()
  both = _SHORT_NAME.match(name)
  if both:
    rest = name[both.end() :]
    field, unit = field_and_unit(both["name"] + rest)
    return (
      (field, unit) if field == exact_field(both["short"]) else (None, None)
    )
  match = _WITH_UNIT.fullmatch(name) or _ATTACHED_UNIT.fullmatch(name)
  unit = UNIT_OF.get(match["unit"].lower()) if match else None
  if match is None or unit is None:
    return _SIMILAR_FIELDS.get(_plain(name)), None
  field = exact_field(match["name"])
  field = field or _SIMILAR_FIELDS.get(_plain(match["name"]))
  if field is None or field.endswith(f"_{unit}"):
    return field, None
  # Not "TR (deg)".
  is_angle = unit in PHASES_DEG
  return (field, unit) if field.endswith("_deg") == is_angle else (None, None)


def _plain(name: str) -> str:
  """A name in lower case, without marks, fillers and plural."""
  words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)
  kept = [word for word in words if word.lower() not in _FILLERS] or words
  plain = "".join(kept).lower()
  for filler in _FILLERS:
    plain = plain.removesuffix(filler) or plain
  return plain if plain in _SIMILAR_FIELDS else plain.removesuffix("s")


def resembles(name: str) -> str | None:
  """The field of a frame that a name recalls, without meaning it for sure."""
  words = [w.lower() for w in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
  text = "".join(words)
  if _OTHER_PHASES.search(text):
    return None
  if _PHASE_LIKE.search(text) or "ph" in words:
    return "rf_phases_deg"
  if "tr" in words or "repetition" in text:
    return "tr_ms"
  if "te" in words or "echotime" in text:
    return "te_ms"
  return None


def split_names(line: str) -> list[str]:
  """Names of columns in a line, between commas, tabs or blanks."""
  line = line.strip().strip(",;")
  if re.search(r"[,;\t]", line):
    return [name.strip() for name in re.split(r"\s*[,;\t]\s*", line)]
  line = _TWO_WORDS.sub(r"\1_\2", line).replace(" / ", " ")
  return _BRACKETS.sub(r"\1", line).split()
