"""Rates, capacities, watts and dollars of the hardware: facts with their sources, and nothing computed from them.

Start at `hwmodels.catalog`. This file imports nothing: functions such as `catalog.chip` would hide the modules
`hwmodels.chip`, and reading a job file should not load what it does not use.
"""
