"""The script that made the shipped weights runs, repeats itself, and writes what the demos load."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nbviz import demos
from nbviz.demos.demo import load_weights
from nbviz.demos.train import TASKS, Recipe, augment, main


def test_the_script_writes_loadable_weights_and_says_how_good_they_are(tmp_path, capsys):
    main(["digits", "scenes_noisy", "--steps", "2", "--pictures", "64", "--out", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["digits", "scenes_noisy"]
    assert "% of 355 held-out pictures right" in lines[0]
    for name in ("digits", "scenes_noisy"):
        model = TASKS[name].model(1)
        before = model.conv1.weight.clone()
        stated = load_weights(model, tmp_path / f"{name}.safetensors")
        assert not torch.equal(before, model.conv1.weight)
        assert 0 <= stated < 0.6


def test_a_second_run_writes_the_same_bytes(tmp_path):
    for folder in ("first", "second"):
        torch.rand(1)  # the surroundings' random state must not matter
        main(["digits", "--steps", "3", "--pictures", "200", "--out", str(tmp_path / folder)])
    first, second = (tmp_path / f / "digits.safetensors" for f in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


def test_training_leaves_torch_set_up_as_it_was(tmp_path):
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    main(["digits", "--steps", "1", "--pictures", "64", "--out", str(tmp_path)])
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


def test_an_unknown_network_is_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        main(["scene"])
    assert "choose from digits, scenes, scenes_unbiased, scenes_noisy" in capsys.readouterr().err


def test_a_plain_loop_learns_the_digits_within_seconds():
    data = demos.digits_training_data()
    assert (len(data.inputs), len(data.held_out_inputs)) == (1442, 355)
    model = demos.digits_model(seed=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    order = torch.randperm(len(data.inputs), generator=torch.Generator().manual_seed(0))
    for batch in order.repeat(2).split(64):
        loss = F.cross_entropy(model(data.inputs[batch]), data.labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        right = model(data.held_out_inputs).argmax(1) == data.held_out_labels
    assert right.float().mean() > 0.75


def test_training_never_sees_held_out_pictures():
    data = demos.digits_training_data()
    held_out = demos.digits().images
    assert torch.equal(demos.as_input(held_out), data.held_out_inputs)
    # load_digits itself holds no picture twice, so a shared one would be a leak.
    seen = {picture.numpy().tobytes() for picture in data.inputs}
    assert not seen & {picture.numpy().tobytes() for picture in data.held_out_inputs}
    training = demos.scene_pictures(30, seed=1, badges="none").images
    assert not {p.tobytes() for p in training} & {p.tobytes() for p in demos.scenes().images}


def test_roughness_is_what_two_plain_loops_give():
    kernel = np.random.default_rng(0).normal(size=(4, 5))
    framed = np.pad(kernel, 1)
    expected = 0.0
    for row in range(6):
        for column in range(7):
            here = framed[row, column]
            if column < 6:
                expected += (framed[row, column + 1] - here) ** 2
            if row < 5:
                expected += (framed[row + 1, column] - here) ** 2
    given = demos.roughness(torch.from_numpy(kernel)[None, None])
    assert given.item() == pytest.approx(expected, rel=1e-9)


def test_augmentation_without_strength_changes_nothing():
    inputs = torch.rand(3, 1, 8, 8)
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(augment(inputs, Recipe(epochs=1), generator), inputs)
    turned = augment(inputs, Recipe(epochs=1, turn=10, light=0.1, grain=0.1), generator)
    assert turned.shape == inputs.shape
    assert not torch.allclose(turned, inputs)
