"""Spins to signals."""
