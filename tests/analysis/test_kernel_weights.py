"""Kernels are read while training goes on, and training does not notice."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from nbviz.analysis.filters import kernel_layers, kernel_parameters, kernels
from nbviz.network import Network


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


class Keeping(nn.Module):
    """A parametrisation that keeps what it made last, graph and all."""

    def forward(self, weight):
        self.kept = weight * 2
        return self.kept


class Blurred(nn.Module):
    """A parametrisation that draws random numbers in evaluation mode as well."""

    def forward(self, weight):
        return weight + torch.randn_like(weight)


NORMS = {
    "weight norm": parametrizations.weight_norm,
    "spectral norm": parametrizations.spectral_norm,
    "old weight norm": nn.utils.weight_norm,
    "old spectral norm": nn.utils.spectral_norm,
    "pruned": lambda conv: prune.l1_unstructured(conv, "weight", amount=0.5),
}
old = pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")


@pytest.mark.parametrize("name", ["weight norm", "spectral norm"])
def test_a_reading_never_takes_the_model_out_of_training(name):
    model = nn.Sequential(NORMS[name](nn.Conv2d(3, 4, 5)), nn.Dropout(), nn.BatchNorm2d(4))
    seen = []

    class Noting(nn.Dropout):
        def __setattr__(self, key, value):
            seen.append(key)
            super().__setattr__(key, value)

    model[1] = Noting()
    kernel_layers(model)
    seen.clear()
    kernels(model, "0")
    assert seen == []


def test_training_in_another_thread_sees_its_own_random_numbers_and_flags():
    conv = nn.Conv2d(3, 4, 5)
    inside, go_on = threading.Event(), threading.Event()

    class Slow(nn.Module):
        """Lets the trainer take a step in the middle of a reading."""

        def forward(self, weight):
            if threading.current_thread() is not threading.main_thread():
                inside.set()
                go_on.wait(10)
            return weight

    parametrize.register_parametrization(conv, "weight", Slow())
    model = nn.Sequential(conv, nn.BatchNorm2d(4), nn.Dropout())
    kernel_layers(model)
    expected = torch.Generator().set_state(torch.get_rng_state())
    reader = threading.Thread(target=lambda: kernels(model, "0"))
    reader.start()
    assert inside.wait(10)
    assert all(module.training for module in model.modules())
    drawn = torch.rand(3)
    model[1].running_mean.add_(1)
    go_on.set()
    reader.join()
    assert torch.equal(drawn, torch.rand(3, generator=expected))
    assert torch.equal(torch.rand(3), torch.rand(3, generator=expected))
    assert torch.equal(model[1].running_mean, torch.ones(4))


@pytest.mark.parametrize("name", ["weight norm", "spectral norm"])
def test_a_reading_takes_no_gradient_away_from_cached_parametrisations(name):
    model = nn.Sequential(NORMS[name](nn.Conv2d(3, 8, 5)))
    with parametrize.cached():
        kernels(model, "0")
        model(torch.randn(2, 3, 9, 9)).square().mean().backward()
    for parameter in model[0].parametrizations.weight.parameters():
        assert parameter.grad is not None


def test_what_a_parametrisation_keeps_of_its_last_pass_does_not_stop_a_reading():
    conv = nn.Conv2d(3, 4, 5)
    raw = conv.weight.detach().clone()
    parametrize.register_parametrization(conv, "weight", Keeping())
    conv(torch.randn(1, 3, 9, 9))
    kept = conv.parametrizations.weight[0].kept
    assert kept.grad_fn is not None
    np.testing.assert_array_equal(kernels(nn.Sequential(conv)).values, 2 * raw.numpy())
    assert conv.parametrizations.weight[0].kept is kept


def test_a_parametrisation_that_draws_random_numbers_takes_none_from_training():
    conv = nn.Conv2d(3, 4, 5)
    parametrize.register_parametrization(conv, "weight", Blurred())
    model = nn.Sequential(conv)
    state = torch.get_rng_state()
    kernels(model, "0")
    assert torch.equal(torch.get_rng_state(), state)


@old
@pytest.mark.parametrize("name", NORMS)
def test_the_parameters_of_the_kernels_are_those_that_change_them(name):
    model = nn.Sequential(NORMS[name](nn.Conv2d(3, 4, 5)), nn.Conv2d(4, 4, 3))
    chosen = {id(parameter) for parameter in kernel_parameters(model, "0")}
    for parameter in model.parameters():
        before = kernels(model, "0").values
        with torch.no_grad():
            parameter.add_(torch.randn_like(parameter))
        assert (id(parameter) in chosen) == (not np.array_equal(kernels(model, "0").values, before))


def test_the_parameters_of_plain_kernels_are_the_weight_alone():
    model = nn.Sequential(nn.Conv2d(3, 4, 5), nn.Conv2d(4, 4, 3))
    assert [id(p) for p in kernel_parameters(model, "1")] == [id(model[1].weight)]
    with pytest.raises(ValueError, match="'0'"):
        kernel_parameters(model, "2")


def test_a_weight_that_is_computed_unseen_counts_all_parameters_but_the_bias():
    class Sum(nn.Conv2d):
        def __init__(self):
            super().__init__(3, 4, 5)
            del self._parameters["weight"]
            self.left, self.right = (nn.Parameter(torch.randn(4, 3, 5, 5)) for _ in range(2))

        @property
        def weight(self):
            return self.left + self.right

    model = nn.Sequential(Sum())
    assert [id(p) for p in kernel_parameters(model, "0")] == [id(model[0].left), id(model[0].right)]


def test_one_layer_is_read_without_a_walk_over_the_model(monkeypatch):
    model = nn.Sequential(*[nn.Conv2d(3, 3, 5) for _ in range(5)])
    network = Network(model)
    kernel_layers(network)
    inner = nn.Module.named_modules
    walks = []

    def counted(module, *arguments, **options):
        walks.append(module)
        return inner(module, *arguments, **options)

    monkeypatch.setattr(nn.Module, "named_modules", counted)
    kernels(network, "3")
    kernel_parameters(network, "3")
    assert model not in walks
    model[3] = nn.Conv2d(3, 7, 5)
    assert kernels(network, "3").layer.shape == (7, 3, 5, 5)
    model[4] = nn.ReLU()
    with pytest.raises(ValueError, match="a ReLU"):
        kernels(network, "4")
