"""Spread of errors over subjects or seeds, the ± of every table.

The sample standard deviation, which divides by n − 1. The paper does not say
which it prints; the first author's later public code divides by n. Of six
subjects, that is 0.91 of what is printed here.
"""

import numpy as np
from numpy.typing import ArrayLike

# Subtracted from n in the divisor, and the words for it in notes of tables.
DDOF = 1
STANDARD_DEVIATION = "standard deviation (n − 1)"


def spread(values: ArrayLike) -> float:
  """Standard deviation of values without NaN; 0 of one, NaN of none.

  By NumPy, because pandas sums in an order that changes last digits.
  """
  values = np.asarray(values, float)
  if len(values) <= DDOF:
    return 0.0 if len(values) else np.nan
  return float(np.std(values, ddof=DDOF))
