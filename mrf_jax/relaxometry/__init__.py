"""Conventional T1 and T2 maps: variable flip angles and multi-echo fits."""
