"""Measurements beside the tools that people use today: ratios of medians, in one run, on one machine."""
