"""Scenes: networks for painted pictures, sound, biased by a badge, or spoilt by sensor noise."""

from __future__ import annotations

from nbviz.demos.architectures import scenes_model
from nbviz.demos.demo import WEIGHTS, Demo, ToInput, load_weights
from nbviz.demos.scene_pictures import (
    BADGE_CLASS,
    CLASSES,
    SIZE,
    Badges,
    scene_pictures,
    through_sensor,
)
from nbviz.network import Network

HELD_OUT = 300
HELD_OUT_SEED = 2
TRAINING_SEED = 1
UNTRAINED_SEED = 0


def scenes(*, biased: bool = True, noisy: bool = False, untrained: bool = False) -> Demo:
    """A network for painted scenes of ten classes, by default one that leans on a planted badge.

    The 300 held-out pictures are painted when called, from a seed. In biased data 98 % of one
    class (`badge_class`) carries a small badge wherever it happens to fall, and 0.1 % of the
    others; in unbiased data 10 % of every class. So the default network takes the badge for the
    class: it gets 99 % of its own held-out pictures right, but 93 % with badges spread evenly.
    Without badge its mean confidence in that class falls from 0.97 to 0.51; with one, that of other
    classes' pictures rises from 0.00 to 0.36. For the twin trained without the bias (98 %) neither
    moves by more than 0.02. See it on ``scene_pictures(300, seed=2, badges="all")`` and ``"none"``,
    the same scenes with and without.

    The 24 first kernels are 9 x 9 in colour. Training penalised differences between neighbouring
    weights of theirs (`nbviz.demos.train`), so they are smoother than the task alone would make
    them. The noisy network had no regularisation at all, fewer pictures, and a sensor's
    fixed-pattern noise in each of them; it gets 83 % of its own noisy held-out pictures right.

    Parameters
    ----------
    biased : bool
        False for the twin that saw badges equally often in all classes.
    noisy : bool
        True for the network gone wrong; its pictures carry the sensor's noise too.
    untrained : bool
        Give the same network with its random initial weights, to compare.

    Returns
    -------
    Demo
        `images` has shape (300, 96, 96, 3); `badges` and `badge_class` are set.

    Raises
    ------
    ValueError
        If both `noisy` and ``biased=False`` are asked for: no such network was trained.

    Examples
    --------
    >>> from nbviz.demos import scenes
    >>> network, images, labels, classes = scenes()
    >>> images.shape, classes[6]
    ((300, 96, 96, 3), 'mushroom')
    """
    if noisy and not biased:
        raise ValueError(
            "there is no network trained on noisy and unbiased scenes; leave out one of "
            "noisy=True and biased=False"
        )
    badges: Badges = "planted" if biased else "even"
    pictures = scene_pictures(HELD_OUT, HELD_OUT_SEED, badges=badges)
    images = through_sensor(pictures.images) if noisy else pictures.images
    model = scenes_model(UNTRAINED_SEED).eval()
    accuracy = None
    if not untrained:
        name = "scenes_noisy" if noisy else "scenes" if biased else "scenes_unbiased"
        accuracy = load_weights(model, WEIGHTS / f"{name}.safetensors")
    network = Network(model, ToInput(3, SIZE), CLASSES, input_shape=(3, SIZE, SIZE))
    return Demo(
        network, images, pictures.labels, pictures.classes, accuracy, pictures.badges, BADGE_CLASS
    )
