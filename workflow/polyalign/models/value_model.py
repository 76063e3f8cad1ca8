"""Soft values of unfinished responses for any λ: low-rank changes of the base model that λ scales.

The soft value of a text y so far is V(x, y, λ) = log E[exp(λ·r(x, whole response)) | y] under p0.
Guidance needs its differences alone, V(x, yv, λ) − V(x, y, λ) for every next token v. They are
log p_λ(v | x, y) − log p0(v | x, y), since p_λ ∝ p0 exp(λ·r). So the model is a copy of the base
model whose linear layers have the weights

    W(λ) = W + Σ_j u_j D_j U_j,   u_j = λ_j sd_j,

and its log-ratio to the base model is the difference, for all v in one pass. At λ = 0 it is p0
exactly. For one λ the changes are added to the weights, and decoding costs what p0 costs. The
preferences inside low-rank adapters: Zhong et al. 2024, arXiv 2402.02030.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from polyalign.errors import InputError

WEIGHTS = "value.safetensors"
SETTINGS = "value.json"


def linear_layers(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Name → linear layer, all but the output.

    Raises:
        InputError: if there is none.
    """
    output = model.get_output_embeddings()
    found = {
        name: layer
        for name, layer in model.named_modules()
        if type(layer) in (nn.Linear, Conv1D) and layer is not output
    }
    if not found:
        raise InputError(
            f"{model.config.name_or_path}: has no plain linear layer that a value model could "
            "change; expected a transformer that is not quantised; take another base model"
        )
    return found


def _sizes(layer: nn.Module) -> tuple[int, int]:
    """Inputs and outputs of a linear layer; Conv1D has its weight the other way round."""
    rows, columns = layer.weight.shape  # type: ignore[misc]
    return (int(rows), int(columns)) if isinstance(layer, Conv1D) else (int(columns), int(rows))


class ValueModel(nn.Module):
    """The changes for every value, of `rank` for each layer. The base model is no part of it.

    Args:
        model: the base model; it is left as it is.
        values: the values that λ may weigh.
        scale: standard deviation of each value's reward, in its unit; λ times it is u.
        rank: rank of the change of one layer for one value.
        seed: of the first half of the changes; the second half starts at 0.
        signs: what each value's λ may be: 1 for 0 or more, -1 for 0 or less, as of a ceiling, 0 for
            both, as of a band; default: 0 or more.

    Raises:
        InputError: as `linear_layers`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        values: Sequence[str],
        scale: Sequence[float],
        rank: int,
        seed: int,
        signs: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.signs = [1] * len(values) if signs is None else list(signs)
        self.values, self.scale, self.rank = list(values), [float(sd) for sd in scale], rank
        generator = torch.Generator().manual_seed(seed)
        layers = linear_layers(model)
        self.names, width = list(layers), rank * len(self.values)
        sizes = [_sizes(layer) for layer in layers.values()]
        self.down = nn.ParameterList(
            torch.randn(inputs, width, generator=generator) / inputs**0.5 for inputs, _ in sizes
        )
        self.up = nn.ParameterList(torch.zeros(width, outputs) for _, outputs in sizes)
        self._u: torch.Tensor | None = None

    def attach(self, model: PreTrainedModel) -> None:
        """Let `model`, the base model, compute with the changes whenever `at` sets u."""

        def hook(place: int) -> Any:
            def change(layer: Any, arguments: Any, output: torch.Tensor) -> torch.Tensor:
                return output if self._u is None else output + self._change(place, arguments[0])

            return change

        for place, layer in enumerate(linear_layers(model).values()):
            layer.register_forward_hook(hook(place))

    def _change(self, place: int, inputs: torch.Tensor) -> torch.Tensor:
        """What a layer gives in addition: (b, tokens, outputs) for inputs (b, tokens, inputs)."""
        u = self._u
        if u is None or inputs.ndim != 3 or len(inputs) != len(u):
            raise InputError(
                f"the layer {self.names[place]} mixes the texts of a batch, as experts do; "
                "expected a model whose layers read each text apart; take another base model for "
                "value-d"
            )
        gate = u.repeat_interleave(self.rank, dim=1)[:, None].to(inputs.dtype)
        down, up = self.down[place].to(inputs.dtype), self.up[place].to(inputs.dtype)
        return ((inputs @ down) * gate) @ up

    def at(self, u: torch.Tensor | None) -> None:
        """Set u = λ sd (b, values) of the texts of the next passes; None: the base model."""
        self._u = u

    def units(self, lam: Mapping[str, float]) -> torch.Tensor:
        """u (values,), float32, of λ by value.

        Raises:
            InputError: if λ weighs a value that the model does not know, or has a sign that it has
                not learnt.
        """
        signs = dict(zip(self.values, self.signs, strict=True))
        for value, weight in lam.items():
            if weight != 0 and value not in self.values:
                raise InputError(
                    f"λ weighs {value!r}, which the value model does not know; expected "
                    f"{', '.join(self.values)}; name it in policies.value-d.values"
                )
            if not np.isfinite(weight) or weight * signs.get(value, 0) < 0:
                learnt = {1: ", 0 or more", -1: ", 0 or less: the study has ceilings alone for it"}
                raise InputError(
                    f"λ of {value!r} is {weight}; expected a finite number"
                    f"{learnt.get(signs.get(value, 0), '')}; change it"
                )
        weights = [lam.get(value, 0.0) for value in self.values]
        return torch.tensor([a * b for a, b in zip(weights, self.scale, strict=True)])

    @torch.no_grad()
    def merged(self, model: PreTrainedModel, lam: Mapping[str, float]) -> PreTrainedModel:
        """A copy of the base model whose weights are W(λ).

        Raises:
            InputError: as `units`.
        """
        gate = self.units(lam).repeat_interleave(self.rank)[:, None]
        tilted = copy.deepcopy(model)
        for down, up, layer in zip(self.down, self.up, linear_layers(tilted).values(), strict=True):
            change = down @ (gate * up)
            weight: Any = layer.weight
            weight += (change if isinstance(layer, Conv1D) else change.T).to(weight)
        return tilted

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the changes, and what they belong to, into a folder, which is made."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        weights = {}
        for name, down, up in zip(self.names, self.down, self.up, strict=True):
            weights[f"{name}.down"] = down.detach().cpu().contiguous()
            weights[f"{name}.up"] = up.detach().cpu().contiguous()
        save_file(weights, Path(folder) / WEIGHTS)
        settings = {
            "values": self.values,
            "scale": self.scale,
            "rank": self.rank,
            "signs": self.signs,
        }
        (Path(folder) / SETTINGS).write_text(json.dumps(settings, indent=1), encoding="utf-8")


def load_value_model(folder: str | Path, model: PreTrainedModel) -> ValueModel:
    """The value model in a folder, for its base model.

    Raises:
        InputError: if it cannot be read, or belongs to another base model.
    """
    path = Path(folder)
    try:
        settings = json.loads((path / SETTINGS).read_text(encoding="utf-8"))
        weights = load_file(path / WEIGHTS)
    except (OSError, ValueError) as fault:
        raise InputError(
            f"{path}: the value model cannot be read ({fault}); expected {SETTINGS} and {WEIGHTS}; "
            "delete the folder and let the workflow make it again"
        ) from fault
    found = ValueModel(
        model, settings["values"], settings["scale"], settings["rank"], 0, settings["signs"]
    )
    parts = {
        f"{name}.{half}": parameter
        for half in ("down", "up")
        for name, parameter in zip(found.names, getattr(found, half), strict=True)
    }
    if {name: tuple(one.shape) for name, one in weights.items()} != {
        name: tuple(one.shape) for name, one in parts.items()
    }:
        raise InputError(
            f"{path}: the value model belongs to another base model than "
            f"{model.config.name_or_path}; expected the one that it was trained with; delete the "
            "folder and let the workflow make it again"
        )
    with torch.no_grad():
        for name, parameter in parts.items():
            parameter.copy_(weights[name])
    return found
