"""FilterGrid: what reaches the browser, what the browser may set, and what Python may."""

from __future__ import annotations

import gc
import re
import weakref
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
import torch
import traitlets
from PIL import Image
from torch import nn

from nbviz import FilterGrid
from nbviz.widgets import wire

JS = Path(__file__).parents[2] / "js"


def small_network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 12, 7), nn.ReLU(), nn.Conv2d(12, 8, 3, groups=2), nn.Flatten(), nn.Linear(8, 2)
    )


def dequantised(grid):
    arrays = wire.unpack(grid.kernels)
    return arrays["values"] / 127.0 * arrays["scale"][:, None, None, None]


def test_the_browser_gets_the_weights_to_half_a_level():
    model = small_network()
    grid = FilterGrid(model)
    exact = model[0].weight.detach().numpy()
    bound = np.abs(exact).reshape(12, -1).max(1)[:, None, None, None] / 254 * 1.001
    assert (np.abs(dequantised(grid) - exact) <= bound).all()
    assert grid.kernels["layer"] == "0"
    assert grid.kernels["colour"] is True


def test_at_most_a_tenth_more_is_sent_than_the_weights_as_bytes():
    for shape in ((96, 3, 11, 11), (64, 3, 7, 7), (512, 512, 3, 3)):
        grid = FilterGrid(nn.Sequential(nn.Conv2d(shape[1], shape[0], shape[2])))
        assert wire.payload_bytes(grid.kernels) <= 1.1 * np.prod(shape)


def test_choosing_a_layer_shows_it_in_one_message(frontend):
    model = small_network()
    grid = FilterGrid(model, selected=[1, 2])
    frontend.sent.clear()
    frontend.set(grid, layer="2")
    assert grid.kernels["layer"] == "2"
    assert grid.selected == []
    np.testing.assert_allclose(
        dequantised(grid),
        model[2].weight.detach().numpy(),
        atol=np.abs(dequantised(grid)).max() / 200,
    )
    updates = [m for m in frontend.sent if "kernels" in m["data"].get("state", {})]
    assert len(updates) == 1


def test_the_lens_gets_exact_weights(frontend):
    model = small_network()
    grid = FilterGrid(model)
    answer = frontend.ask(grid, kind="kernel", rid="v-1", layer="0", step=-1, output=5)
    weights = wire.unpack(answer)["weights"]
    np.testing.assert_array_equal(weights, model[0].weight[5].detach().numpy())
    assert answer["rid"] == "v-1"
    assert "id" not in answer


def test_an_error_while_answering_goes_back_to_the_view_that_asked(frontend):
    grid = FilterGrid(small_network())
    answer = frontend.ask(grid, kind="kernel", rid="v-2", layer="0", step=-1, output=99)
    assert answer["kind"] == "error"
    assert answer["rid"] == "v-2"
    assert "99" in answer["message"]
    answer = frontend.ask(grid, kind="kernal", rid="v-3")
    assert answer["kind"] == "error"
    assert "kernal" in answer["message"]


def test_what_the_browser_may_not_set_is_said_in_the_view(frontend):
    grid = FilterGrid(small_network())
    frontend.set(grid, layer="7")
    assert "no layer '7'" in grid.problem
    assert grid.layer == "0"
    frontend.set(grid, layer="2")
    assert grid.problem == ""


def test_a_refused_choice_is_taken_back_in_the_view_and_then_forgotten(frontend):
    grid = FilterGrid(small_network())
    frontend.sent.clear()
    frontend.set(grid, layer="7")
    assert frontend.states("layer")[-1] == "0"
    frontend.set(grid, zoom=3)
    assert grid.problem == ""
    grid.problem = "something else"
    frontend.set(grid, zoom=4)
    assert grid.problem == "something else"


def test_a_typing_error_in_a_name_is_not_swallowed():
    grid = FilterGrid(small_network())
    with pytest.raises(AttributeError, match="no 'selcted'; did you mean 'selected'"):
        grid.selcted = [1]
    with pytest.raises(TypeError, match="no argument 'history'"):
        FilterGrid(small_network(), history={})
    with pytest.raises(ValueError, match="max_bytes must be 1 or more"):
        FilterGrid(small_network(), max_bytes=0)
    with pytest.raises(ValueError, match="2 snapshots or more"):
        FilterGrid(small_network(), history_frames=1)


def test_a_layer_that_was_exchanged_is_listed_anew():
    model = small_network()
    grid = FilterGrid(model, selected=[11])
    model[0] = nn.Conv2d(3, 32, 5)
    grid.refresh()
    assert grid.layers[0]["shape"] == [32, 3, 5, 5]
    grid.selected = [31]
    model[0] = nn.Conv2d(3, 8, 5)
    grid.refresh()
    assert grid.selected == []


def test_wrong_values_name_what_is_right():
    model = small_network()
    with pytest.raises(ValueError, match=r"2 layers with kernels, got .conv1."):
        FilterGrid(model, "conv1")
    grid = FilterGrid(model)
    with pytest.raises(
        traitlets.TraitError, match=r"'norm', 'noise', 'similarity'; got 'nois'.*'noise'"
    ):
        grid.sort = "nois"
    with pytest.raises(traitlets.TraitError, match="normalise of a FilterGrid"):
        grid.normalise = "global"
    with pytest.raises(traitlets.TraitError, match="12 output channels, numbered 0 to 11"):
        grid.selected = [12]
    with pytest.raises(traitlets.TraitError, match="no layer '1'"):
        grid.layer = "1"
    with pytest.raises(TypeError, match="no argument 'sorts'; did you mean 'sort'"):
        FilterGrid(model, sorts="norm")
    with pytest.raises(ValueError, match="'noise' or 'norm'; got 'norms'; did you mean 'norm'"):
        grid.chart("norms")
    assert grid.sort == "index"


def test_refresh_reads_the_weights_anew():
    model = small_network()
    grid = FilterGrid(model)
    with torch.no_grad():
        model[0].weight.fill_(0.5)
    before = dequantised(grid)
    grid.refresh()
    assert not np.allclose(before, 0.5)
    np.testing.assert_allclose(dequantised(grid), 0.5, rtol=1e-6)


def test_not_a_number_is_counted_said_and_marked():
    model = small_network()
    with torch.no_grad():
        model[0].weight[3, 0, 0, 0] = float("nan")
        model[0].weight[4, 1, 2, 3] = float("inf")
    grid = FilterGrid(model)
    arrays = wire.unpack(grid.kernels)
    bits = np.unpackbits(arrays["nonfinite"], bitorder="little")[: arrays["values"].size]
    expected = ~np.isfinite(model[0].weight.detach().numpy()).ravel()
    np.testing.assert_array_equal(bits.astype(bool), expected)
    assert np.flatnonzero(arrays["flags"] & 4).tolist() == [3, 4]
    assert "2 weights in 2 of 12 kernels" in grid.health.sentence
    picture = grid.still()
    assert ((picture == (255, 0, 200)) | (picture == (40, 40, 40))).all(axis=-1).any()


def test_a_layer_beyond_the_limit_is_cut_and_says_so():
    grid = FilterGrid(nn.Sequential(nn.Conv2d(64, 100, 3)), max_bytes=64 * 9 * 10)
    assert wire.unpack(grid.kernels)["values"].shape[0] == 10
    assert grid.kernels["outputs"] == 100


def test_a_closed_widget_frees_the_model():
    model = small_network()
    grid = FilterGrid(model)
    grid._repr_mimebundle_()
    there, model_there = weakref.ref(grid), weakref.ref(model)
    grid.close()
    del grid, model
    gc.collect()
    assert there() is None
    assert model_there() is None


class TwoFirstLayers(nn.Module):
    """Two convolutions that could read the image, so that the model is run to see which do."""

    def __init__(self):
        super().__init__()
        self.weighted = nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 4, 5))
        self.plain = nn.Conv2d(3, 4, 5)
        self.norm, self.drop = nn.BatchNorm2d(4), nn.Dropout()
        self.calls = [0]

    def forward(self, images):
        return self.drop(self.norm(self.weighted(images) + self.plain(images))).mean((2, 3))


def test_the_model_is_left_as_it_was():
    model = TwoFirstLayers()
    runs = []
    model.register_forward_pre_hook(lambda *_: runs.append(1))
    model.train()
    model.plain.eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    flags = [m.training for m in model.modules()]
    state = torch.get_rng_state()
    grid = FilterGrid(model)
    grid.layer = "plain"
    grid.refresh()
    grid.still()
    assert runs, "the model was never run, so this shows nothing"
    assert [m.training for m in model.modules()] == flags
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert [len(m._forward_hooks) for m in model.modules()] == [0] * len(flags)


def test_a_saved_notebook_carries_a_picture():
    data, _ = FilterGrid(small_network())._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert "<img alt=" in data["text/html"]


def test_a_class_name_from_a_stranger_is_text_in_the_picture():
    stranger = type("<script>alert(1)</script>", (nn.Sequential,), {})
    data, _ = FilterGrid(stranger(nn.Conv2d(3, 4, 7)))._repr_mimebundle_()
    assert "<script>" not in data["text/html"]
    assert "&lt;script&gt;" in data["text/html"]


def test_save_writes_both_formats_at_print_quality(tmp_path):
    grid = FilterGrid(small_network(), sort="norm", normalise="layer")
    written = grid.save(tmp_path / "kernels")
    assert [path.suffix for path in written] == [".png", ".svg"]
    with Image.open(written[0]) as image:
        assert image.size[0] >= 1300
        assert round(image.info["dpi"][0]) == 300
    svg = written[1].read_text()
    assert re.findall(r"<text[^>]*>(\d+) noisy</text>", svg) == [
        str(i) for i in np.argsort(-grid.scores.norm, kind="stable")
    ]
    low = float(small_network()[0].weight.detach().min())
    assert f">{low:.3g}<" in svg
    assert grid.save(tmp_path / "one.png") == [tmp_path / "one.png"]
    with pytest.raises(ValueError, match=r"\.png or \.svg"):
        grid.save(tmp_path / "kernels.pdf")


def test_the_chart_and_the_selection_follow_each_other():
    grid = FilterGrid(small_network())
    figure = grid.chart("norm")
    (bars,) = figure.marks
    assert np.sum(bars.y) == 12
    grid.selected = [0, 5]
    assert np.sum(bars.y[1]) == 2
    low, high = np.sort(grid.scores.norm)[[8, 11]]
    figure.interaction.selected = np.array([low, high])
    assert sorted(grid.selected) == np.flatnonzero(grid.scores.norm >= low).tolist()
    assert np.sum(bars.y[1]) == 4


def test_a_chart_does_not_keep_the_model_alive():
    model = small_network()
    grid = FilterGrid(model)
    figure = grid.chart("norm")
    there = weakref.ref(model)
    grid.close()
    del grid, model, figure
    gc.collect()
    assert there() is None


def test_kernels_of_one_norm_still_have_a_chart():
    model = small_network()
    nn.init.orthogonal_(model[0].weight)
    assert np.sum(FilterGrid(model).chart("norm").marks[0].y) == 12


def test_a_print_of_a_huge_layer_stays_within_bounds(tmp_path):
    (path,) = FilterGrid(nn.Conv2d(700, 900, 3)).save(tmp_path / "huge.png")
    with Image.open(path) as image:
        assert max(image.size) < 6500


def test_the_traits_are_those_that_the_view_reads():
    source = (JS / "filter-grid" / "state.ts").read_text()
    body = source.split("export interface State {")[1].split("\n}")[0]
    names = set(re.findall(r"^  (\w+):", body, re.MULTILINE))
    own = {n for n in FilterGrid.class_trait_names(sync=True) if not n.startswith("_")}
    own -= {"comm", "layout", "keys", "tabbable", "tooltip"}
    assert names == own
