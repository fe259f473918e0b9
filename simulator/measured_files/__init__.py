"""Files that people already have: nccl-tests text, tables of kernels and collectives, PyTorch profiler traces.

`kinds` tells a file's kind by its content; nothing of a file that names hosts, users or jobs is kept.
"""
