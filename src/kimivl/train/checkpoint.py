"""The state of a stage between steps: weights, optimizer and data stream, on disk whole or not at all.

What it is: `save_checkpoint` and `load_checkpoint`. One checkpoint per stage is kept; it is replaced atomically, so a killed
process or a full disk leaves the last good one.
What it is not: the result of a stage, which is a model directory in the official layout (`model/layout.py`).
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from kimivl.model.atomic import recover_folder, replaced_folder
from kimivl.model.layout import CheckpointError, load_weights, save_weights
from kimivl.optim.muon import MuonAdamW


@dataclass
class Progress:
    """Where a stage stands.

    `step` updates are done; `seconds` went into them, with following the held-out loss and saving. `state`: plain values, all
    that decides what the stage meets next: its data stream, or in reinforcement learning its problems and unfinished responses.
    """

    step: int
    seconds: float
    state: dict[str, Any]


def save_checkpoint(folder: Path, model: nn.Module, optimizer: MuonAdamW, progress: Progress) -> None:
    """Writes a checkpoint folder. Raises: OSError naming folder and cause; the earlier checkpoint is intact then."""
    with replaced_folder(folder) as new:
        save_weights(model, new / "model")
        save_file(optimizer.state_dict_by_name(), new / "optimizer.safetensors")
        (new / "progress.json").write_text(json.dumps(asdict(progress)) + "\n")


def load_checkpoint(folder: Path, model: nn.Module, optimizer: MuonAdamW) -> Progress | None:
    """Restores a checkpoint, or returns None if there is none.

    Raises: CheckpointError naming the file, if it belongs to another model or is damaged.
    """
    recover_folder(folder)
    if not folder.exists():
        return None
    try:
        values = json.loads((folder / "progress.json").read_text())
        load_weights(model, folder / "model")
        optimizer.load_state_by_name(load_file(folder / "optimizer.safetensors"))
        return Progress(values["step"], values["seconds"], dict(values["state"]))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(f"checkpoint {folder} cannot be resumed: {error}. Delete it to start the stage anew") from error
