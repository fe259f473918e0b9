"""`trainyard calibrate`: named constants of one machine from what was measured on it, with how sure they are.

`observations` are what files gave, `facts` the chip that they show, `families` and `laws` the models whose constants
are fitted (by `calibration.kernel_fit`), `fitting` the fit, its confidence and its held-out errors, `fabric` the wires
between processes, `files` what is written for `--catalog`.
"""
