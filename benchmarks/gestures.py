"""A person's hands on a plot in a notebook, the same for every plot, and the frames meanwhile.

A frame counts as drawn if the page drew with WebGL, WebGPU or on a canvas since the one before; of
plots made of SVG nothing of the kind can be said.
"""

from __future__ import annotations

import json
import math
import socket
import time
import urllib.request

import numpy as np
import websocket

HEIGHT = 600
#: Steps of a gesture a second.
RATE = 60
_TURN, _RADIUS = 60, 140

with socket.socket() as _free:
    _free.bind(("127.0.0.1", 0))
    _PORT = _free.getsockname()[1]
#: What Chromium must be started with.
PORT_FLAG = f"--remote-debugging-port={_PORT}"

# Put into the page before the plot is made; several plots may be measured one after another.
WATCH = """() => {
  const seen = window.nbvizSeen = { drawn: 0, frames: [], on: false };
  const wrap = (owner, ...names) => {
    for (const name of names) {
      const plain = owner?.prototype[name];
      if (plain) owner.prototype[name] = function (...given) {
        seen.drawn++;
        return plain.apply(this, given);
      };
    }
  };
  for (const owner of [window.WebGLRenderingContext, window.WebGL2RenderingContext])
    wrap(owner, 'drawArrays', 'drawElements', 'drawArraysInstanced', 'drawElementsInstanced');
  for (const owner of [window.CanvasRenderingContext2D, window.OffscreenCanvasRenderingContext2D])
    wrap(owner, 'drawImage', 'fill', 'stroke', 'fillRect', 'putImageData');
  wrap(window.GPUQueue, 'submit');
  let last = 0, drawn = 0;
  const frame = now => {
    if (seen.on) seen.frames.push([now - last, seen.drawn > drawn ? 1 : 0]);
    [last, drawn] = [now, seen.drawn];
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}"""

RENDERER = """async () => {
  const gl = document.createElement('canvas').getContext('webgl2');
  const named = gl?.getExtension('WEBGL_debug_renderer_info');
  const webgl = gl ? gl.getParameter(named ? named.UNMASKED_RENDERER_WEBGL : gl.RENDERER) : 'none';
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  const { vendor = '', architecture = '' } = adapter?.info ?? {};
  return [webgl, adapter ? `${vendor} ${architecture}` : 'none'];
}"""


class Mouse:
    """A mouse that moves 60 times a second whether or not the page keeps up.

    Playwright's waits after each step until the page has dealt with it, so that a plot with a
    short queue would be asked less often than it can draw. Chromium must have been started with
    `PORT_FLAG`.
    """

    def __init__(self, notebook):
        self.page = notebook.page
        address = f"http://127.0.0.1:{_PORT}/json/list"
        with urllib.request.urlopen(address) as answer:
            pages = json.loads(answer.read())
        where = next(p for p in pages if p["type"] == "page" and notebook.path in p["url"])
        self.socket = websocket.create_connection(
            where["webSocketDebuggerUrl"], suppress_origin=True, timeout=120
        )
        self.sent = 0

    def close(self):
        self.socket.close()

    def pan(self, box, turns=3):
        """Drag the plot round a circle; see `_frames`."""
        x, y = _middle(box)
        steps = [("mousePressed", x, y, {"button": "left", "buttons": 1, "clickCount": 1})]
        for step in range(turns * _TURN + 1):
            angle = 2 * math.pi * step / _TURN
            place = x + _RADIUS * math.sin(angle), y + _RADIUS * (math.cos(angle) - 1) / 2
            steps.append(("mouseMoved", *place, {"button": "left", "buttons": 1}))
        steps.append(("mouseReleased", x, y, {"button": "left", "clickCount": 1}))
        return self._frames(steps)

    def zoom(self, box, times=2, steps=45, turn=40):
        """Turn the wheel over the middle of the plot, in and out again; see `_frames`."""
        x, y = _middle(box)
        ways = [way for _ in range(times) for way in (-turn, turn) for _ in range(steps)]
        moves = [("mouseWheel", x, y, {"deltaX": 0, "deltaY": way}) for way in ways]
        return self._frames(moves)

    def _frames(self, steps):
        """What these steps do to the page: (frames, 2), each interval in ms, and 1 if it was drawn.

        The first frame, which began before the steps, is left out.
        """
        self.page.evaluate("() => Object.assign(window.nbvizSeen, { frames: [], on: true })")
        start = time.perf_counter()
        for number, (kind, x, y, more) in enumerate(steps):
            time.sleep(max(0, start + number / RATE - time.perf_counter()))
            self._send({"type": kind, "x": x, "y": y, **more})
        while json.loads(self.socket.recv()).get("id") != self.sent:
            pass
        frames = self.page.evaluate("() => (window.nbvizSeen.on = false, window.nbvizSeen.frames)")
        return np.array(frames[1:]).reshape(-1, 2)

    def _send(self, event):
        self.sent += 1
        message = {"id": self.sent, "method": "Input.dispatchMouseEvent", "params": event}
        self.socket.send(json.dumps(message))


def figures(frames, *, drawing=True):
    """Frames a second, of those drawn where that is known, and the 95 % interval in ms."""
    if len(frames) < 2:
        return ["none", "none"]
    intervals, drawn = frames.T
    count = drawn.sum() if drawing else len(frames)
    return [f"{1000 * count / intervals.sum():.1f}", f"{np.percentile(intervals, 95):.0f}"]


def _middle(box):
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
