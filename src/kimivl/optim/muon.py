"""MuonAdamW: one optimizer, Muon for the matrices and AdamW for everything else, as the specs of groups.py say.

What it is: Moonlight's update (arXiv 2502.16982, §2) for the parameters of one process. What it is not: a schedule (schedule.py),
gradient clipping (torch.nn.utils.clip_grad_norm_ does it well) or ZeRO-1 (parallel/ decides which process owns which parameter).

    momentum ← lerp(momentum, gradient, 1 − μ)
    matrix   ← (1 − lr · decay) · matrix − lr · 0.2 √max(A, B) · orthogonalize(lerp(gradient, momentum, μ))

The lerp form keeps the momentum in units of the gradient, as torch.optim.Muon does (Moonlight's own code stores it 1/(1 − μ)
times larger). The factor gives each update the RMS that AdamW's usually have, so both kinds share learning rate and decay.

Speed: equal blocks of the whole model, for example all layers' q_proj or all experts, go through Newton–Schulz as one stack.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from kimivl.optim.groups import ParamSpec
from kimivl.optim.newton_schulz import orthogonalize

UPDATE_RMS = 0.2  # Moonlight, Table 8: 0.2 and 0.4 tie, 0.1 and 0.8 are worse

# Parameters join a stack up to this many elements (a larger parameter is a stack of its own). It bounds the memory of a step, and
# what stays in the cache is faster: 11.7 M elements in 24 stacks take 340 ms on one core, in 14 unlimited ones 380 ms, in 69
# stacks of one parameter each 380 ms, and in a loop of torch.optim.Muon over the blocks 410 ms.
STACK_ELEMENTS = 2**20

MUON, ADAMW = 0, 1  # places in `param_groups`
STATE_NAMES = {"muon": ("momentum",), "adamw": ("exp_avg", "exp_avg_sq")}


class MuonAdamW(torch.optim.Optimizer):
    """Steps every parameter of `specs`; state is kept, saved and loaded by parameter name.

    Args:
        specs: from `param_specs`; `all_adamw(specs)` turns Muon off. Parameters are fp32 (the master weights).
        lr: learning rate of both kinds, per step; change it with `set_lr`.
        weight_decay: decoupled, for every parameter, norm gains included.
        momentum: μ of Muon, Nesterov form.
        ns_steps, ns_dtype: of Newton–Schulz, see `orthogonalize`.
        betas, eps: of AdamW.
    A parameter without a gradient is stepped as if its gradient were zero: it decays and follows its momentum. An expert without
    a token, or a batch without images, must not make ranks or layouts differ. To exclude a parameter, leave out its spec.
    Raises: ValueError for a parameter that is not fp32 or occurs twice, and for an impossible setting.
    """

    def __init__(
        self,
        specs: Sequence[ParamSpec],
        lr: float,
        *,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        ns_steps: int = 5,
        ns_dtype: torch.dtype = torch.bfloat16,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
    ) -> None:
        _check_specs(specs)
        _check_fractions(momentum=momentum, beta1=betas[0], beta2=betas[1])
        self._specs = list(specs)
        self._stacks = _stacks_of_equal_blocks([spec for spec in specs if spec.kind == "muon"])
        self._ns_steps, self._ns_dtype = ns_steps, ns_dtype
        self._update_norms: dict[str, list[Tensor]] | None = None  # by label, of the last measured step

        # Everything that a resumed run needs is in the groups and in `state`, so torch's own state_dict() is complete as well.
        groups = [
            {**_members(specs, "muon"), "momentum": momentum},
            {**_members(specs, "adamw"), "betas": betas, "eps": eps, "step": 0},
        ]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})
        self.set_lr(lr)
        for spec in specs:
            self.state[spec.parameter] = {key: torch.zeros_like(spec.parameter) for key in STATE_NAMES[spec.kind]}

    def set_lr(self, lr: float) -> None:
        """Sets the learning rate of the next steps.

        Raises: ValueError unless it is a finite number ≥ 0.
        """
        if not 0 <= lr < math.inf:
            raise ValueError(f"the learning rate is {lr}; it must be a finite number ≥ 0")
        for group in self.param_groups:
            group["lr"] = lr

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None, *, measure: bool = False) -> float | None:  # type: ignore[override]
        """One update of every parameter from its `.grad`.

        Args:
            closure: torch's convention; re-evaluates the model and returns the loss. Rarely needed.
            measure: also keep the size of this update for `update_rms`; costs a few passes over the parameters.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        norms: dict[str, list[Tensor]] = defaultdict(list)
        for stack in self._stacks:
            self._step_muon(stack, norms if measure else None)
        self._step_adamw(norms if measure else None)
        if measure:
            self._update_norms = norms
        return loss

    def update_rms(self) -> dict[str, float]:
        """Label → RMS of the last measured update, without learning rate and weight decay.

        Muon's labels are near 0.2 where gradients have full rank, and lower for experts that see few tokens.
        Raises: ValueError before the first `step(measure=True)`.
        """
        if self._update_norms is None:
            raise ValueError("no update has been measured yet: call step(measure=True) first")
        elements: Counter[str] = Counter()
        for spec in self._specs:
            elements[spec.label] += spec.parameter.numel()
        return {label: _joint_norm(self._update_norms[label]) / math.sqrt(count) for label, count in elements.items()}

    def state_dict_by_name(self) -> dict[str, Tensor]:
        """The whole state as a flat dict: "<parameter>.momentum", "<parameter>.exp_avg", "<parameter>.exp_avg_sq", and "step".

        The tensors are the live ones: write them, or clone them, before the next step.
        """
        tensors = {"step": torch.tensor(self.param_groups[ADAMW]["step"])}
        for spec in self._specs:
            tensors |= {f"{spec.name}.{key}": tensor for key, tensor in self.state[spec.parameter].items()}
        return tensors

    @torch.no_grad()
    def load_state_by_name(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes over a state of `state_dict_by_name`; training goes on with the same bits.

        Raises: ValueError that names missing, unknown and wrongly shaped entries; nothing is loaded then.
        """
        own = self.state_dict_by_name()
        _check_same_entries(own, tensors)
        for name, tensor in own.items():
            tensor.copy_(tensors[name])
        self.param_groups[ADAMW]["step"] = int(own["step"])

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Only the constructor adds groups: stacks and state names are planned once, from all specs."""
        if len(self.param_groups) > ADAMW:
            raise ValueError("a MuonAdamW cannot grow: build a new one from all specs, then load the old state by name")
        super().add_param_group(param_group)

    def _step_muon(self, stack: list[ParamSpec], norms: dict[str, list[Tensor]] | None) -> None:
        group = self.param_groups[MUON]
        parameters = [spec.parameter for spec in stack]
        gradients = _gradients(parameters)
        momenta = [self.state[parameter]["momentum"] for parameter in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, momenta, group["momentum"])

        blocks = [spec.blocks(tensor) for spec, tensor in zip(stack, ahead)]
        directions = orthogonalize(torch.cat(blocks), self._ns_steps, self._ns_dtype).split([len(part) for part in blocks])

        scale = UPDATE_RMS * math.sqrt(max(stack[0].block_shape))
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_([spec.blocks(spec.parameter) for spec in stack], directions, alpha=-group["lr"] * scale)
        if norms is not None:
            for spec, norm in zip(stack, torch._foreach_norm(directions, 2, torch.float32)):
                norms[spec.label].append(norm * scale)

    def _step_adamw(self, norms: dict[str, list[Tensor]] | None) -> None:
        group = self.param_groups[ADAMW]
        parameters = group["params"]
        exp_avgs = [self.state[parameter]["exp_avg"] for parameter in parameters]
        exp_avg_sqs = [self.state[parameter]["exp_avg_sq"] for parameter in parameters]
        group["step"] += 1
        if not parameters:
            return
        beta1, beta2 = group["betas"]

        # torch counts steps per parameter and increments them itself.
        steps = list(torch.full((len(parameters),), float(group["step"] - 1), device=parameters[0].device).unbind())
        adamw(
            parameters,
            _gradients(parameters),
            exp_avgs,
            exp_avg_sqs,
            [],
            steps,
            fused=True,
            amsgrad=False,
            maximize=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
        )
        if norms is not None:
            # The fused kernel does not hand out the update, so it is computed again from the new state.
            divisors = torch._foreach_sqrt(exp_avg_sqs)
            torch._foreach_div_(divisors, math.sqrt(1 - beta2 ** group["step"]))
            torch._foreach_add_(divisors, group["eps"])
            updates = torch._foreach_div(exp_avgs, divisors)
            labels = [spec.label for spec in self._specs if spec.kind == "adamw"]
            for label, norm in zip(labels, torch._foreach_norm(updates)):
                norms[label].append(norm / (1 - beta1 ** group["step"]))


def _stacks_of_equal_blocks(specs: list[ParamSpec]) -> list[list[ParamSpec]]:
    """Groups parameters whose blocks have one shape (and device), each group cut where it grows beyond STACK_ELEMENTS."""
    stacks: list[list[ParamSpec]] = []
    open_stack: dict[tuple[object, ...], list[ParamSpec]] = {}
    for spec in specs:
        key = (spec.block_shape, spec.parameter.device)
        stack = open_stack.get(key)
        if stack is None or sum(other.parameter.numel() for other in [*stack, spec]) > STACK_ELEMENTS:
            stack = open_stack[key] = []
            stacks.append(stack)
        stack.append(spec)
    return stacks


def _gradients(parameters: list[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in parameters]


def _members(specs: Sequence[ParamSpec], kind: str) -> dict[str, list[Any]]:
    chosen = [spec for spec in specs if spec.kind == kind]
    return {"params": [spec.parameter for spec in chosen], "param_names": [spec.name for spec in chosen]}


def _joint_norm(norms: list[Tensor]) -> float:
    return math.sqrt(sum(float(norm) ** 2 for norm in norms))


def _check_specs(specs: Sequence[ParamSpec]) -> None:
    twice = [name for name, count in Counter(spec.name for spec in specs).items() if count > 1]
    if twice:
        raise ValueError(f"two specs are named {twice[0]}; state is kept by name, so names must differ")
    for spec in specs:
        if spec.parameter.dtype != torch.float32:
            raise ValueError(
                f"{spec.name} is {spec.parameter.dtype}, but the optimizer steps fp32 master weights: call model.float() first "
                "and cast weights in the forward"
            )


def _check_fractions(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 0 and below 1")


def _check_same_entries(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Every fault at once, because a wrong checkpoint usually has many of one kind."""
    faults = [_listed("missing", [name for name in own if name not in given])]
    faults += [_listed("unknown", [name for name in given if name not in own])]
    faults += [
        f"{name} is {given[name].dtype} {list(given[name].shape)}, expected {tensor.dtype} {list(tensor.shape)}"
        for name, tensor in own.items()
        if name in given and (given[name].shape != tensor.shape or given[name].dtype != tensor.dtype)
    ]
    if any(faults):
        raise ValueError(
            "the saved optimizer state does not fit: " + "; ".join(fault for fault in faults if fault) + ". "
            "It must come from the same model, the same frozen parts and the same choice of Muon or AdamW"
        )


def _listed(what: str, names: list[str], shown: int = 5) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{what}: {', '.join(names[:shown])}{more}" if names else ""
