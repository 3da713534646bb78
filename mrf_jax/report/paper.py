"""Table 1 of Balsiger 2018, of in-vivo scans, to compare with ours.

Means over the left-out subjects. The rows of white matter are certain; the text
of the paper has those of grey matter and CSF in disorder, and they were sorted
by hand.
"""

# (tissue, method) to MAE and RMSE of PD (a.u.), T1 (ms) and T2 (ms).
TABLE_1 = {
  ("wm", "cohen"): (0.084, 0.107, 209.0, 267.5, 43.6, 77.3),
  ("wm", "hoppe"): (0.080, 0.101, 253.9, 317.7, 61.3, 92.0),
  ("wm", "gomez"): (0.058, 0.074, 258.6, 327.2, 33.4, 73.4),
  ("wm", "spatiotemporal"): (0.055, 0.072, 159.4, 242.7, 28.0, 71.1),
  ("gm", "cohen"): (0.094, 0.121, 197.0, 258.0, 57.6, 97.3),
  ("gm", "hoppe"): (0.092, 0.119, 218.5, 287.5, 70.2, 105.1),
  ("gm", "gomez"): (0.060, 0.081, 190.8, 269.1, 45.8, 90.5),
  ("gm", "spatiotemporal"): (0.061, 0.077, 208.2, 286.6, 43.2, 93.6),
  ("csf", "cohen"): (0.126, 0.152, 1162.6, 1364.1, 183.3, 237.0),
  ("csf", "hoppe"): (0.128, 0.156, 1013.3, 1219.4, 174.7, 227.8),
  ("csf", "gomez"): (0.102, 0.129, 1072.5, 1268.8, 228.6, 286.8),
  ("csf", "spatiotemporal"): (0.093, 0.113, 989.2, 1181.5, 181.6, 240.2),
}

# In the order of the paper's table.
METHODS = ("spatiotemporal", "cohen", "hoppe", "gomez")
