"""Trained models: bundles, maps, uncertainty and export."""
