"""OcclusionProbe in a real JupyterLab: what a person sees, and what their hands do."""

from __future__ import annotations

import re
import time

import numpy as np
from playwright.sync_api import expect

SCENES = """
import nbviz
import numpy as np, torch
demo = nbviz.demos.scenes()
network, images, labels, classes = demo
probe = nbviz.OcclusionProbe(
    network, images, labels=labels, boxes=demo.badges, image=6, fill="black", size=24, stride=8)
LEVELS = {"black": 0, "grey": 128}

def plane():
    # the rule for shapes, pixel by pixel
    found = np.zeros((96, 96), bool)
    for mask in probe.masks:
        top, left, height, width = (mask[k] for k in ("top", "left", "height", "width"))
        for row in range(96):
            for col in range(96):
                if mask["shape"] == "brush":
                    inside = any(r == row and a <= col < b for r, a, b in mask["runs"])
                elif mask["shape"] == "circle":
                    y, x = (row + .5 - top) / height * 2 - 1, (col + .5 - left) / width * 2 - 1
                    inside = y * y + x * x <= 1
                else:
                    inside = 0 <= row - top < height and 0 <= col - left < width
                found[row, col] |= inside
    return found

def answer():
    # the five most probable classes of one plain pass over the masked picture
    picture = images[probe.image].copy()
    picture[plane()] = LEVELS[probe.fill]
    with torch.no_grad():
        shares = network.model(network.prepare(picture)).softmax(1)[0]
    return [[classes[i], 100 * float(shares[i])] for i in shares.argsort(descending=True)[:5]]

probe
"""
PICKY = """
import nbviz, numpy as np, torch
class Picky(torch.nn.Module):
    def forward(self, x):
        if x.mean() > 0.7:
            raise RuntimeError("too bright <b>for me</b>")
        return x
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), Picky(), torch.nn.AdaptiveAvgPool2d(1),
                            torch.nn.Flatten(), torch.nn.Linear(8, 3))
model[0].weight.data.fill_(0.05); model[0].bias.data.zero_()
pictures = np.stack([np.full((16, 16, 3), v, np.uint8) for v in (40, 250)])
picky = nbviz.OcclusionProbe(nbviz.Network(model, input_shape=(3, 16, 16)), pictures,
                             fill="colour", colour=[250, 250, 250], size=16)
picky
"""
LAYER = ".masks"
SIDE = 96


def opened(open_notebook, *cells, **options):
    notebook = open_notebook(cells, **{"viewport": (1280, 1300), **options})
    notebook.run_all()
    view = notebook.view()
    expect(view.find("button:text-is('+ Mask')")).to_be_visible()
    return notebook, view


def choose(view, label, value):
    view.find(f"label:has(span:text-is('{label}')) select").select_option(value)


def press(view, text):
    view.find(f"button:text-is('{text}')").click()


def bars(view):
    """Name and percentage of each class, most probable first."""
    rows = view.find(".bars tr").evaluate_all(
        "rows => rows.map(row => [row.querySelector('th').innerText,"
        " row.querySelector('.percent').innerText])"
    )
    return [(name.removeprefix("◎ "), float(text.removesuffix(" %"))) for name, text in rows]


def wait_bars(view, expected, *, seconds=20):
    """Wait until the bars are these classes and percentages, as they are rounded on show."""
    deadline = time.monotonic() + seconds
    while True:
        seen = bars(view)
        shares = dict(expected)
        # Classes that round to the same share may stand in either order.
        if len(seen) == 5 and all(
            abs(share - shares.get(name, 0)) <= 0.051
            and abs(share - expected[place][1]) <= 0.051
            and (name in shares or share == 0)
            for place, (name, share) in enumerate(seen)
        ):
            return
        assert time.monotonic() < deadline, f"expected {expected}, the bars show {seen}"


def scale(view):
    """CSS pixels to a pixel of the picture."""
    return view.find(LAYER).bounding_box()["width"] / SIDE


def drag(view, start, end):
    """Drag from a (row, column) of the picture to another."""
    s = scale(view)
    view.drag((start[1] * s, start[0] * s), (end[1] * s, end[0] * s), LAYER, steps=6)


def drag_by_finger(notebook, view, start, end):
    """As `drag`, by touch."""
    s = scale(view)
    left, top = view._place(0, 0, LAYER)
    session = notebook.page.context.new_cdp_session(notebook.page)

    def touch(kind, *at):
        points = [{"x": left + column * s, "y": top + row * s} for row, column in at]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", start)
    for share in np.linspace(0, 1, 9):
        touch("touchMove", tuple(np.array(start) + share * (np.array(end) - start)))
    touch("touchEnd")
    session.detach()
    assert view._place(0, 0, LAYER) == (left, top), "the page was scrolled, too"


def boxes(notebook):
    return notebook.ask(
        "[[m['shape'], m['top'], m['left'], m['height'], m['width']] for m in probe.masks]"
    )


def wait_boxes(notebook, view, expected):
    """Wait until Python has these masks, and the view shows what it answers to them."""
    notebook.wait_python(
        f"[[m['shape'], m['top'], m['left'], m['height'], m['width']] for m in probe.masks]"
        f" == {expected}",
        timeout=20,
    )
    wait_bars(view, notebook.ask("answer()"))


def run_map(notebook, view):
    view.find("button:has-text('Full map')").first.click()
    expect(view.find("button:text-is('Stop')")).to_be_hidden()
    notebook.wait_python("probe.result is not None and probe.result.complete")


def drag_to_the_badge(notebook, view):
    """Drag over the empty picture: the mask comes along, and the bars before it is let go."""
    unmasked = bars(view)
    s = scale(view)
    mouse = notebook.page.mouse
    left, top = view._place(0, 0, LAYER)
    box = notebook.ask("demo.badges[6].tolist()")
    row, column = (box[1] + box[3]) // 2, (box[0] + box[2]) // 2
    mouse.move(left + 48 * s, top + 48 * s)
    mouse.down()
    mouse.move(left + column * s, top + row * s, steps=8)
    expect(view.find(".confidence .change").first).to_contain_text("▼")
    expect(view.find(".confidence .big")).not_to_have_text(re.compile(r"^(100|99)\."))
    assert notebook.ask("probe.masks") == []
    mouse.up()
    at = ["rectangle", row - 12, column - 12, 24, 24]
    wait_boxes(notebook, view, [at])
    assert bars(view)[0] != unmasked[0]
    assert notebook.ask("len(probe.trail)") > 1
    expect(view.find("[aria-live]")).to_contain_text("percentage points")
    return at


def test_confidences_follow_the_masks_under_a_hand(open_notebook):
    notebook, view = opened(open_notebook, SCENES)
    wait_bars(view, notebook.ask("answer()"))
    at = [drag_to_the_badge(notebook, view)]
    # A handle
    (_, top0, left0, _, _) = at[0]
    drag(view, (top0, left0), (top0 - 6, left0 - 10))
    at = [["rectangle", top0 - 6, left0 - 10, 30, 34]]
    wait_boxes(notebook, view, at)
    # Keys: a pixel, a stride, larger; and none of them is JupyterLab's
    view.press("ArrowLeft", "Shift+ArrowDown", "+")
    at = [["rectangle", top0 + 1, left0 - 12, 32, 36]]
    wait_boxes(notebook, view, at)
    # A second mask, round, beside the first
    choose(view, "Mask", "circle")
    press(view, "+ Mask")
    at.append(["circle", 36, 36, 24, 24])
    wait_boxes(notebook, view, at)
    expect(view.find(".boxes > div")).to_have_count(2)
    view.press("Shift+Tab", "ArrowUp")
    at[0][1] -= 1
    wait_boxes(notebook, view, at)
    choose(view, "filled with", "grey")
    notebook.wait_python("probe.fill == 'grey'")
    wait_bars(view, notebook.ask("answer()"))
    view.screenshot("masks")
    view.find(".boxes > div").first.focus()
    view.press("Delete")
    wait_boxes(notebook, view, at[1:])
    drag_by_finger(notebook, view, (48, 48), (32, 56))
    wait_boxes(notebook, view, [["circle", 20, 44, 24, 24]])
    view.find("button[aria-label='Take all masks away']").click()
    wait_boxes(notebook, view, [])
    # The brush
    choose(view, "Mask", "brush")
    drag(view, (20, 20), (20, 70))
    drag(view, (20, 70), (60, 30))
    notebook.wait_python("len(probe.masks) == 1 and len(probe.masks[0]['runs']) > 60")
    wait_bars(view, notebook.ask("answer()"))
    view.screenshot("brush")
    assert notebook.cells() == 1, "a key reached JupyterLab's own shortcuts"
    # A kernel that is not the one of before
    notebook.restart_kernel()
    drag(view, (60, 30), (80, 80))
    expect(view.find(".confidence")).to_contain_text("Not current")
    expect(view.find(".waiting")).to_contain_text("run the cell", timeout=15000)


def choose_another_target(notebook, view):
    """It costs no pass, and the map stays the same; a hook would make another network of it."""
    notebook.execute(
        "passes, functional = [], torch.nn.functional.conv2d\n"
        "def counted(*a, **k):\n"
        "    passes.append(1)\n"
        "    return functional(*a, **k)\n"
        "torch.nn.functional.conv2d = torch.conv2d = counted\n"
        "probe.masks = [{'top': 0, 'left': 0, 'height': 9, 'width': 9}]; probe.masks = []\n"
        "counts = len(passes); passes.clear(); result = probe.result"
    )
    assert notebook.ask("counts") > 0
    notebook.page.mouse.move(0, 0)
    expect(view.find(".confidence")).not_to_contain_text("rows 16–40")
    other = view.find(".bars th button").nth(1)
    name = other.inner_text()
    with view.redrawn():
        other.click()
    notebook.wait_python("probe.target != 6")
    expect(view.find(".target-name")).to_have_text(name)
    assert notebook.ask("(passes, probe.result is result)") == ([], True)
    notebook.execute("torch.nn.functional.conv2d = torch.conv2d = functional; probe.target = 6")


def judge(notebook, view):
    """The badge gives the biased network away."""
    press(view, "Evidence")
    evidence = view.find(".evidence")
    expect(evidence).to_contain_text("known box")
    inside, area = notebook.ask("[probe.evidence_shown[k] for k in ('inside', 'area')]")
    assert float(inside) > 3 * float(area)
    expect(evidence.locator("ol button").first).to_be_visible()
    view.screenshot("evidence")
    evidence.locator("ol button").first.click()
    region = notebook.ask("probe.evidence_shown['regions'][0]['box']")
    notebook.wait_python("len(probe.masks) == 1")
    assert boxes(notebook)[0][1:3] == [region[0], region[1]]


def test_the_full_map_is_made_read_judged_and_compared(open_notebook):
    notebook, view = opened(open_notebook, SCENES)
    before = view.pixels(".over[role]")
    run_map(notebook, view)
    expect(view.find(".note")).to_contain_text("100 of 100 computed exactly")
    expect(view.find(".note")).to_contain_text("flush with the border")
    assert (view.pixels(".over[role]") != before).any()
    # A cell under the pointer: its mask, and what the map says
    s = scale(view)
    view.hover(20.5 * s, 29 * s, LAYER)
    expect(view.find(".confidence")).to_contain_text("rows 16–40, columns 8–32")
    expect(view.find("path.dashes")).to_have_attribute("d", re.compile(r"^M8 16h24"))
    cell = notebook.ask("[float(x) for x in 100 * probe.result.values(6, 'probability')[2, :2]]")
    assert abs(float(view.find(".big").inner_text().removesuffix(" %")) - cell[1]) <= 0.051
    choose_another_target(notebook, view)
    judge(notebook, view)
    # Larger masks beside these
    press(view, "Keep as A")
    notebook.wait_python("bool(probe.kept)")
    view.find("button[aria-label='Take all masks away']").click()
    notebook.execute("probe.size = 40")
    expect(view.find(".note")).to_contain_text("Not current")
    run_map(notebook, view)
    panes = view.find(".small-pane")
    expect(panes).to_have_count(3)
    expect(panes.nth(2)).to_contain_text("A − B")
    view.hover(30, 30, ".small-pane canvas")
    expect(view.find(".readout")).to_contain_text("A − B")
    view.screenshot("compared")
    choose(view, "Show", "most probable")
    expect(view.find(".legend.classes").first).to_contain_text("mushroom")
    press(view, "No A")
    expect(panes.first).to_be_hidden()


def test_a_slow_network_is_waited_for_stopped_and_let_go_of(open_notebook):
    slow = """
import nbviz, numpy as np, torch, time
class Slow(torch.nn.Module):
    def forward(self, x):
        time.sleep(0.1 + 0.002 * len(x))
        return x
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), Slow(), torch.nn.AdaptiveAvgPool2d(1),
                            torch.nn.Flatten(), torch.nn.Linear(4, 3))
picture = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
probe = nbviz.OcclusionProbe(nbviz.Network(model, input_shape=(3, 40, 40)), picture, size=8)
probe.stride = 1
probe
"""
    notebook, view = opened(open_notebook, slow)
    # Keys quicker than the network: no step is taken back by the answer to an earlier one.
    press(view, "+ Mask")
    notebook.wait_python("len(probe.masks) == 1")
    for step in range(10):
        view.press("ArrowRight")
        expect(view.find(".boxes > div")).to_have_attribute(
            "aria-label", re.compile(f"column {17 + step}$")
        )
    notebook.wait_python("probe.masks[0]['left'] == 26")
    expect(view.find(".boxes > div")).to_have_attribute("aria-label", re.compile("column 26$"))
    press(view, "Full map")
    expect(view.find("progress")).to_be_visible()
    expect(view.find(".number:has-text('positions')")).to_contain_text("of 1089 positions")
    notebook.wait_python("bool(probe.map)")
    press(view, "Stop")
    expect(view.find("button:text-is('Go on')")).to_be_visible()
    expect(view.find(".note")).to_contain_text("Stopped")
    stopped = notebook.ask("float(probe.result.computed_share)")
    assert 0 < stopped < 1
    view.screenshot("stopped")
    press(view, "Go on")
    notebook.wait_python(f"probe.result.computed_share > {stopped}")
    notebook.clear(0)
    notebook.wait_views(0)
    # Nobody asks any more: the share stands still over many questions.
    shares = {notebook.ask("float(probe.result.computed_share)") for _ in range(3)}
    for _ in range(30):
        shares = {*shares, notebook.ask("float(probe.result.computed_share)")}
    assert len(shares) <= 2
    assert max(shares) < 1


def test_what_cannot_be_is_said_in_the_view(open_notebook):
    notebook, view = opened(open_notebook, SCENES, PICKY)
    failing = notebook.view(1)
    problem = view.find(".problem")
    stride = view.find("input[aria-label^='Stride']")
    stride.fill("0")
    stride.press("Tab")
    expect(problem).to_contain_text("stride")
    assert notebook.ask("probe.stride") == 8
    stride.fill("4")
    stride.press("Tab")
    notebook.wait_python("probe.stride == 4")
    expect(problem).to_be_hidden()
    target = view.find("input[role=combobox]")
    target.click()
    target.fill("mushrom")
    expect(view.find("li[role=option]").first).to_contain_text("mushroom")
    target.press("Enter")
    notebook.wait_python("probe.target == 6")
    notebook.execute(
        "try:\n    probe.target = 'mushrom'\nexcept Exception as e:\n    said = str(e)"
    )
    assert "mushroom" in notebook.ask("said")

    # A model that fails says so beside the last answer.
    before = bars(failing)
    press(failing, "+ Mask")
    problem = failing.find(".problem")
    expect(problem).to_contain_text("too bright <b>for me</b>")
    assert problem.locator("b").count() == 0
    assert bars(failing) == before
    failing.find("button[aria-label='Take all masks away']").click()
    expect(problem).to_be_hidden()
    failing.find(".inputs input[type=range]").first.fill("1")
    expect(problem).to_contain_text("too bright")
    assert notebook.ask("picky.image") == 0


def test_it_is_drawn_in_both_themes_and_on_a_phone(open_notebook):
    notebook, view = opened(open_notebook, SCENES, viewport=(1280, 1500))
    press(view, "+ Mask")
    run_map(notebook, view)
    pixels = view.pixels(".over[role]").reshape(-1, 4)
    assert len(np.unique(pixels, axis=0)) > 10
    notebook.screenshot("light")
    with view.redrawn():
        notebook.set_theme("dark")
    expect(notebook.page.locator("#jupyterlab-splash")).to_have_count(0)
    notebook.screenshot("dark")
    assert not re.search("undefined|NaN", view.text())
    with view.redrawn():
        notebook.fit_output(360)
    view.screenshot("narrow")
    assert view.host.evaluate("h => h.scrollWidth <= h.clientWidth")
    drag(view, (48, 48), (40, 60))
    wait_boxes(notebook, view, [["rectangle", 28, 48, 24, 24]])


def test_without_a_kernel_the_map_answers_and_says_so(open_notebook):
    notebook, view = opened(open_notebook, SCENES, "probe")
    run_map(notebook, view)
    drag(view, (48, 48), (30, 30))
    at = [["rectangle", 18, 18, 24, 24]]
    wait_boxes(notebook, view, at)
    # Every view of one probe shows one state.
    expect(notebook.view(1).find(".boxes > div")).to_have_count(1)
    near = notebook.ask("100 * float(probe.result.values(6, 'probability')[4, 5])")
    shown = bars(view)
    notebook.reload()
    view = notebook.view()
    expect(view.find("button:text-is('+ Mask')")).to_be_visible()
    assert bars(view) == shown
    notebook.reopen()
    view = notebook.view()
    expect(view.find(".boxes > div")).to_have_count(1)
    assert bars(view) == shown
    view.show()
    # The map has masks from row 32 and column 40.
    drag(view, (30, 30), (45, 51))
    confidence = view.find(".confidence")
    expect(confidence).to_contain_text("read from the map", timeout=15000)
    expect(confidence).to_contain_text("rows 32–56, columns 40–64")
    assert abs(float(view.find(".big").inner_text().removesuffix(" %")) - near) <= 0.051
    view.screenshot("no-kernel")


def test_a_mask_is_answered_on_every_ipykernel(open_notebook, ipykernel):
    notebook, view = opened(open_notebook, SCENES, kernel=f"ipykernel-{ipykernel}")
    drag(view, (48, 48), (30, 30))
    wait_boxes(notebook, view, [["rectangle", 18, 18, 24, 24]])
