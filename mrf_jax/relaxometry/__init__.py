"""Conventional T1 and T2 maps: variable flip angles and multi-echo fits."""

import lazy_loader

# Lazily: fits of arrays do not need the readers of files.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
