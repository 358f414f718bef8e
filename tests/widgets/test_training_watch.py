"""Watching a training: which steps are kept, what the screen gets, and what is left behind."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import optimizer as torch_optimizer

from nbviz import FilterGrid
from nbviz.analysis import filters
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
    with pytest.raises(TypeError, match=r"whole number of steps; got 2\.5"):
        FilterGrid(network()).watch(every=2.5)


def test_a_step_is_counted_once_however_many_optimisers_share_it():
    model = network()
    images, labels = torch.randn(8, 1, 8, 8), torch.arange(8) % 3
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    optimisers = [torch.optim.SGD(weights, lr=0.1), torch.optim.Adam(others)]
    with FilterGrid(model).watch(every=1) as watch:
        for _ in range(5):
            nn.functional.cross_entropy(model(images), labels).backward()
            for optimiser in optimisers:
                optimiser.step()
    assert watch.step == 5


class Twice(torch.optim.Optimizer):
    """An optimiser that steps another one within its own step, as sharpness-aware ones do."""

    def __init__(self, base):
        super().__init__(base.param_groups, {})
        self.base = base

    def step(self, closure=None):
        self.base.step()


def test_a_step_within_a_step_is_one_step():
    model = network()
    optimiser = Twice(torch.optim.SGD(model.parameters(), lr=0.1))
    with FilterGrid(model).watch(every=1) as watch:
        for _ in range(4):
            model(torch.randn(4, 1, 8, 8)).mean().backward()
            optimiser.step()
    assert watch.step == 4


def test_weights_that_are_exchanged_during_a_training_are_followed():
    model = network()
    with FilterGrid(model).watch(every=1) as watch:
        train(model, 3)
        model.load_state_dict({k: v.clone() for k, v in model.state_dict().items()}, assign=True)
        train(model, 3)
    assert watch.step == 6


def test_a_compiled_optimiser_step_is_followed():
    model = network()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    step = torch.compile(optimiser.step, backend="eager")
    with FilterGrid(model).watch(every=1) as watch:
        for _ in range(3):
            model(torch.randn(4, 1, 8, 8)).mean().backward()
            step()
    assert watch.step == 3


def test_the_error_of_the_training_is_the_one_that_is_raised():
    model = network()
    grid = FilterGrid(model)

    def break_and_stop():
        model[0] = nn.Identity()
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"), grid.watch():
        break_and_stop()
    assert grid.watching["active"] is False
    assert "could not be shown" in grid.problem


def test_a_layer_chosen_during_a_training_gets_a_history_of_its_own():
    model = nn.Sequential(nn.Conv2d(1, 6, 5), nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(16, 3))
    grid = FilterGrid(model)
    with grid.watch(every=10):
        train(model, 12)
        grid.layer = "1"
        assert grid.kernels["step"] == 12
        train(model, 13)
    assert grid.history["layer"] == "1"
    assert grid.history["steps"] == [12, 20, 25]
    grid.layer = "0"
    assert grid.history["steps"] == [0, 10]


def test_histories_of_two_trainings_are_not_joined():
    model = nn.Sequential(nn.Conv2d(1, 6, 5), nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(16, 3))
    grid = FilterGrid(model)
    with grid.watch(every=5):
        train(model, 10)
    grid.layer = "1"
    with grid.watch(every=5):
        train(model, 20)
        grid.layer = "0"
    assert grid.history["steps"] == [20]


def test_another_thread_that_changes_layers_does_not_mix_them():
    model = nn.Sequential(nn.Conv2d(1, 6, 5), nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(16, 3))
    grid = FilterGrid(model)
    stop = threading.Event()

    def choose():
        while not stop.is_set():
            for layer in ("1", "0"):
                grid.set_state({"layer": layer})

    chooser = threading.Thread(target=choose)
    with grid.watch(every=1):
        chooser.start()
        train(model, 60)
        stop.set()
        chooser.join()
    assert grid.problem == ""
    for name, history in grid._histories.items():
        shapes = {snapshot.quantised.values.shape for snapshot in history.snapshots}
        assert len(shapes) == 1, name


def test_look_alikes_are_sorted_by_the_trained_kernels():
    model = network()
    grid = FilterGrid(model)
    with grid.watch(every=10):
        train(model, 20, learning_rate=1.0)
    similarity = wire.unpack(grid.kernels)["similarity"]
    np.testing.assert_array_equal(similarity, filters.similarity_order(filters.kernels(model)))


def test_what_is_said_of_a_step_is_of_that_step():
    model = network()
    grid = FilterGrid(model)
    with grid.watch(every=1):
        train(model, 3)
        with torch.no_grad():
            model[0].weight[0] = float("nan")
        train(model, 1)
    assert "NaN" in grid.still_caption()
    grid.step = 1
    assert "NaN" not in grid.still_caption()
    assert "after step 1 of training" in grid.still_caption()
    grid.refresh()
    assert grid.step == -1


def test_memory_is_stated_while_the_training_runs():
    model = network()
    grid = FilterGrid(model)
    seen = []
    with grid.watch(every=5):
        train(model, 20, after_step=lambda: seen.append(dict(grid.watching)))
    assert all(state["bytes"] > 0 and state["limit"] > state["bytes"] / 2 for state in seen)


def test_a_new_watch_ends_the_one_before():
    model = network()
    grid = FilterGrid(model)
    outer = grid.watch(every=5)
    outer()
    with grid.watch(every=5):
        train(model, 10)
        outer()
    outer.finish()
    assert grid.history["steps"] == [0, 5, 10]


def test_scrubbing_back_shows_the_picture_of_that_step():
    model = network()
    grid = FilterGrid(model)
    first = grid.still()
    with grid.watch(every=10):
        train(model, 30, learning_rate=1.0)
    assert np.abs(grid.still().astype(int) - first).max() > 20
    grid.step = 0
    assert np.abs(grid.still().astype(int) - first).max() <= 3
