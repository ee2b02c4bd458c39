"""The host: checkpoints, packing, driver, command line."""

OURS = ("hw", "sw", "sim", "boards")
"""The packages of this project: one of another that cannot be imported is not installed, one of these is a bug."""
