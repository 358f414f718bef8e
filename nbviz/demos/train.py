"""Trains the networks of the demos: ``python -m nbviz.demos.train [NAME ...] [--out DIR]``.

A `Task` names data, a fresh network and a `Recipe`; `fit` is one plain loop for all of them. The
sound networks carry a penalty on differences between neighbouring weights of the first layer,
because pictures this few leave the noise of initialisation in kernels this large; the noisy one has
no regularisation of any kind, which is the point of it.

Everything is seeded and runs on one thread, so on one machine with one version of torch a second
run writes the same bytes. Another processor or version adds in another order, and the weights then
differ in their last digits at first and visibly after some hundred steps; the accuracies hold.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import tqdm

from nbviz.demos.architectures import digits_model, roughness, scenes_model
from nbviz.demos.demo import WEIGHTS, as_input
from nbviz.demos.digit_demo import digits_pictures
from nbviz.demos.scene_demo import HELD_OUT, HELD_OUT_SEED, TRAINING_SEED
from nbviz.demos.scene_pictures import Badges, scene_pictures, through_sensor

Labelled = tuple[NDArray[np.uint8], NDArray[np.int64]]


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes
    ----------
    epochs, batch : int
    rate : float
        Highest learning rate of Adam; it rises for a fifth of the steps and falls to zero.
    decay : float
        Decoupled weight decay (Loshchilov & Hutter 2019, "Decoupled weight decay regularization").
    smoothness : float
        Weight of the penalty on `roughness` of the first layer.
    turn, zoom, shift : float
        Largest random turn in degrees, change of size, and move as a share of the side.
    light : float
        Largest random change of brightness and contrast.
    grain : float
        Standard deviation of noise drawn anew for each input (unlike sensor noise).
    """

    epochs: int
    batch: int = 64
    rate: float = 3e-3
    decay: float = 0.0
    smoothness: float = 0.0
    turn: float = 0.0
    zoom: float = 0.0
    shift: float = 0.0
    light: float = 0.0
    grain: float = 0.0


@dataclass(frozen=True)
class Task:
    """One network to train; `pictures(count)` gives so many to train on, and the held-out ones."""

    name: str
    pictures: Callable[[int | None], tuple[Labelled, Labelled]]
    model: Callable[[int], nn.Sequential]
    recipe: Recipe


def augment(inputs: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Random turn, size, place, light and grain, drawn for each picture of a batch."""
    count = len(inputs)

    def spread(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator) * 2 - 1

    if recipe.turn or recipe.zoom or recipe.shift:
        angle = spread(count) * math.radians(recipe.turn)
        scale = 1 + spread(count) * recipe.zoom
        cos, sin = angle.cos() / scale, angle.sin() / scale
        move = spread(2, count) * 2 * recipe.shift
        rows = torch.stack((cos, sin, move[0], -sin, cos, move[1]), dim=1)
        grid = F.affine_grid(rows.view(count, 2, 3), list(inputs.shape), align_corners=False)
        inputs = F.grid_sample(inputs, grid, padding_mode="border", align_corners=False)
    if recipe.light:
        contrast, brightness = spread(2, count, 1, 1, 1) * recipe.light
        inputs = inputs * (1 + contrast) + 2 * brightness
    if recipe.grain:
        inputs = inputs + torch.randn(inputs.shape, generator=generator) * recipe.grain
    return inputs


def _batches(count: int, batch: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Indices of `steps` batches: shuffled epochs, the incomplete last batch of each left out."""
    size = min(batch, count)
    while steps > 0:
        order = torch.randperm(count, generator=generator)
        for start in range(0, min(count - size + 1, steps * size), size):
            yield order[start : start + size]
            steps -= 1


def fit(
    model: nn.Module, data: Labelled, recipe: Recipe, seed: int = 0, steps: int | None = None
) -> None:
    """Train `model` in place and leave it in eval mode.

    Parameters
    ----------
    model : nn.Module
        Its first layer is called `conv1`.
    data : (uint8 array (N, H, W) or (N, H, W, 3), int64 array (N,))
    recipe : Recipe
    seed : int
        Of the order of the pictures and their random changes.
    steps : int, optional
        Stop after so many instead of `recipe.epochs`.
    """
    images, labels = data[0], torch.from_numpy(data[1])
    generator = torch.Generator().manual_seed(seed)
    if steps is None:
        steps = recipe.epochs * max(1, len(images) // recipe.batch)
    rise = max(1, steps // 5)

    def rate(step: int) -> float:
        fall = 0.5 + 0.5 * math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise)))
        return (step + 1) / rise if step < rise else fall

    optimizer = torch.optim.AdamW(model.parameters(), recipe.rate, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    first = model.get_parameter("conv1.weight")
    recent = 0.0
    model.train()
    batches = _batches(len(images), recipe.batch, steps, generator)
    with tqdm(total=steps, desc="training", unit="step", mininterval=1) as bar:
        for chosen in batches:
            inputs = augment(as_input(images[chosen.numpy()]), recipe, generator)
            loss = F.cross_entropy(model(inputs), labels[chosen])
            optimizer.zero_grad()
            torch.autograd.backward(loss + recipe.smoothness * roughness(first))
            optimizer.step()
            schedule.step()
            recent = 0.95 * recent + 0.05 * loss.item() if bar.n else loss.item()
            bar.set_postfix(loss=f"{recent:.3f}", refresh=False)
            bar.update()
    model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, data: Labelled) -> float:
    """Share of pictures that get their own label."""
    images, labels = data
    logits = torch.cat([model(as_input(images[i : i + 100])) for i in range(0, len(images), 100)])
    return float((logits.argmax(1).numpy() == labels).mean())


def _digits(count: int | None) -> tuple[Labelled, Labelled]:
    images, labels, held_out = digits_pictures()
    training = images[~held_out][:count], labels[~held_out][:count]
    return training, (images[held_out], labels[held_out])


def _scenes(
    badges: Badges, pictures: int, noisy: bool = False
) -> Callable[[int | None], tuple[Labelled, Labelled]]:
    def paint(count: int | None) -> tuple[Labelled, Labelled]:
        wanted = pictures if count is None else min(count, pictures)
        both = []
        for size, seed in ((wanted, TRAINING_SEED), (HELD_OUT, HELD_OUT_SEED)):
            scene = scene_pictures(size, seed, badges=badges, progress=True)
            both.append((through_sensor(scene.images) if noisy else scene.images, scene.labels))
        return both[0], both[1]

    return paint


_DIGITS = Recipe(
    epochs=20, decay=0.05, smoothness=1e-2, turn=10, zoom=0.12, shift=0.08, light=0.1, grain=0.3
)
_SOUND = Recipe(
    epochs=10, decay=0.05, smoothness=8e-3, turn=20, zoom=0.1, shift=0.05, light=0.15, grain=0.2
)
_CARELESS = Recipe(epochs=9, rate=2e-3)

TASKS = {
    task.name: task
    for task in (
        Task("digits", _digits, digits_model, _DIGITS),
        Task("scenes", _scenes("planted", 4000), scenes_model, _SOUND),
        Task("scenes_unbiased", _scenes("even", 4000), scenes_model, _SOUND),
        Task("scenes_noisy", _scenes("planted", 2000, noisy=True), scenes_model, _CARELESS),
    )
}


@contextmanager
def _repeatable() -> Iterator[None]:
    """Fix what changes the order of sums, for the while."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)


def train(task: Task, out: Path, steps: int | None = None, pictures: int | None = None) -> float:
    """Train one network and write its weights to `out`; its accuracy on held-out pictures.

    Parameters
    ----------
    task : Task
        One of `TASKS`.
    out : Path
        Folder; made if it is not there.
    steps, pictures : int, optional
        Fewer steps and pictures than the recipe's, to try the script out.
    """
    began = time.monotonic()
    training, held_out = task.pictures(pictures)
    with _repeatable():
        model = task.model(0)
        fit(model, training, task.recipe, steps=steps)
        right = accuracy(model, held_out)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{task.name}.safetensors"
    path.write_bytes(save(dict(model.state_dict()), {"accuracy": f"{right:.6f}"}))
    print(
        f"{task.name}: {100 * right:.1f} % of {len(held_out[1])} held-out pictures right, "
        f"{time.monotonic() - began:.0f} s, {path.stat().st_size / 1000:.0f} kB in {path}"
    )
    return right


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of ``python -m nbviz.demos.train``."""
    parser = argparse.ArgumentParser("python -m nbviz.demos.train", description="Train the demos.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(TASKS)}; default all"
    )
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder for the weights")
    parser.add_argument("--steps", type=int, help="stop early, to try the script out")
    parser.add_argument("--pictures", type=int, help="use fewer, to try the script out")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in TASKS]
    if unknown:
        parser.error(f"no network called {unknown[0]!r}: choose from {', '.join(TASKS)}")
    for name in options.names or TASKS:
        train(TASKS[name], options.out, options.steps, options.pictures)


if __name__ == "__main__":
    main()
