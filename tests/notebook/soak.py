"""A person who does not tire: five linked views in JupyterLab, used at random for a long time.

Run it: ``.venv/bin/python tests/notebook/soak.py 30``, for 30 minutes, with ``--seed`` for other
hands. It opens one notebook, drags, clicks, turns the wheel, presses keys, makes choices in the
views and in Python, and measures twice a minute what must not grow. Exits 1 if a hook was left on
the model, a view no longer answers, the console has an error, or memory grows beyond `LIMITS`.

The same seed makes the same choices; what they meet also depends on how fast the machine is.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import numpy as np
from browser import running_browser
from lab import running_lab
from notebook_page import CellError, Notebook
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from playwright.sync_api import expect
from tables import table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Locator
    from view import View

CELLS = [
    """
import ctypes, gc
import comm, nbviz, psutil, torch
demo = nbviz.demos.scenes()
network, images, labels, classes = demo
scan = nbviz.scan(
    network, images, labels=labels, layers=["conv1", "conv2", "relu4"], progress=False)
grid = nbviz.FilterGrid(network)
# Kept activations are meant to fill their room: a small one is full before the growth is measured.
browser = nbviz.ActivationBrowser(network, images, labels=labels, max_bytes=32 * 2**20)
probe = nbviz.OcclusionProbe(network, images, labels=labels, boxes=demo.badges)
patches = nbviz.TopPatches(scan)
shown = nbviz.ImageMap(scan)
shown.wait(progress=False)
linked = nbviz.link(grid, browser, probe, patches, shown)

def hooks():
    everywhere = [vars(torch.nn.modules.module), *map(vars, network.model.modules())]
    with network.lock:  # not while a pass is under way in another thread
        return sum(len(value) for names in everywhere for name, value in names.items()
                   if name.endswith("_hooks") and isinstance(value, dict))

def state(others):
    gc.collect()
    # What is free between what is in use would hide by how much that grows.
    getattr(ctypes.CDLL(None), "malloc_trim", lambda rest: None)(0)
    resident = [psutil.Process(id).memory_info().rss for id in others if psutil.pid_exists(id)]
    return {"kernel": psutil.Process().memory_info().rss, "Chromium": sum(resident),
            "objects": len(gc.get_objects()), "hooks": hooks(),
            "comms": len(comm.get_comm_manager().comms)}
""",
    # All in one cell: up to JupyterLab 4.6 each change of the active cell leaks some 250 DOM nodes
    # and 800 listeners, with any output (jupyterlab, pull request 19370).
    "import ipywidgets\nipywidgets.VBox([grid, browser, probe, patches, shown])",
]
ROOT = Path(__file__).parents[2]
VIEWS = ("grid", "browser", "probe", "patches", "shown")
MB = 2**20
SETTLED = 5.0
"""Minutes after which growth is measured: caches with a limit have been filled by then."""
ANSWER_SECONDS = 20
_EVERY = 0.5
_PATIENCE = 5000

#: What each figure is, and how much it may grow a minute, on a straight line through all samples
#: after `SETTLED`. An act a second is several times what a person does, so a lecture of 90 minutes
#: adds less than 90 times this: 45 MB to the page, of the gigabytes that a tab may have, and 90 MB
#: to the kernel. Chromium's own memory is only shown: each question to a kernel leaves 50 kB in
#: it, also in a notebook without any view.
LIMITS: dict[str, tuple[str, float | None]] = {
    "heap": ("JavaScript heap, MB", 0.5),
    "buffers": ("array buffers of the page, MB", 0.5),
    "nodes": ("DOM nodes", 100),
    "listeners": ("event listeners", 30),
    "Chromium": ("Chromium's processes, MB resident", None),
    "kernel": ("kernel, MB resident", 1.0),
    "objects": ("Python objects", 1000),
    "hooks": ("hooks on the model's modules", 0),
    "comms": ("comms", 0),
    "console": ("console errors", None),
    "shown": ("different errors shown in views", None),
    "dead": ("views that did not answer", None),
}

_PROBLEMS = """selector => [...document.querySelectorAll(selector)].flatMap(host =>
  [...host.shadowRoot?.querySelectorAll('.problem:not([hidden])') ?? []].map(p => p.innerText))"""
_BUTTONS = ":is(button, input[type=checkbox]):not([disabled])" + "".join(
    # No dialog of the system, no camera, and no view that covers the others.
    f":not([title*='{word}' i])"
    for word in ("file", "camera", "screen")
)
_KEYS = [
    *("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown") * 3,
    *("Shift+ArrowRight", "Enter", "Escape", "Home", "End", "PageDown", "+", "-"),
]


class Person:
    """Hands that do one thing after another, by dice."""

    def __init__(self, notebook: Notebook, seed: int) -> None:
        self.notebook, self.seed = notebook, seed
        self.views = [notebook.view(index) for index in range(len(VIEWS))]
        self.layers = {
            name: notebook.ask(f"[entry['name'] for entry in {name}.layers]")
            for name in ("grid", "browser")
        }
        self.layers["patches"] = notebook.ask("[str(name) for name in scan.layers]")
        self.count = notebook.ask("len(images)")

    def act(self, number: int) -> tuple[str, bool]:
        """Do the act of this number; what it was, and whether there was something to do it to."""
        # Dice of its own for each: what one act meets does not change the acts after it.
        self.dice = random.Random(f"{self.seed} {number}")
        place = self.dice.randrange(len(VIEWS))
        acts = [self.drag, self.click, self.wheel, self.keys, self.choose]
        acts += [self.slide, self.look, self.press, self.python]
        act = self.dice.choices(acts, [5, 4, 3, 4, 3, 3, 2, 4, 3])[0]
        said = f"{act.__name__} {VIEWS[place]}"
        try:
            done = act(self.views[place])
        except PlaywrightError as error:
            # Gone, or covered, between being seen and being touched.
            if not (isinstance(error, PlaywrightTimeout) or "not attached" in str(error)):
                raise
            done = False
        self.notebook.page.wait_for_timeout(self.dice.uniform(0, 300))
        return said, done

    def drag(self, view: View) -> bool:
        box = self._box(view, "canvas")
        if box is None:
            return False
        mouse = self.notebook.page.mouse
        mouse.move(*self._within(box))
        mouse.down()
        for _ in range(self.dice.randint(1, 3)):
            mouse.move(*self._within(box), steps=self.dice.randint(2, 8))
        mouse.up()
        return True

    def click(self, view: View) -> bool:
        box = self._box(view, "canvas")
        if box is None:
            return False
        held = self.dice.choice(["Shift", "", "", ""])
        with _held(self.notebook, held):
            times = self.dice.choice([1, 1, 1, 2])
            self.notebook.page.mouse.click(*self._within(box), click_count=times)
        return True

    def wheel(self, view: View) -> bool:
        box = self._box(view, "canvas")
        if box is None:
            return False
        self.notebook.page.mouse.move(*self._within(box))
        with _held(self.notebook, self.dice.choice(["Control", "Control", ""])):
            self.notebook.page.mouse.wheel(0, self.dice.choice([-360, -120, 120, 360]))
        return True

    def keys(self, view: View) -> bool:
        where = self._one(view, "[tabindex='0']")
        if where is None:
            return False
        where.focus(timeout=_PATIENCE)
        view.press(*self.dice.choices(_KEYS, k=self.dice.randint(1, 6)))
        return True

    def choose(self, view: View) -> bool:
        where = self._one(view, "select:not([disabled])")
        if where is None:
            return False
        values = where.locator("option:not([disabled])").evaluate_all(
            "all => all.map(o => o.value)"
        )
        if not values:
            return False
        where.select_option(self.dice.choice(values), timeout=_PATIENCE)
        return True

    def slide(self, view: View) -> bool:
        box = self._box(view, "input[type=range]:not([disabled])")
        if box is None:
            return False
        mouse, middle = self.notebook.page.mouse, box["y"] + box["height"] / 2
        mouse.move(self._within(box)[0], middle)
        mouse.down()
        mouse.move(self._within(box)[0], middle, steps=self.dice.randint(2, 10))
        mouse.up()
        return True

    def look(self, view: View) -> bool:
        """Choose another image with the slider of a view that has one."""
        return self.look_at(self.dice.choice([1, 2]), self.dice.randrange(self.count))

    def look_at(self, place: int, image: int) -> bool:
        slider = self.views[place].find("label:has(span:text-is('Picture')) input[type=range]")
        slider.first.fill(str(image), timeout=_PATIENCE)
        return True

    def press(self, view: View) -> bool:
        where = self._one(view, _BUTTONS)
        if where is None:
            return False
        where.click(timeout=_PATIENCE)
        return True

    def python(self, view: View) -> bool:
        """Change something from Python, as a cell would."""
        dice, layers = self.dice, self.layers
        mask = {key: dice.randrange(60) for key in ("top", "left")}
        mask |= {key: dice.randint(4, 36) for key in ("height", "width")}
        name, trait, value = dice.choice(
            [
                ("grid", "layer", dice.choice(layers["grid"])),
                ("grid", "sort", dice.choice(["index", "norm", "noise", "similarity"])),
                ("grid", "selected", dice.sample(range(24), dice.randrange(6))),
                ("browser", "layer", dice.choice(layers["browser"])),
                ("browser", "normalise", dice.choice(["channel", "layer", "symmetric"])),
                ("browser", "image", dice.randrange(self.count)),
                ("probe", "fill", dice.choice(["mean", "grey", "black", "blur"])),
                ("probe", "masks", [mask] * dice.randrange(2)),
                ("patches", "layer", dice.choice(layers["patches"])),
                ("patches", "sort", dice.choice(["index", "peak", "purity"])),
                ("patches", "channel", dice.randrange(-1, 24)),
                ("shown", "image", dice.randrange(self.count)),
                ("shown", "colour", dice.choice(["class", "confidence", "trust", "none"])),
                ("shown", "arrangement", dice.choice(["map", "grid", "pca"])),
                ("shown", "selected", dice.sample(range(self.count), dice.randrange(30))),
            ]
        )
        self.notebook.ask(f"setattr({name}, {trait!r}, {value!r})")
        return True

    def silent(self, time: int) -> dict[str, str]:
        """Views that do not answer when asked for the nth time, and what each said meanwhile."""
        self.dice = random.Random(f"{self.seed} asks {time}")
        asked = [self._grid_answers, self._browser_answers, self._probe_answers]
        asked += [self._patches_answer, self._map_answers]
        said = [self._said(view, asks) for view, asks in zip(self.views, asked, strict=True)]
        return {name: words for name, words in zip(VIEWS, said, strict=True) if words}

    def _said(self, view: View, asks: Callable[[View], None]) -> str:
        try:
            asks(view)
        except (AssertionError, PlaywrightTimeout) as error:
            self.notebook.screenshot(f"silent-{view.index}")
            return f"{str(error).splitlines()[0]}; it shows: {view.text()[:400]!r}"
        return ""

    def _other_layer(self, name: str) -> str:
        now = self.notebook.ask(f"{name}.layer")
        return self.dice.choice([layer for layer in self.layers[name] if layer != now])

    def _grid_answers(self, view: View) -> None:
        layer = self._other_layer("grid")
        _layer_select(view).select_option(layer, timeout=_PATIENCE)
        words = f"kernels of {layer}."
        expect(view.find(f".scroller[aria-label*='{words}']")).to_have_count(1)

    def _browser_answers(self, view: View) -> None:
        layer = self._other_layer("browser")
        view.find(f"[data-layer='{layer}']").click(timeout=_PATIENCE)
        expect(view.find(".headline strong").first).to_have_text(layer)

    def _patches_answer(self, view: View) -> None:
        layer = self._other_layer("patches")
        _layer_select(view).select_option(layer, timeout=_PATIENCE)
        expect(view.find(".head .headline")).to_contain_text(layer)

    def _probe_answers(self, view: View) -> None:
        # It has no layer to choose: another picture, of another class, must come from Python.
        picture = view.find("canvas.picture")
        before = picture.get_attribute("aria-label", timeout=_PATIENCE) or ""
        kinds = self.notebook.ask("[(i, classes[k]) for i, k in enumerate(labels.tolist())]")
        image, kind = self.dice.choice([pair for pair in kinds if pair[1] not in before])
        self.look_at(VIEWS.index("probe"), image)
        expect(view.find(f"canvas.picture[aria-label*='{kind}']")).to_have_count(1)

    def _map_answers(self, view: View) -> None:
        # Nor has this one: it asks Python which images lie alone, or are twice there.
        asked = view.find(".questions button[aria-pressed=true]:text-is('Outliers')").count()
        view.find(f".questions button:text-is('{'Duplicates' if asked else 'Outliers'}')").click(
            timeout=_PATIENCE
        )
        sentence = view.find(".questions p.soft")
        expect(sentence).to_be_visible()
        expect(sentence).not_to_contain_text("Asking")

    def _one(self, view: View, selector: str) -> Locator | None:
        found = view.find(f"{selector}:visible")
        there = found.count()
        return found.nth(self.dice.randrange(there)) if there else None

    def _box(self, view: View, selector: str) -> dict[str, float] | None:
        one = self._one(view, selector)
        if one is None:
            return None
        one.scroll_into_view_if_needed(timeout=_PATIENCE)
        return one.bounding_box(timeout=_PATIENCE)

    def _within(self, box: dict[str, float]) -> tuple[float, float]:
        across, down = self.dice.random(), self.dice.random()
        return box["x"] + across * box["width"], box["y"] + down * box["height"]


@contextmanager
def _held(notebook: Notebook, key: str) -> Iterator[None]:
    """A key that is down for the length of the block; none if it has no name."""
    if key:
        notebook.page.keyboard.down(key)
    yield
    if key:
        notebook.page.keyboard.up(key)


def _layer_select(view: View) -> Locator:
    return view.find("label:has(span:text-is('Layer')) select").first


@dataclass
class Record:
    """What a soak has seen so far."""

    samples: list[dict[str, float]] = field(default_factory=list)
    acts: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    errors: dict[str, str] = field(default_factory=dict)
    """Errors that views showed, each with the act after which it was first seen."""
    silent: dict[str, str] = field(default_factory=dict)
    console: list[str] = field(default_factory=list)
    broken: str = ""
    """Why the soak could not go on."""

    def growth(self, name: str) -> float | None:
        """By the minute, of a straight line through what came after `SETTLED`; None if too few."""
        late = [(s["minute"], s[name]) for s in self.samples if s["minute"] >= SETTLED]
        if len(late) < 4:
            return None
        return float(np.polyfit(*np.array(late).T, 1)[0])

    def faults(self) -> list[str]:
        """What is wrong, one sentence each."""
        found = [f"the soak broke off: {self.broken}"] if self.broken else []
        found += [f"console: {line}" for line in self.console]
        found += [f"{name} did not answer: {said}" for name, said in self.silent.items()]
        if hooks := max((s["hooks"] - self.samples[0]["hooks"] for s in self.samples), default=0):
            found.append(f"{hooks:.0f} hooks were left on the model's modules")
        for name, (title, limit) in LIMITS.items():
            growth = self.growth(name)
            if limit is not None and growth is not None and growth > limit + 1e-6:
                found.append(f"{title} grew by {growth:.2f} a minute; the limit is {limit}")
        return found

    def report(self) -> None:
        """Print the table, what was done, and what views said went wrong."""
        rows = []
        for name, (title, limit) in LIMITS.items() if self.samples else ():
            settled = next((s[name] for s in self.samples if s["minute"] >= SETTLED), None)
            growth, digits = self.growth(name), 1 if "MB" in title else 0
            at = [self.samples[0][name], settled, self.samples[-1][name]]
            cells = ["-" if value is None else f"{value:.{digits}f}" for value in at]
            slope = "-" if growth is None else f"{growth:+.2f}"
            rows.append([title, *cells, slope, "-" if limit is None else limit])
        minutes = self.samples[-1]["minute"] if self.samples else 0
        table(
            f"{self.acts.total()} acts on five linked views in {minutes:.1f} minutes",
            ["what", "first", f"at {SETTLED:.0f} min", "last", "growth a minute", "limit"],
            rows,
        )
        kinds = Counter(act.split()[0] for act in self.acts.elements())
        print("acts:", ", ".join(f"{kind} {times}" for kind, times in sorted(kinds.items())))
        print("nothing to act on, or covered:", dict(self.missed) or "never")
        for text, act in self.errors.items():
            print(f"a view showed after {act}: {text}")


class Meter:
    """What is measured of page and kernel."""

    def __init__(self, notebook: Notebook, browser: Browser) -> None:
        self.notebook = notebook
        self.page = notebook.page.context.new_cdp_session(notebook.page)
        self.page.send("Performance.enable")
        self.all = browser.new_browser_cdp_session()

    def sample(self, minute: float, record: Record) -> dict[str, float]:
        """One row of figures; bytes come as megabytes."""
        processes = self.all.send("SystemInfo.getProcessInfo")["processInfo"]
        state = self.notebook.ask(f"state({[process['id'] for process in processes]})")
        # What only weak references or finalisers held goes with the second.
        for _ in range(2):
            self.page.send("HeapProfiler.collectGarbage")
        metrics = {
            m["name"]: m["value"] for m in self.page.send("Performance.getMetrics")["metrics"]
        }
        buffers = self.page.send("Runtime.getHeapUsage").get("backingStorageSize", 0)
        return {
            "minute": minute,
            **{name: float(value) for name, value in state.items()},
            "heap": metrics["JSHeapUsedSize"] / MB,
            "buffers": buffers / MB,
            "nodes": metrics["Nodes"],
            "listeners": metrics["JSEventListeners"],
            "kernel": state["kernel"] / MB,
            "Chromium": state["Chromium"] / MB,
            "console": len(self.notebook.problems.lines),
            "shown": len(record.errors),
            "dead": len(record.silent),
        }


def soak(notebook: Notebook, browser: Browser, minutes: float, seed: int, record: Record) -> None:
    """Act and measure until the time is over or somebody interrupts."""
    stop: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: stop.append(number))
    person, meter = Person(notebook, seed), Meter(notebook, browser)
    start, act, due = time.monotonic(), 0, 0.0
    try:
        while not stop:
            minute = (time.monotonic() - start) / 60
            if minute >= due or minute >= minutes:
                record.silent |= person.silent(len(record.samples))
                record.samples.append(meter.sample(minute, record))
                _progress(record)
                due += _EVERY
            if minute >= minutes:
                return
            said, done = person.act(act)
            act += 1
            (record.acts if done else record.missed)[said] += 1
            for text in notebook.page.evaluate(_PROBLEMS, notebook.selector):
                record.errors.setdefault(text, f"act {act} ({said})")
    except (PlaywrightError, CellError) as error:
        # An interrupt typed at the terminal ends the browser as well.
        if not stop:
            record.broken = str(error)
    finally:
        record.console = list(notebook.problems.lines)


def _progress(record: Record) -> None:
    now = record.samples[-1]
    parts = [f"{now['minute']:5.1f} min", f"{record.acts.total():5} acts"]
    parts += [f"{name} {now[name]:.1f}" for name in ("heap", "buffers", "kernel", "Chromium")]
    parts += [f"{name} {now[name]:.0f}" for name in LIMITS if name not in " ".join(parts)]
    print("  ".join(parts), flush=True)


def main(words: list[str]) -> int:
    """Run it; 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("minutes", nargs="?", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(words)
    record, shots = Record(), ROOT / "test-results" / "soak"
    expect.set_options(timeout=1000 * ANSWER_SECONDS)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_lab(Path(folder) / "lab") as lab,
        running_browser() as browser,
    ):
        notebook = Notebook(lab, browser, "soak.ipynb", shots=shots)
        notebook.open(CELLS, viewport=(1280, 900))
        notebook.run_all(timeout=240)
        try:
            soak(notebook, browser, asked.minutes, asked.seed, record)
        finally:
            record.report()
            faults = record.faults()
            for line in faults or ["nothing wrong was found"]:
                print(line, flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
