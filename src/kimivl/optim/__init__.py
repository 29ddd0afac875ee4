"""The optimizer of every stage: Muon for matrices, AdamW for the rest, one learning rate for both.

Legend of this room: a block is one matrix [A, B] that Newton–Schulz orthogonalises; N blocks of one shape form a stack [N, A, B].
"""

from .groups import ParamSpec, all_adamw, param_specs
from .muon import MuonAdamW
from .newton_schulz import orthogonalize
from .schedule import Phase, Schedule, moonlight, sft_two_phase

__all__ = [
    "MuonAdamW",
    "ParamSpec",
    "Phase",
    "Schedule",
    "all_adamw",
    "moonlight",
    "orthogonalize",
    "param_specs",
    "sft_two_phase",
]
