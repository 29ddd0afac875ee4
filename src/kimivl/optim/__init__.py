"""The optimizer of every stage: Muon for matrices, AdamW for the rest, one learning rate for both.

Legend of this room: a block is one matrix [A, B] that Newton–Schulz orthogonalises; N blocks of one shape form a stack [N, A, B].
"""

from kimivl.optim.groups import ParamSpec, all_adamw, param_specs
from kimivl.optim.muon import MuonAdamW
from kimivl.optim.newton_schulz import orthogonalize
from kimivl.optim.schedule import Phase, Schedule

__all__ = [
    "MuonAdamW",
    "ParamSpec",
    "Phase",
    "Schedule",
    "all_adamw",
    "orthogonalize",
    "param_specs",
]
