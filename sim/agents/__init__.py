"""Agents that stand in for the neighbours of a component inside a simulation."""
