"""Small trained networks with their data, for lectures and tests; nothing is downloaded.

`digits` and `scenes` give a network with held-out pictures. `digits_training_data` and
`digits_model` are what a training loop in a notebook needs. `scene_pictures` paints more scenes:
the same ones with and without the badge that the biased network leans on. The weights were made by
``python -m nbviz.demos.train``.
"""

from nbviz.demos.architectures import digits_model, roughness, scenes_model
from nbviz.demos.demo import Demo, as_input
from nbviz.demos.digit_demo import TrainingData, digits, digits_training_data
from nbviz.demos.scene_demo import scenes
from nbviz.demos.scene_pictures import (
    ScenePictures,
    scene_pictures,
    sensor_pattern,
    stick_badges,
    through_sensor,
)

__all__ = [
    "Demo",
    "ScenePictures",
    "TrainingData",
    "as_input",
    "digits",
    "digits_model",
    "digits_training_data",
    "roughness",
    "scene_pictures",
    "scenes",
    "scenes_model",
    "sensor_pattern",
    "stick_badges",
    "through_sensor",
]
