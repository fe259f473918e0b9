"""What a step time comes to: data, steps, money, energy."""

from .data import Amount, OutcomeError, amount
from .energy import EnergyUse, energy
from .money import ChipPrice, latest_price

__all__ = ["Amount", "ChipPrice", "EnergyUse", "OutcomeError", "amount", "energy", "latest_price"]
