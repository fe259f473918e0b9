"""Importers: descriptions of networks that others write -> `Workload`. Nothing here runs code from a file."""
