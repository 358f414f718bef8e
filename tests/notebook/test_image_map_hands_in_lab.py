"""ImageMap in a real JupyterLab under mouse, wheel and keys: where it goes, what is chosen.

Where images stand before and after is worked out from the state, by `map_sight`.
"""

from __future__ import annotations

import numpy as np
from fixtures.numbered_pictures import classes_of, number_of
from map_sight import NUMBERED, opened, press, sight
from playwright.sync_api import expect

COUNT = 600
MAP = NUMBERED + f"shown = numbered({COUNT}, names=False)\nshown"
GRID = NUMBERED + f'shown = numbered({COUNT}, names=False, arrangement="grid")\nshown'
LINKED = """
browser = nbviz.ActivationBrowser(network, images, labels=labels)
link = nbviz.link(shown, browser)
browser
"""
DIGITS = """
import nbviz
network, images, labels, classes = nbviz.demos.digits()
scan = nbviz.scan(network, images, labels=labels, layers="conv1", progress=False)
shown = nbviz.ImageMap(scan)
shown.wait(progress=False)
shown
"""


def settled(notebook):
    notebook.wait_python("shown.progress['finished']")


def expect_camera(notebook, x, y, zoom):
    """The view tells Python where it is, some tenths of a second after it came to rest."""
    near = f"abs(shown.camera[0] - {x}) < 60 and abs(shown.camera[1] - {y}) < 60"
    notebook.wait_python(
        f"len(shown.camera) == 3 and {near} and abs(shown.camera[2] / {zoom} - 1) < 0.01"
    )


def test_the_map_moves_under_mouse_wheel_and_keys(open_notebook):
    notebook, view = opened(open_notebook, MAP, viewport=(1280, 1000))
    settled(notebook)
    whole = sight(notebook, view)
    width, height = whole.room
    # The wheel is the page's until the map is in use.
    view.wheel(width / 2, height / 2, -200, ".stage")
    expect(view.find(".stage-hint")).to_be_visible()
    assert notebook.ask("shown.camera") == []
    # At the pointer: what is under it stays there.
    at = np.array([width * 0.7, height * 0.4])
    view.wheel(*at, -200, ".stage", key="Control")
    notebook.wait_python("len(shown.camera) == 3")
    there = sight(notebook, view)
    place = (at - np.array(whole.room) / 2) / whole.scale + whole.middle
    kept = (place - there.middle) * there.scale + np.array(there.room) / 2
    assert np.abs(kept - at).max() < 2
    assert there.scale > 1.3 * whole.scale
    # By hand: as many pixels as the hand
    view.drag((width / 2, height / 2), (width / 2 - 120, height / 2 + 70), ".stage")
    expected = there.middle - np.array([-120, 70]) / there.scale
    expect_camera(notebook, *expected, there.camera[2])
    # By keys, once the map has the focus
    here = sight(notebook, view)
    view.press("ArrowRight")
    expect_camera(notebook, here.middle[0] + 80 / here.scale, here.middle[1], here.camera[2])
    expect(view.find(".minimap")).to_be_visible()
    view.press("0")
    notebook.wait_python("shown.camera == []")
    view.press("+", "+")
    notebook.wait_python("len(shown.camera) == 3 and shown.camera[2] > 1.2")
    press(view, "All")
    notebook.wait_python("shown.camera == []")
    view.click(width * 0.6, height * 0.5, ".stage", count=2)
    notebook.wait_python("len(shown.camera) == 3 and abs(shown.camera[2] - 2) < 0.05")
    # The small map: a click in its corner goes there
    box = view.find(".minimap").bounding_box()
    view.click(box["width"] * 0.5, box["height"] * 0.25, ".minimap")
    low, high = whole.places.min(0), whole.places.max(0)
    notebook.wait_python(
        f"abs(shown.camera[1] - {low[1] + 0.25 * (high[1] - low[1])}) < {0.06 * (high[1] - low[1])}"
    )
    assert notebook.ask("shown.problem") == ""


def test_a_lasso_and_a_box_select_and_python_selects_too(open_notebook):
    notebook, view = opened(open_notebook, MAP, viewport=(1280, 1000))
    settled(notebook)
    notebook.execute(
        "heard = []\nshown.observe(lambda change: heard.append(change.new), 'selected')"
    )
    there = sight(notebook, view)
    x, y = there.screen.T
    left, top, right, bottom = 220, 60, 480, 240
    press(view, "Box")
    view.drag((left, top), (right, bottom), ".stage")
    inside = np.flatnonzero((x > left) & (x < right) & (y > top) & (y < bottom))
    edge = np.flatnonzero(
        (np.abs(x - left) < 1) | (np.abs(x - right) < 1) | (np.abs(y - top) < 1)
        | (np.abs(y - bottom) < 1)
    )  # fmt: skip
    notebook.wait_python("len(heard) == 1 and len(shown.selected)")
    selected = notebook.ask("shown.selected.tolist()")
    assert set(selected) ^ set(inside.tolist()) <= set(edge.tolist())
    expect(view.find("section[aria-label='Selection'] h3")).to_have_text(
        f"{len(selected)} images selected"
    )
    # A triangle by the lasso, with Shift: it adds.
    press(view, "Lasso")
    corners = np.array([[300, 300], [520, 330], [380, 480]])
    mouse, box = notebook.page.mouse, view.find(".stage").bounding_box()
    first, *others = (corners[[0, 1, 2, 0]] + np.array([box["x"], box["y"]])).tolist()
    notebook.page.keyboard.down("Shift")
    mouse.move(*first)
    mouse.down()
    for other in others:
        mouse.move(*other, steps=12)
    mouse.up()
    notebook.page.keyboard.up("Shift")
    notebook.wait_python("len(heard) == 2")
    both = set(notebook.ask("shown.selected.tolist()"))
    triangle, doubtful = within(corners, there.screen)
    assert set(selected) <= both
    assert both - set(selected) - doubtful == triangle - set(selected) - doubtful
    # Without Shift it begins anew; from Python it shows.
    press(view, "Box")
    view.drag((left, top), (right, bottom), ".stage")
    notebook.wait_python(f"len(shown.selected) == {len(selected)}")
    notebook.execute("shown.selected = [5, 17, 400]")
    expect(view.find("section[aria-label='Selection'] h3")).to_have_text("3 images selected")
    shown = view.find("section[aria-label='Selection'] .strip canvas:not(.waits)")
    expect(shown).to_have_count(3, timeout=30_000)
    strip = "section[aria-label='Selection'] .strip canvas >> nth="
    assert [number_of(view.pixels(f"{strip}{i}")) for i in range(3)] == [5, 17, 400]
    view.find(".stage canvas.map").focus()
    view.press("Escape", "Escape")
    notebook.wait_python("len(shown.selected) == 0")


def within(corners, points):
    """Rows inside a triangle, and rows within two pixels of its sides."""
    sides = np.roll(corners, -1, axis=0) - corners
    apart = points[:, None] - corners
    turned = sides[:, 0] * apart[..., 1] - sides[:, 1] * apart[..., 0]
    turned = turned / np.linalg.norm(sides, axis=1)
    inside = (turned > 0).all(1) | (turned < 0).all(1)
    near = np.abs(turned).min(1) < 3
    return set(np.flatnonzero(inside).tolist()), set(np.flatnonzero(near).tolist())


def test_the_keyboard_alone_is_enough(open_notebook):
    notebook, view = opened(open_notebook, GRID, viewport=(1280, 1000))
    settled(notebook)
    there = sight(notebook, view, layout="grid")
    view.find("canvas.map").focus()
    view.press("n")
    card = view.find(".hover-card")
    expect(card).to_be_visible()
    first = there.places[:, 1].round(-2) * 1e6 + there.places[:, 0]
    expect(card).to_contain_text(f"image {first.argmin()}")
    view.press("Enter")
    notebook.wait_python(f"shown.image == {first.argmin()}")
    # To the right: the nearest there
    view.press("Alt+ArrowRight")
    beside = there.places - there.places[first.argmin()]
    right = np.where(
        (np.abs(beside[:, 1]) < 10) & (beside[:, 0] > 0), beside[:, 0], np.inf
    ).argmin()
    expect(card).to_contain_text(f"image {right}")
    view.press("Shift+Enter")
    notebook.wait_python(f"shown.selected.tolist() == [{right}]")
    view.press("g")
    notebook.wait_python("shown.arrangement == 'pca'")
    view.press("]")
    notebook.wait_python("shown.size == 36")
    view.press("?")
    expect(view.find(".help")).to_contain_text("from image to image")
    view.press("/")
    expect(view.find(".toolbar input[type=search]")).to_be_focused()
    notebook.page.keyboard.type("kind c")
    notebook.page.keyboard.press("Enter")
    expect(view.find(".found")).to_contain_text("images found")
    expect(view.find(".spoken")).not_to_be_empty()
    assert notebook.cells() == 1, "a key reached JupyterLab's own shortcuts"
    # Everything that acts can be reached by Tab, and says what it is.
    unnamed = view.find(".view").evaluate(
        "v => [...v.querySelectorAll('button, select, input, canvas[tabindex]')].filter(e =>"
        " !(e.ariaLabel || e.textContent.trim() || e.title || e.labels?.length)).map(e =>"
        " e.outerHTML)"
    )
    assert unnamed == []


def test_a_question_is_answered_and_flies_to_the_image(open_notebook):
    notebook, view = opened(open_notebook, MAP, viewport=(1280, 1200))
    settled(notebook)
    press(view, "Misplaced")
    answers = view.find(".questions .answer")
    expect(answers.first).to_be_visible(timeout=30_000)
    kind, near = (
        classes_of(np.arange(COUNT)),
        np.array(
            notebook.ask("[row.tolist() for row in shown.embedding.neighbours.index[:, :15]]")
        ),
    )
    own = (kind[near] == kind[:, None]).mean(1)
    first = int(answers.first.get_attribute("data-row"))
    assert own[first] == own.min(), "the most misplaced comes first"
    answers.first.click()
    notebook.wait_python(f"shown.image == {first} and len(shown.camera) == 3")
    there = sight(notebook, view)
    assert first in there.inside(20)
    view.find(".questions label:has(span:text-is('among')) select").select_option(label="kind c")
    expect(view.find(".questions")).to_contain_text("are kind c.")
    for row in answers.evaluate_all("nodes => nodes.map(n => Number(n.dataset.row))"):
        counts = np.bincount(kind[near[row]], minlength=10)
        assert counts[2] == counts.max()
        assert kind[row] != 2
    press(view, "Duplicates")
    expect(view.find(".questions")).to_contain_text("nearest for the network")
    press(view, "Outliers")
    expect(view.find(".questions")).to_contain_text("most room around them")
    view.find(".questions button:text-is('Select all')").click()
    notebook.wait_python("len(shown.selected) > 10")


def test_a_picture_of_ones_own_lands_among_its_like_and_a_click_goes_to_a_linked_view(
    open_notebook, tmp_path
):
    notebook, view = opened(open_notebook, DIGITS, LINKED, viewport=(1280, 1200))
    settled(notebook)
    notebook.execute(
        "from PIL import Image\nfrom nbviz.demos.digit_demo import digits_pictures\n"
        "every, kinds, held = digits_pictures()\n"
        "number = int(((kinds == 0) & ~held).nonzero()[0][0])\n"
        f"Image.fromarray(every[number]).save({str(tmp_path / 'zero.png')!r})"
    )
    before = sight(notebook, view)
    view.drop_file(tmp_path / "zero.png", ".stage")
    own = view.find(".own-card")
    expect(own).to_be_visible(timeout=30_000)
    expect(own).to_contain_text("zero.png")
    np.testing.assert_array_equal(sight(notebook, view).places, before.places)
    place, near = notebook.ask(
        "[nbviz.widgets.wire.unpack(shown.own)[n][0].tolist() for n in ('places', 'neighbours')]"
    )
    labels = np.array(notebook.ask("labels.tolist()"))
    assert (labels[near] == 0).all()
    away = np.linalg.norm(before.places - np.array(place), axis=1)
    assert (labels[away.argsort()[:5]] == 0).all(), "it lands among the zeros"
    expect(own.locator(".strip .pick")).to_have_count(len(near))
    view.screenshot("own")
    own.locator(".strip .pick").first.click()
    notebook.wait_python(f"(shown.image, browser.image) == ({near[0]}, {near[0]})")
    browser = notebook.view(1)
    expect(browser.find(".inputs .label")).to_have_text("0")
    notebook.execute("browser.image = 7")
    expect(view.find("section[aria-label='The chosen image'] h3")).to_have_text("image 7")
    press(view, "Take away")
    notebook.wait_python("shown.own == {}")
    view.drop_file(b"no picture", ".stage", name="<b>notes</b>.png".replace("/", "_"))
    expect(view.find(".problem")).to_be_visible()
    assert view.find(".problem b").count() == 0
