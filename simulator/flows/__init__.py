"""Messages as flows: who shares which wire with whom, at which rate, and when the last byte has arrived."""

from .refill import Refill
from .routes import Routes, coupled
from .shares import CertificateError, FlowError, Sharing, certificate, max_min
from .simulate import Flow, FlowResult, run_flows, run_rounds
from .wires import Wires

__all__ = [
    "CertificateError",
    "Flow",
    "FlowError",
    "FlowResult",
    "Refill",
    "Routes",
    "Sharing",
    "Wires",
    "certificate",
    "coupled",
    "max_min",
    "run_flows",
    "run_rounds",
]
