"""The host: checkpoints, packing, driver, command line."""

OURS = ("hw", "sw", "sim", "boards")
"""Packages of this project. An ImportError for one of these is a bug; for any other, a package is not installed."""
