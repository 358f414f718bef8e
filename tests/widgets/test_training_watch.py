"""Watching a training: which steps are kept, what the screen gets, and what is left behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import optimizer as torch_optimizer

from nbviz import FilterGrid
from nbviz.widgets import training_watch, wire


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 3))


def train(model, steps, learning_rate=0.1, after_step=lambda: None):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(16, 1, 8, 8, generator=generator)
    labels = torch.randint(3, (16,), generator=generator)
    optimiser = torch.optim.SGD(model.parameters(), lr=learning_rate)
    weights = [model[0].weight.detach().clone().numpy()]
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        after_step()
        weights.append(model[0].weight.detach().clone().numpy())
    return weights


def history_of(grid):
    """Steps and weights of what a view with no kernel behind it replays."""
    arrays = wire.unpack(grid.history)
    scale = arrays["scale"][:, :, None, None, None]
    return grid.history["steps"], arrays["values"] / 127.0 * scale


def hooks():
    return len(torch_optimizer._global_optimizer_post_hooks)


def test_a_plain_loop_is_followed_without_a_word_in_it():
    model = network()
    grid = FilterGrid(model)
    before = hooks()
    with grid.watch(every=10) as watch:
        weights = train(model, 35)
    assert watch.step == 35
    assert hooks() == before
    steps, replayed = history_of(grid)
    assert steps == [0, 10, 20, 30, 35]
    for step, shown in zip(steps, replayed, strict=True):
        np.testing.assert_allclose(shown, weights[step], atol=np.abs(weights[step]).max() / 250)
    assert grid.kernels["step"] == 35
    assert grid.watching["active"] is False


def test_a_callback_does_the_same():
    model = network()
    grid = FilterGrid(model)
    on_step = grid.watch(every=10)
    weights = train(model, 20, after_step=on_step)
    on_step.finish()
    steps, replayed = history_of(grid)
    assert steps[-1] == 20
    np.testing.assert_allclose(replayed[-1], weights[20], atol=np.abs(weights[20]).max() / 250)


def test_steps_of_another_optimiser_do_not_count():
    model, other = network(), network()
    grid = FilterGrid(model)
    with grid.watch(every=5) as watch:
        train(model, 7)
        train(other, 50)
    assert watch.step == 7


def test_the_screen_follows_at_a_pace_that_no_server_drops(frontend, monkeypatch):
    clock = iter(np.arange(0, 1000, 0.01))
    monkeypatch.setattr(training_watch.time, "monotonic", lambda: float(next(clock)))
    model = network()
    grid = FilterGrid(model)
    frontend.sent.clear()
    with grid.watch(every=1):
        train(model, 200)
    # 200 steps of 10 ms are 2 s: 8 screens at most, and the first and last.
    assert 4 <= len(frontend.states("kernels")) <= 10
    # What the screen leaves out the history keeps, evenly, in the room that it has.
    steps, _ = history_of(grid)
    assert len(steps) > 64
    assert len(set(np.diff(steps)[:-1])) == 1


def test_memory_of_the_history_is_bounded_and_stated():
    model = network()
    grid = FilterGrid(model, history_frames=8)
    with grid.watch(every=1):
        train(model, 100)
    steps, _ = history_of(grid)
    assert len(steps) <= 8
    assert steps[0] == 0
    assert steps[-1] == 100
    assert grid.watching["frames"] == len(steps)
    assert 0 < grid.watching["bytes"] <= grid.watching["limit"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_training_keeps_what_was_seen(error):
    model = network()
    grid = FilterGrid(model)
    before = hooks()
    calls = iter(range(1000))

    def stop():
        if next(calls) == 25:
            raise error

    with pytest.raises(error), grid.watch(every=10):
        train(model, 100, after_step=stop)
    assert hooks() == before
    assert history_of(grid)[0] == [0, 10, 20, 26]


def test_a_second_training_starts_a_history_of_its_own():
    model = network()
    grid = FilterGrid(model)
    with grid.watch(every=10):
        train(model, 20)
    with grid.watch(every=10):
        train(model, 10)
    assert history_of(grid)[0] == [0, 10]


def test_watching_changes_nothing_about_the_training():
    model, watched = network(), network()
    plain = train(model, 12)
    grid = FilterGrid(watched)
    state = torch.get_rng_state()
    with grid.watch(every=2):
        seen = train(watched, 12)
    assert torch.equal(torch.get_rng_state(), state)
    for a, b in zip(plain, seen, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_loop_without_a_torch_optimiser_is_told_what_to_do():
    grid = FilterGrid(network())
    with pytest.warns(UserWarning, match=r"on_step = grid\.watch"), grid.watch():
        pass
    assert "no optimiser" in grid.problem


def test_a_model_that_is_one_layer_and_a_weight_that_is_computed_are_followed():
    torch.manual_seed(0)
    conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 6, 5))
    images = torch.randn(4, 1, 8, 8)
    optimiser = torch.optim.SGD(conv.parameters(), lr=0.1)
    grid = FilterGrid(conv)
    with grid.watch(every=1) as watch:
        for _ in range(3):
            optimiser.zero_grad()
            conv(images).square().mean().backward()
            optimiser.step()
    assert watch.step == 3
    exact = conv.weight.detach().numpy()
    np.testing.assert_allclose(history_of(grid)[1][-1], exact, atol=np.abs(exact).max() / 250)


def test_an_impossible_interval_is_refused():
    with pytest.raises(ValueError, match="1 step or more; got 0"):
        FilterGrid(network()).watch(every=0)


def test_scrubbing_back_shows_the_picture_of_that_step():
    model = network()
    grid = FilterGrid(model)
    first = grid.still()
    with grid.watch(every=10):
        train(model, 30, learning_rate=1.0)
    assert np.abs(grid.still().astype(int) - first).max() > 20
    grid.step = 0
    assert np.abs(grid.still().astype(int) - first).max() <= 3
