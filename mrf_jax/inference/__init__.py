"""Trained models: their bundles, maps, uncertainty and export."""
