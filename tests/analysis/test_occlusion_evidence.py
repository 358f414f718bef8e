"""The planted badge is found in the network that leans on it, and not in its twin."""

from __future__ import annotations

import numpy as np
import pytest

from nbviz import demos
from nbviz.analysis.occlusion import evidence, occlusion_map, occlusion_steps
from nbviz.analysis.occlusion_map import OcclusionMap
from nbviz.analysis.receptive_field import Box

MUSHROOM = 6


@pytest.fixture(scope="module")
def badged():
    """The same scenes, each with a badge, for both networks; the mushrooms among them."""
    pictures = demos.scene_pictures(120, seed=2, badges="all")
    numbers = np.flatnonzero(pictures.labels == MUSHROOM)
    return pictures.images[numbers], pictures.badges[numbers]


def found_in(network, badged, **settings):
    made = {"size": 16, "stride": 4, **settings}
    return [
        evidence(occlusion_map(network, image, "mushroom", **made), boxes=box)
        for image, box in zip(*badged, strict=True)
    ]


@pytest.mark.parametrize("settings", [{}, {"tolerance": 0.05}, {"size": 12, "fill": "grey"}])
def test_the_badge_is_found_where_the_network_leans_on_it(badged, settings):
    network = demos.scenes(biased=True).network
    found = found_in(network, badged, **settings)
    assert len(found) >= 8
    telling = [one for one in found if one.most >= 0.05]
    assert len(telling) >= 6
    assert all(one.leaning for one in telling)
    assert all(
        one.leaning is None and "too little" in one.verdict for one in set(found) - {*telling}
    )
    assert np.median([one.concentration for one in found]) > 10
    for one, box in zip(found, badged[1], strict=True):
        region = one.regions[0].box
        assert region.left < box[2]
        assert region.right > box[0]
        assert region.top < box[3]
        assert region.bottom > box[1]
        assert ("; it leans on what is there" in one.verdict) is bool(one.leaning)


@pytest.mark.parametrize("settings", [{}, {"tolerance": 0.05}, {"size": 12, "fill": "grey"}])
def test_no_badge_is_found_where_the_network_was_trained_without_the_bias(badged, settings):
    network = demos.scenes(biased=False).network
    found = found_in(network, badged, **settings)
    assert not any(one.leaning for one in found)
    assert np.median([one.concentration for one in found]) < 2
    assert sum(one.leaning is False for one in found) >= len(found) // 2
    assert all("; it leans" not in one.verdict for one in found)


def a_map(drops, *, size=(4, 4), base=0.9, state=None):
    """A map of two classes with these drops of class 1 at each pixel's mask."""
    drops = np.asarray(drops, np.float32)
    rows, cols = drops.shape
    probability = np.clip(base - drops, 1e-6, 1 - 1e-6)
    logits = np.stack([np.log(1 - probability), np.log(probability)], 2).astype(np.float32)
    state = np.ones(drops.shape, np.uint8) if state is None else state
    logits[state == 0] = np.nan
    return OcclusionMap(
        image_shape=(3, rows + size[0] - 1, cols + size[1] - 1),
        size=size,
        stride=(1, 1),
        mask_shape="rectangle",
        tops=np.arange(rows, dtype=np.int32),
        lefts=np.arange(cols, dtype=np.int32),
        target=1,
        classes=np.arange(2, dtype=np.int32),
        class_names=("cat", "dog"),
        logits=logits,
        log_normaliser=np.where(state == 0, np.nan, 0).astype(np.float32),
        state=state,
        top_classes=np.zeros((rows, cols, 2), np.int32),
        top_probabilities=np.ones((rows, cols, 2), np.float32),
        base_logits=np.log([1 - base, base]).astype(np.float32),
        base_log_normaliser=0.0,
        sums={},
        base_sums={},
        network_name="Net",
        fill="mean",
        fill_note="",
        way="plain",
        reason="",
        tolerance=None,
    )


def test_regions_come_by_drop_with_their_share_of_the_loss():
    drops = np.zeros((40, 50))
    drops[5:8, 30:34] = 0.6
    drops[25:27, 4:10] = 0.3
    drops[35, 45] = -0.5  # a gain is no loss
    found = evidence(a_map(drops))
    loss = np.maximum(a_map(drops).per_pixel(1, "probability drop"), 0)
    first, second = found.regions
    assert (first.rank, second.rank) == (1, 2)
    assert found.most == first.drop == pytest.approx(0.6, abs=1e-5)
    assert second.drop == pytest.approx(0.3, abs=1e-5)
    for region, rows, cols in ((first, (5, 11), (30, 37)), (second, (25, 30), (4, 13))):
        box = region.box
        assert rows[0] <= box.top < box.bottom <= rows[1]
        assert cols[0] <= box.left < box.right <= cols[1]
        inside = loss[box.top : box.bottom, box.left : box.right]
        # the region is the part of its box in which a share of the peak is lost
        assert 0.7 * inside.sum() < region.share * loss.sum() <= inside.sum() * (1 + 1e-6)
    assert found.inside is found.area is found.concentration is found.leaning is None
    assert f"rows {first.box.top}–{first.box.bottom}, columns {first.box.left}–" in found.verdict
    assert not first.spread
    assert "spread" not in found.verdict
    assert "“dog”" in found.verdict
    assert len(evidence(a_map(drops), regions=1).regions) == 1


def test_a_loss_over_most_of_the_picture_is_said_to_be_spread():
    drops = np.full((20, 20), 0.3)
    drops[10, 10] = 0.31
    found = evidence(a_map(drops))
    assert found.regions[0].spread
    box = found.regions[0].box
    edges = f"rows {box.top}–{box.bottom}, columns {box.left}–{box.right}"
    assert "The loss is spread over the picture: " in found.verdict
    assert edges in found.verdict


def test_the_share_inside_is_that_of_all_boxes_together_each_pixel_once():
    rng = np.random.default_rng(0)
    made = a_map(rng.random((20, 20)) * 0.4)
    loss = np.maximum(made.per_pixel(1, "probability drop"), 0)
    boxes = [(3, 2, 9, 8), (5, 5, 22, 12), (20, 0, 23, 3), (-1, -1, -1, -1)]
    inside, area = 0.0, 0
    for row in range(loss.shape[0]):
        for col in range(loss.shape[1]):
            if any(t <= row < b and le <= col < r for le, t, r, b in boxes):
                inside += loss[row, col]
                area += 1
    found = evidence(made, boxes=boxes)
    assert found.inside == pytest.approx(inside / loss.sum())
    assert found.area == pytest.approx(area / loss.size)
    assert found.concentration == pytest.approx(found.inside / found.area)
    assert found.leaning is False
    one = evidence(made, boxes=boxes[0])
    assert one.area == pytest.approx(36 / loss.size)
    as_box = Box(top=2, left=3, bottom=8, right=9)
    assert (
        evidence(made, boxes=as_box).inside == evidence(made, boxes=[as_box]).inside == one.inside
    )
    assert evidence(made, boxes=np.array(boxes)).inside == found.inside
    for none in ([], (-1, -1, -1, -1), None):
        assert evidence(made, boxes=none).inside is None
    whole = evidence(made, boxes=(0, 0, 23, 23))
    assert whole.area == whole.inside == 1
    assert whole.leaning is None


def test_another_class_has_evidence_of_its_own():
    drops = np.zeros((20, 20))
    drops[3:6, 3:6] = 0.5
    made = a_map(drops)
    assert evidence(made, target=1).regions
    other = evidence(made, target=0)
    assert other.target == 0
    assert other.regions == ()
    assert "No mask takes confidence in “cat” away" in other.verdict


def test_little_loss_no_loss_and_part_of_a_map_are_said():
    drops = np.zeros((20, 20))
    drops[3:6, 3:6] = 0.02
    little = evidence(a_map(drops), boxes=(3, 3, 9, 9))
    assert little.leaning is None
    assert "takes 2 percentage points from" in little.verdict
    assert "too little to tell" in little.verdict
    assert "the loss is little" in evidence(a_map(drops)).verdict
    none = evidence(a_map(np.zeros((9, 9))), boxes=(0, 0, 3, 3))
    assert none.regions == ()
    assert none.inside is none.leaning is None
    assert "without mask it is 90 %" in none.verdict
    state = np.zeros((20, 20), np.uint8)
    assert "Nothing is known yet" in evidence(a_map(drops, state=state)).verdict
    state[::2, ::2] = 1
    assert (
        "Only 25 % of the positions have been asked" in evidence(a_map(drops, state=state)).verdict
    )
    state[1::2] = 2
    state[::2] = 1
    assert "50 % of the positions are interpolated" in evidence(a_map(drops, state=state)).verdict


def test_evidence_of_an_unfinished_map_is_of_what_there_is():
    network, images, *_ = demos.scenes()
    coarse = next(occlusion_steps(network, images[16], "mushroom", size=16, stride=4))
    assert "Only" in evidence(coarse).verdict
    assert evidence(coarse).regions


@pytest.mark.parametrize(
    ("boxes", "said"),
    [
        ((1, 2, 3), "left, top, right, bottom"),
        ([(1, 2, 3)], "left, top, right, bottom"),
        (["a"] * 4, "in pixels"),
        ((5, 5, 5, 9), "12 pixels across"),
        ((5, 4, 3, 9), r"got \(5, 4, 3, 9\)"),
        ((0, 0, 13, 4), "within the image"),
        ([(-1, 0, 3, 3)], "within the image"),
    ],
)
def test_a_box_that_is_none_is_told(boxes, said):
    with pytest.raises(ValueError, match=said):
        evidence(a_map(np.zeros((9, 9))), boxes=boxes)
