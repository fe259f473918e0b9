"""`trainyard probe`: measure this machine with PyTorch, small, in an order that can be stopped anywhere.

Suites of cases (`suites`) are drawn by a seed so that any prefix is balanced over shapes, precisions and passes; a
measured case keeps its median, quartiles, extremes and number of samples. One JSON file (`record`) holds the machine
and the measurements; `simulator.machine_fit` fits constants to it. PyTorch is imported in `device` and in `ranks`,
nowhere else.
"""
