"""The notebook harness itself, on a small widget: what it reports must be what happened.

The widget has a canvas painted in a colour of its count, a button that asks Python to
count, and a text. It is defined in the notebook's first cell, as somebody's own would be.
"""

import io

import numpy as np
import pytest
from browser import PageError
from ipykernels import ANSWERS_DURING_A_CELL
from notebook_page import FULL_HD, NARROW, CellError
from PIL import Image

COUNTER = '''
import anywidget, traitlets

class Counter(anywidget.AnyWidget):
    _esm = """
    const STYLE = `
      :host { display: block; color: var(--jp-ui-font-color1, black) }
      div { height: 60px; overflow: auto } p { height: 4000px }`;
    function render({ model, el }) {
      const host = document.createElement("div");
      host.setAttribute("data-nbviz-view", "counter");
      // On the host: Lab sees every key of a shadow root as the host's.
      host.setAttribute("data-lm-suppress-shortcuts", "true");
      const root = host.attachShadow({ mode: "open" });
      root.innerHTML = `<style>${STYLE}</style>
        <canvas width="80" height="60" tabindex="0"></canvas>
        <div><p>tall</p></div><section><button>count</button><span></span></section>`;
      const canvas = root.querySelector("canvas");
      const context = canvas.getContext("2d");
      let drawn = 0;
      const paint = () => {
        const count = model.get("count");
        if (count === 99) throw new Error("the view broke");
        context.fillStyle = `rgb(${10 * count}, 20, 30)`;
        context.fillRect(0, 0, 80, 60);
        root.querySelector("span").textContent = `count ${count}`;
        host.dataset.nbvizDrawn = String(++drawn);
      };
      // What Lab throws where there is no kernel is the view's to catch.
      const send = message => {
        try { model.send(message) } catch { host.title = "no kernel" }
      };
      const place = e => ({ x: Math.round(e.offsetX), y: Math.round(e.offsetY) });
      canvas.onpointerdown = e => send({ kind: "down", ...place(e) });
      canvas.onpointerup = e => send({ kind: "up", ...place(e) });
      canvas.onwheel = e => send({ kind: "wheel", dy: e.deltaY, ctrl: e.ctrlKey });
      canvas.onkeydown = e => send({ kind: "key", key: e.key });
      root.querySelector("button").onclick = () => send({ kind: "count" });
      model.on("change:count", paint);
      el.append(host);
      paint();
    }
    export default { render };
    """
    count = traitlets.Int(1).tag(sync=True)

    def __init__(self, **traits):
        super().__init__(**traits)
        self.said = []
        self.on_msg(self._on_message)

    def _on_message(self, widget, content, buffers):
        if content["kind"] == "count":
            self.count += 1
        elif content["kind"] == "key" and content["key"] == "!":
            raise ZeroDivisionError("the callback broke")
        else:
            self.said.append(tuple(content.values()))

counter = Counter()
counter
'''
RECEIVER = '''
import anywidget

class Receiver(anywidget.AnyWidget):
    _esm = """
    function render({ model, el }) {
      const host = document.createElement("div");
      host.setAttribute("data-nbviz-view", "receiver");
      host.setAttribute("data-lm-suppress-shortcuts", "true");
      host.dataset.nbvizDrawn = "1";
      const root = host.attachShadow({ mode: "open" });
      root.innerHTML = `<canvas width="200" height="60" tabindex="0" style="background: gray">
        </canvas><button class="open">open</button><button class="camera">camera</button>
        <input type="file" hidden>`;
      const [canvas, open, camera, input] = ["canvas", ".open", ".camera", "input"].map(
        selector => root.querySelector(selector));
      const say = (...said) => model.send({ said });
      const take = async (how, file) =>
        say(how, file.name, file.type, [...new Uint8Array(await file.arrayBuffer())]);
      open.onclick = () => input.click();
      input.onchange = () => take("chosen", input.files[0]);
      canvas.ondragover = e => { e.preventDefault(); canvas.title = "over"; };
      canvas.ondrop = e => { e.preventDefault(); take("dropped", e.dataTransfer.files[0]); };
      document.addEventListener("paste", e => take("pasted", e.clipboardData.files[0]));
      camera.onclick = async () => {
        try {
          const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640 } });
          const [track] = stream.getVideoTracks();
          const devices = await navigator.mediaDevices.enumerateDevices();
          const cameras = devices.filter(({ kind }) => kind == "videoinput");
          say("camera", track.getSettings().width, cameras.length);
          track.stop();
        } catch (error) { say("camera", error.name) }
      };
      el.append(host);
    }
    export default { render };
    """

    def __init__(self):
        super().__init__()
        self.said = []
        self.on_msg(lambda widget, content, buffers: self.said.append(content["said"]))

receiver = Receiver()
receiver
'''
WAIT_FOR_COUNT = """
import time
until = time.monotonic() + 1.5
while counter.count == 1 and time.monotonic() < until:
    time.sleep(0.02)
print(counter.count)
"""


@pytest.fixture
def counter(open_notebook):
    """A notebook that shows the counter."""
    notebook = open_notebook([COUNTER])
    notebook.run_all()
    return notebook


def test_a_click_reaches_python_and_its_answer_is_drawn(counter):
    view = counter.view()
    assert (view.pixels() == [10, 20, 30, 255]).all()
    assert view.pixels().shape == (60, 80, 4)
    with view.redrawn():
        view.find("button").click()
    assert "count 2" in view.text()
    assert (view.pixels()[0, 0] == [20, 20, 30, 255]).all()
    assert view.drawn() == 2
    assert counter.ask("counter.count") == 2


def test_mouse_keys_and_scrolling_reach_the_view(counter):
    view = counter.view()
    view.drag((5, 6), (70, 50))
    view.click(1, 2)
    view.wheel(9, 9, 120)
    view.wheel(9, 9, -120, key="Control")
    view.press("ArrowRight", "a")
    counter.wait_python("len(counter.said) == 9")
    assert counter.ask("counter.said") == [
        ("down", 5, 6),
        ("up", 70, 50),
        ("down", 1, 2),
        ("up", 1, 2),
        ("wheel", 120, False),
        ("key", "Control"),
        ("wheel", -120, True),
        ("key", "ArrowRight"),
        ("key", "a"),
    ]
    assert counter.cells() == 1, "a key of the view reached Lab's shortcuts"
    times = view.frame_times("div", frames=20)
    assert times.shape == (20,)
    assert (times > 0).all()
    assert view.find("div").evaluate("box => box.scrollTop") == 20 * 24


def said(notebook, count=1):
    """What the receiver has told Python, once it is so much."""
    notebook.wait_python(f"len(receiver.said) == {count}")
    return notebook.ask("receiver.said")


def test_files_reach_the_view_as_a_person_brings_them(open_notebook, tmp_path):
    notebook = open_notebook([RECEIVER])
    notebook.run_all()
    view = notebook.view()
    path = tmp_path / "of disk.gif"
    path.write_bytes(b"GIF87a\x01\x00")
    view.choose_file(path, ".open")
    view.choose_file(b"PNG", ".open", name="größe.png")
    assert said(notebook, 2) == [
        ["chosen", "of disk.gif", "image/gif", [*b"GIF87a\x01\x00"]],
        ["chosen", "größe.png", "image/png", [*b"PNG"]],
    ]
    with view.dragged_file(b"JPEG", "canvas", name="held.jpg"):
        notebook.wait_for(
            "document.querySelector(arg).shadowRoot.querySelector('canvas').title",
            "the file over it",
            notebook.selector,
        )
    view.drop_file(path, "canvas")
    assert said(notebook, 4)[2:] == [
        ["dropped", "held.jpg", "image/jpeg", [*b"JPEG"]],
        ["dropped", "of disk.gif", "image/gif", [*b"GIF87a\x01\x00"]],
    ]


def test_a_picture_is_pasted_where_the_focus_is(open_notebook):
    notebook = open_notebook([RECEIVER])
    notebook.run_all()
    view = notebook.view()
    view.click(3, 3)
    pixels = np.arange(27, dtype=np.uint8).reshape(3, 3, 3) * 9
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    view.paste_picture(stream.getvalue())
    [how, _, kind, data] = said(notebook)[0]
    assert (how, kind) == ("pasted", "image/png")
    pasted = np.asarray(Image.open(io.BytesIO(bytes(data))).convert("RGB"))
    np.testing.assert_array_equal(pasted, pixels)


@pytest.mark.parametrize("allowed", [True, False])
def test_a_page_sees_a_camera_only_where_it_may(open_notebook, allowed):
    notebook = open_notebook([RECEIVER], camera=allowed)
    notebook.run_all()
    notebook.view().find(".camera").click()
    assert said(notebook) == [["camera", 640, 2] if allowed else ["camera", "NotAllowedError"]]


def test_two_views_of_one_widget_are_told_apart_and_counted(counter):
    counter.execute("counter")
    counter.wait_views(2)
    first, second = counter.view(0), counter.view(1)
    with counter.redrawn(first, second):
        second.find("button").click()
    assert "count 2" in first.text()
    counter.clear(0)
    counter.wait_views(1)
    assert counter.count_views() == 1
    assert "count 2" in counter.view().text()


def test_a_cell_that_fails_or_is_interrupted_says_so(open_notebook):
    notebook = open_notebook(["import time\nprint('on')\nfor _ in range(600): time.sleep(0.1)"])
    notebook.start(0)
    notebook.wait_for("panel.content.widgets[0].model.outputs.length", "the cell to print")
    notebook.interrupt_kernel()
    with pytest.raises(CellError, match="KeyboardInterrupt"):
        notebook.finish(0)
    with pytest.raises(CellError, match=r"(?s)Traceback.*ZeroDivisionError: division by zero"):
        notebook.execute("1 / 0")
    assert notebook.execute("print('still'); 'alive'") == "still\n'alive'"
    with pytest.raises(CellError, match="NameError"):
        notebook.ask("missing")


def test_what_breaks_out_of_sight_is_reported(counter):
    view = counter.view()
    assert counter.problems.lines == []
    counter.execute("counter.count = 99")
    counter.execute("counter.count = 3")
    view.wait_drawn(2)
    with pytest.raises(PageError, match="the view broke"):
        counter.problems.check()
    view.click(1, 1)
    view.press("!")
    counter.wait_python("len(counter.said) == 2")
    with pytest.raises(PageError, match="the callback broke"):
        counter.problems.check()
    counter.page.evaluate("void Promise.reject(new Error('nobody caught this'))")
    counter.page.evaluate("fetch('/api/not-there').catch(() => {})")
    lines = "\n".join(counter.problems.take())
    assert "uncaught: Error: nobody caught this" in lines
    assert "response 404: GET" in lines


def test_a_restart_or_an_ended_kernel_leaves_the_view(counter):
    counter.restart_kernel()
    assert counter.count_views() == 1
    with pytest.raises(CellError, match="NameError"):
        counter.execute("counter")
    counter.run(0)
    with counter.view().redrawn():
        counter.view().find("button").click()
    assert "count 2" in counter.view().text()
    counter.shutdown_kernel()
    counter.view().click(1, 1)
    assert counter.view().host.get_attribute("title") == "no kernel"
    assert "count 2" in counter.view().text()


def test_a_reload_shows_what_the_live_kernel_has(counter):
    counter.save()
    with counter.view().redrawn():
        counter.view().find("button").click()
    counter.reload(save=False)
    assert "count 2" in counter.view().text()
    with counter.view().redrawn():
        counter.view().find("button").click()
    assert counter.ask("counter.count") == 3


def test_a_saved_notebook_draws_before_any_cell_runs(counter):
    with counter.view().redrawn():
        counter.view().find("button").click()
    counter.reopen()
    assert "count 2" in counter.view().text()
    with pytest.raises(CellError, match="NameError"):
        counter.execute("counter")


def test_somebody_elses_notebook_shows_text_in_place_of_the_widget(counter):
    counter.reopen(trusted=False)
    assert counter.count_views() == 0
    assert "Counter object" in counter.page.locator(".jp-OutputArea").first.inner_text()


def test_themes_and_sizes_are_what_was_asked_for(open_notebook):
    notebook = open_notebook([COUNTER], theme="dark", viewport=NARROW, scale=2)
    notebook.run_all()
    view = notebook.view()
    assert notebook.page.evaluate("[innerWidth, devicePixelRatio]") == [360, 2]
    assert notebook.output_width() < 360
    dark = view.find("span").evaluate("span => getComputedStyle(span).color")
    view.show()
    notebook.screenshot("narrow-dark")
    notebook.set_theme("light")
    assert view.find("span").evaluate("span => getComputedStyle(span).color") != dark
    notebook.fit_output(360)
    assert notebook.output_width() == 360
    view.screenshot("output-360-light")
    notebook.resize(*FULL_HD)
    notebook.screenshot("full-hd-light")
    assert notebook.page.evaluate("[innerWidth, innerHeight]") == [1920, 1080]


def test_each_ipykernel_answers_a_view(ipykernel, open_notebook):
    notebook = open_notebook(
        ["import ipykernel\nprint(ipykernel.__version__)", COUNTER, WAIT_FOR_COUNT],
        kernel=f"ipykernel-{ipykernel}",
    )
    assert notebook.run(0).strip() == ipykernel
    notebook.run(1)
    view = notebook.view()
    notebook.start(2)
    with view.redrawn():
        view.find("button").click()
    assert notebook.finish(2).strip() == ("2" if ANSWERS_DURING_A_CELL[ipykernel] else "1")
    assert "count 2" in view.text()
    assert notebook.ask("counter.count") == 2
