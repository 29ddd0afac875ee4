"""The official checkpoint layout ↔ this implementation's parameters.

What it is: the one place that knows how names on disk differ from names in memory, and the saving and loading of weights
(safetensors, one file or shards with an index) and of whole models (weights and config.json).
What it is not: optimizer state and progress of a run (`train/checkpoint.py`), or other models' layouts (`imports.py`).
Facts: reference/model.md §2. Names are equal except that routed experts are stacked in memory and single on disk, and that
published files also carry `rotary_emb.inv_freq`, which follows from the config and is ignored. A published Moonlight has the
names of `KimiVL.language_model`, without that prefix: load it into that part.
"""

import json
from collections.abc import Container, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from kimivl.config.model import ModelConfig
from kimivl.model.atomic import replaced_folder
from kimivl.model.kimi_vl import KimiVL

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD_BYTES = 4 * 10**9
ALWAYS_FP32 = "e_score_correction_bias"  # bf16 would swallow the balance rule's steps of 1e-3
IGNORED = "rotary_emb.inv_freq"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file, the tensor and the fix."""


def official_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Every tensor of the official layout, as a view of the model's own memory: read it to save, write it to load.

    Args:
        model: KimiVL, any part of it, or CoCa; may be on the meta device.
    """
    views: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        stem, _, last = name.rpartition(".")
        if not stem.endswith("mlp.experts"):
            views[name] = tensor
        elif last == "down_proj":
            views |= {f"{stem}.{expert}.down_proj.weight": weight for expert, weight in enumerate(tensor)}
        else:
            for expert, weight in enumerate(tensor):
                views[f"{stem}.{expert}.gate_proj.weight"], views[f"{stem}.{expert}.up_proj.weight"] = weight.chunk(2)
    return views


def save_weights(model: nn.Module, folder: str | Path, dtype: torch.dtype | None = None, shard_bytes: int = SHARD_BYTES) -> None:
    """Writes the weights as a folder of safetensors, whole or not at all; replaces an earlier folder.

    Args:
        dtype: to store in; as in memory unless given. Balance biases are always fp32.
        shard_bytes: more than this is split into files of at most this size. One file's tensors are copied at a time.
    Raises: OSError naming the folder and the cause; the earlier folder is intact then.
    """
    with replaced_folder(folder) as new:
        _write_weights(model, new, dtype, shard_bytes)


def load_weights(model: nn.Module, folder: str | Path) -> None:
    """Reads a folder of safetensors into the model, tensor by tensor. The model is changed only if everything fits.

    Raises: CheckpointError naming missing and unexpected tensors, different shapes, or missing and damaged files.
    """
    load_part(model, folder, prefix="")


def load_part(part: nn.Module, folder: str | Path, prefix: str) -> None:
    """Reads one part of a model, for example its `vision_tower`, from a folder that holds a larger one.

    Args:
        prefix: what stands before the part's own names in the files, for example "vision_tower.".
    Raises: CheckpointError; the part is changed only if everything fits.
    """
    folder = Path(folder)
    wanted = {prefix + name: view for name, view in official_tensors(part).items()}
    stored = {name: shape for name, shape in stored_shapes(folder).items() if name.startswith(prefix)}
    check_fit({name: tuple(view.shape) for name, view in wanted.items()}, stored, str(folder))
    for name, tensor in stored_tensors(folder, wanted):
        wanted[name].copy_(tensor)


def save_model(model: KimiVL, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Writes a model directory (weights and config.json), whole or not at all. See `save_weights`.

    To add a processor's files, open `replaced_folder` around this call and theirs.
    """
    with replaced_folder(folder) as new:
        _write_weights(model, new, dtype, SHARD_BYTES)
        stored = str(dtype or next(model.parameters()).dtype).removeprefix("torch.")
        (new / "config.json").write_text(json.dumps(model.config.to_hf(stored), indent=2) + "\n")


def load_model(folder: str | Path, dtype: torch.dtype = torch.float32) -> KimiVL:
    """Reads a model directory. Parameters are fp32, whatever was stored.

    Args:
        dtype: to compute in.
    Raises: ConfigError, CheckpointError.
    """
    config = ModelConfig.load(folder)
    with torch.device("meta"):  # no time is spent on random values that the checkpoint overwrites
        model = KimiVL(config, dtype)
    model = model.to_empty(device="cpu")
    load_weights(model, folder)
    return model


def stored_tensors(folder: Path, names: Container[str] | None = None) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a folder, or those of the given names, one in memory at a time."""
    for file in weight_files(folder):
        with _opened(file) as tensors:
            for name in tensors.keys():
                if names is None or name in names:
                    yield name, tensors.get_tensor(name)


def weight_files(folder: Path) -> list[Path]:
    """The folder's safetensors: the single file, or the shards that the index names.

    Raises: CheckpointError if there are none, or if a shard is missing.
    """
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    index = folder / INDEX
    if not index.is_file():
        raise CheckpointError(f"{folder} has neither {SINGLE} nor {INDEX}: it is not a folder of weights; check the path")
    try:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (json.JSONDecodeError, KeyError, AttributeError, TypeError):
        raise CheckpointError(f"{index} is not a safetensors index: it needs a weight_map from tensor to file name") from None
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise CheckpointError(f"{index} names the file {name!r}, which is not in {folder}: copy the missing shard there")
    return [folder / name for name in names]


def check_fit(wanted: Mapping[str, tuple[int, ...]], stored: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Compares the shapes that the config asks for with those of a checkpoint.

    Raises: CheckpointError listing the first of every kind of fault.
    """
    missing = [name for name in wanted if name not in stored]
    unexpected = [name for name in stored if name not in wanted and not name.endswith(IGNORED)]
    other = [name for name in wanted if name in stored and wanted[name] != stored[name]]
    faults = [f"wrong shape: {name} is {stored[name]} in the file, the config needs {wanted[name]}" for name in other[:3]]
    faults += [f"missing: {name} {wanted[name]}" for name in missing[:3]]
    faults += [f"unexpected: {name} {stored[name]}" for name in unexpected[:3]]
    if faults:
        counts = f"{len(other)} of another shape, {len(missing)} missing, {len(unexpected)} unexpected"
        advice = "wrong checkpoint for the config: use the config.json that belongs to these weights"
        if any(f"language_model.{name}" in wanted for name in unexpected):
            advice = "this is a language model alone: load it into `language_model` (model/imports.py)"
        raise CheckpointError(f"{where}: {counts}\n" + "\n".join(f"  {fault}" for fault in faults) + f"\n  {advice}")


def stored_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a folder; reads no values."""
    shapes: dict[str, tuple[int, ...]] = {}
    for file in weight_files(folder):
        with _opened(file) as tensors:
            shapes |= {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}
    return shapes


def _opened(file: Path) -> safe_open:
    try:
        return safe_open(file, framework="pt", device="cpu")
    except SafetensorError as error:
        raise CheckpointError(f"{file} is damaged ({error}): copy it again; a download or copy was probably cut short") from None


def _write_weights(model: nn.Module, folder: Path, dtype: torch.dtype | None, shard_bytes: int) -> None:
    tensors = official_tensors(model)
    dtypes = {name: _stored_dtype(name, tensor, dtype) for name, tensor in tensors.items()}
    sizes = {name: tensor.numel() * dtypes[name].itemsize for name, tensor in tensors.items()}
    shards = _shards(sizes, shard_bytes)
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = SINGLE if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        copies = {name: tensors[name].detach().to("cpu", dtypes[name], copy=True).contiguous() for name in names}
        save_file(copies, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(names, file)
    if len(shards) > 1:
        index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def _stored_dtype(name: str, tensor: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    if name.endswith(ALWAYS_FP32):
        return torch.float32
    return dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype


def _shards(sizes: Mapping[str, int], shard_bytes: int) -> list[list[str]]:
    """Names in order, cut where the next tensor would not fit."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if shards[-1] and filled + size > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    return shards
