"""`kimivl bench step`: one training step of our decoder against transformers' DeepSeek-V3 at the same shape.

Both have the same weights, tokens and precision of the products, and orthogonalise the same matrices. Two loads: full rows,
where neither pads (the headline), and short samples, which we pack and transformers pads to the longest, as its collators do;
only real tokens count. Each is reported with Muon and with AdamW alone, because Newton–Schulz costs both sides the same and
hides the rest. The peer runs in the fastest of its users' forms, tried on the first sample of the first load.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from kimivl.bench.deepseek import IGNORED, Form, MissingPeer, Peer, forms, version
from kimivl.bench.timing import Comparison, in_turns, seconds, where
from kimivl.config.model import TextConfig, preset
from kimivl.model.initialise import initialise
from kimivl.model.moonlight import Moonlight
from kimivl.ops.dtype import compute_dtype
from kimivl.ops.segments import Segments
from kimivl.optim import MuonAdamW, all_adamw, param_specs

BAR = 1.3
LR, WEIGHT_DECAY = 1e-4, 0.1
ROWS, ROW_LENGTH = 4, 1024
# Deciles of the lengths of nano's fine-tuning samples, in tokens.
SHORT_LENGTHS = (43, 47, 50, 54, 59, 82, 157, 211, 251, 315)
SHORT_SAMPLES = 30


@dataclass(frozen=True)
class Load:
    """Random tokens of the given lengths, as a pack and as a padded batch. A sample of n tokens has n + 1 ids."""

    name: str
    label: str
    lengths: tuple[int, ...]
    vocabulary: int

    @cached_property
    def samples(self) -> list[Tensor]:
        generator = torch.Generator().manual_seed(0)
        return [torch.randint(self.vocabulary, (length + 1,), generator=generator) for length in self.lengths]

    @cached_property
    def packed(self) -> tuple[Tensor, Tensor]:
        """(ids_T, labels_T)"""
        return torch.cat([ids[:-1] for ids in self.samples]), torch.cat([ids[1:] for ids in self.samples])

    @cached_property
    def padded(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """(ids_BL, labels_BL, mask_BL); no mask where nothing is padded."""
        shape = len(self.lengths), max(self.lengths)
        ids_BL, labels_BL = torch.zeros(shape, dtype=torch.int64), torch.full(shape, IGNORED)
        for row, ids in enumerate(self.samples):
            ids_BL[row, : len(ids) - 1], labels_BL[row, : len(ids) - 1] = ids[:-1], ids[1:]
        mask_BL = labels_BL != IGNORED
        return ids_BL, labels_BL, None if bool(mask_BL.all()) else mask_BL.long()


def run(preset_name: str, rounds: int = 3) -> dict[str, Any]:
    """The headline comparison as a JSON object; `also` holds the others.

    Raises: MissingPeer without transformers; ValueError for an unknown preset or one that does not fit the memory.
    """
    headline, *others = compare(preset(preset_name).text_config, _loads(preset(preset_name).text_config), rounds)
    return headline.to_json() | {"also": [other.to_json() for other in others]}


def main(preset_name: str, as_json: bool = False) -> int:
    """Runs and prints a JSON line for each comparison, with a sentence on stderr unless only JSON is wanted; the exit status."""
    try:
        result = run(preset_name)
    except MissingPeer as error:
        print(error, file=sys.stderr)
        return 1
    for record in (result, *result.pop("also")):
        if not as_json:
            print(_sentence(record), file=sys.stderr)
        print(json.dumps(record))
    return 0


def compare(text: TextConfig, loads: Sequence[Load], rounds: int) -> list[Comparison]:
    """Every load with Muon and with AdamW; the first is the headline."""
    library = version()
    dtype = compute_dtype("auto")
    _check_memory(text)
    ours = Moonlight(text)
    initialise(ours, 0, text.initializer_range)
    peer = fastest_peer(ours, dtype, loads[0])
    _check_same_model(ours, peer, dtype, loads[-1])
    sides = _our_side(ours, dtype), _peer_side(peer)

    comparisons: list[Comparison] = []
    for load in loads:
        our_parts, peer_parts = in_turns([partial(side, load) for side in sides], rounds)
        for optimizer in ("muon", "adamw"):
            our_speed, peer_speed = (_tokens_per_second(load, parts, optimizer) for parts in (our_parts, peer_parts))
            comparisons.append(
                Comparison(
                    name=f"step.{load.name}.{optimizer}" if comparisons else "step",
                    load=f"{load.label}, {optimizer}",
                    ours=round(our_speed, 1),
                    peer=round(peer_speed, 1),
                    peer_name=f"{library} DeepseekV3ForCausalLM ({peer.form})",
                    unit="tokens/s",
                    ratio=round(our_speed / peer_speed, 3),
                    bar=None if comparisons else BAR,
                    where=where(dtype, library),
                )
            )
    return comparisons


def fastest_peer(ours: Moonlight, dtype: torch.dtype, load: Load) -> Peer:
    """The peer in the form whose second forward and backward, on the load's first sample, is the fastest."""
    trial = replace(load, lengths=load.lengths[:1])

    def seconds_of(form: Form) -> float:
        peer = Peer(ours, form)
        return [seconds(lambda: peer.loss(*trial.padded).backward()) for _ in range(2)][1]

    return Peer(ours, min(forms(dtype), key=seconds_of))


def _tokens_per_second(load: Load, parts: dict[str, float], optimizer: str) -> float:
    return sum(load.lengths) / (parts["forward_backward"] + parts[optimizer])


Side = Callable[[Load], dict[str, float]]


def _our_side(model: Moonlight, dtype: torch.dtype) -> Side:
    specs = param_specs((f"language_model.{name}", parameter) for name, parameter in model.named_parameters())
    muon = MuonAdamW(specs, LR, weight_decay=WEIGHT_DECAY)
    adamw = MuonAdamW(all_adamw(specs), LR, weight_decay=WEIGHT_DECAY)

    def loss(load: Load) -> Tensor:
        ids_T, labels_T = load.packed
        hidden_TD = model(model.model.embed_tokens(ids_T).to(dtype), Segments(load.lengths)).hidden_TD
        return model.losses(hidden_TD, labels_T).mean()

    return lambda load: _timed_step(model, lambda: loss(load), muon.step, adamw.step)


def _peer_side(peer: Peer) -> Side:
    muon, adamw = peer.muon(LR, WEIGHT_DECAY), peer.adamw(LR, WEIGHT_DECAY)
    return lambda load: _timed_step(peer.model, lambda: peer.loss(*load.padded), muon, adamw)


def _timed_step(
    model: torch.nn.Module, loss: Callable[[], Tensor], muon: Callable[[], Any], adamw: Callable[[], Any]
) -> dict[str, float]:
    """Seconds of the parts of one step, and its loss. Both optimizers step, so that both are timed on the same gradients."""
    model.zero_grad(set_to_none=True)
    values: list[Tensor] = []

    def forward_backward() -> None:
        values.append(loss())
        values[0].backward()

    parts = {"forward_backward": seconds(forward_backward), "muon": seconds(muon), "adamw": seconds(adamw)}
    return parts | {"loss": values[0].item()}


def _loads(text: TextConfig) -> list[Load]:
    deciles = SHORT_LENGTHS * (SHORT_SAMPLES // len(SHORT_LENGTHS))
    return [
        Load("rows", f"{ROWS} full rows of {ROW_LENGTH} tokens", (ROW_LENGTH,) * ROWS, text.vocab_size),
        Load("short", f"{SHORT_SAMPLES} samples of {min(deciles)} to {max(deciles)} tokens", deciles, text.vocab_size),
    ]


@torch.no_grad()
def _check_same_model(ours: Moonlight, peer: Peer, dtype: torch.dtype, load: Load) -> None:
    """Logits of the load's first sample. Rounding costs a few per cent in bf16; of unrelated models they differ by √2.

    Raises: RuntimeError if the two sides compute different things: their times would mean nothing.
    """
    trial = replace(load, lengths=load.lengths[:1])
    x_TD = ours.model.embed_tokens(trial.packed[0]).to(dtype)
    logits_TV = ours.logits(ours(x_TD, Segments(trial.lengths)).hidden_TD)
    theirs_TV = peer.logits(trial.padded[0])[0].float()
    difference = float((logits_TV - theirs_TV).norm() / theirs_TV.norm())
    if difference > 0.1:
        raise RuntimeError(f"the two sides do not train the same model: their logits differ by {difference:.2f} of their size")


def _check_memory(text: TextConfig) -> None:
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in Moonlight(text).parameters())
    needed = 2 * 5 * 4 * parameters  # two sides: weights, gradients, three states, in fp32
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > 0.8 * memory:
        raise ValueError(
            f"{parameters / 1e9:.1f} G parameters need {needed / 1e9:.0f} GB for both sides, this machine has "
            f"{memory / 1e9:.0f} GB: choose a smaller preset"
        )


def _sentence(record: dict[str, Any]) -> str:
    bar = f" (asked for: {record['bar']})" if record["bar"] else ""
    return (
        f"{record['load']}: {record['ours']:.0f} {record['unit']}, {record['peer_name']} {record['peer']:.0f}: "
        f"{record['ratio']:.2f} times as fast{bar}. {record['where']}"
    )
