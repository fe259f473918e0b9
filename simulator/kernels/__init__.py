"""Seconds of kernels on chips: arrays in, arrays out."""
