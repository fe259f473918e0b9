"""Fitting the named constants to measured runs, and the files that hold what was fitted."""
