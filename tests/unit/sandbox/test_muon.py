"""Muon against torch's own, and its orthogonal factor against the singular value decomposition."""

import pytest
import torch

from polyalign.sandbox.muon import Muon, orthogonal

SHAPES = [(24, 64), (32, 32), (64, 24)]


def gradients(shape: tuple[int, int], count: int) -> list[torch.Tensor]:
    maker = torch.Generator().manual_seed(sum(shape))
    return [torch.randn(shape, generator=maker) for _ in range(count)]


@pytest.mark.parametrize("shape", SHAPES)
def test_keeps_the_singular_vectors_and_evens_out_the_singular_values(
    shape: tuple[int, int],
) -> None:
    (matrix,) = gradients(shape, 1)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    core = left.T @ orthogonal(matrix) @ right.T
    assert torch.allclose(core, torch.diag(core.diagonal()), atol=1e-4)
    assert core.diagonal().max() < 1.25
    # Smaller ones need more iterations to come near 1.
    large = values > 0.01 * values.norm()
    assert core.diagonal()[large].min() > 0.65


@pytest.mark.parametrize("shape", SHAPES)
def test_takes_the_steps_of_torchs_muon(shape: tuple[int, int]) -> None:
    ours, theirs = (torch.nn.Parameter(torch.zeros(shape)) for _ in range(2))
    optimisers = [
        Muon([ours], lr=0.1),
        torch.optim.Muon([theirs], lr=0.1, momentum=0.95, weight_decay=0.0),
    ]
    for gradient in gradients(shape, 4):
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        for optimiser in optimisers:
            optimiser.step()
    # bfloat16 has 8 bits.
    assert (ours - theirs).norm() < 0.03 * theirs.norm()


def test_a_zero_gradient_moves_nothing_at_first() -> None:
    weight = torch.nn.Parameter(torch.ones(8, 8))
    weight.grad = torch.zeros(8, 8)
    Muon([weight], lr=0.1).step()
    assert torch.equal(weight, torch.ones(8, 8))
