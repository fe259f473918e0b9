"""Workloads: what one training sample takes, counted in products, elements and parameters; never in time."""

from workloads.catalog import model, model_names, resolve_model
from workloads.layer import Layer
from workloads.op import Op, WorkloadError
from workloads.optimizer import Optimizer
from workloads.precision import PrecisionRecipe, recipe
from workloads.transformer import bert, gpt_by_name, transformer
from workloads.workload import Workload

__all__ = [
    "Layer",
    "Op",
    "Optimizer",
    "PrecisionRecipe",
    "Workload",
    "WorkloadError",
    "bert",
    "gpt_by_name",
    "model",
    "model_names",
    "recipe",
    "resolve_model",
    "transformer",
]
