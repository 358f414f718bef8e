"""`nbviz scan` does what `nbviz.scan` does, and says in a line what it could not do."""

from __future__ import annotations

import importlib
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures.whole_scans import Pictures, assert_same, made, shard_files
from PIL import Image
from safetensors.torch import save_file

import nbviz
from nbviz.scanning.command_line import main

TESTS = Path(__file__).parents[1]

PROJECT = """
import time
from fixtures.whole_scans import Pictures, made
from torchvision import models

class Slow(Pictures):
    def __getitem__(self, number):
        time.sleep(0.02)
        return super().__getitem__(number)

def build(): return made()
def bare(): return made().model
def number(): return 3
def broken(): raise RuntimeError("it cannot be built")
def data(): return Pictures(40, (3,))
def slow(): return Slow(200)
LIST = [*map(Pictures(12).__getitem__, range(12))]
class Holder:
    @staticmethod
    def data(): return Pictures(12)
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A directory with a module of one's own, and one is in it."""
    name = f"project_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(PROJECT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    yield name
    sys.modules.pop(name, None)


def test_the_command_is_installed():
    text = (TESTS.parent / "pyproject.toml").read_text()
    (module, name) = re.findall(r'^nbviz = "(.*):(.*)"$', text, re.MULTILINE)[0]
    assert getattr(importlib.import_module(module), name) is main


def test_it_does_what_the_function_does(project, capsys):
    options = ["--batch-size", "8", "--shard-images", "16", "--top-k", "5", "--per-image", "2"]
    options += ["--layers", "0", "4", "--features", "none", "--quiet"]
    assert main(["scan", f"{project}:build", f"{project}:data", "--store", "out", *options]) == 0
    found = nbviz.Scan.open("out")
    expected = nbviz.scan(
        made(),
        Pictures(40, (3,)),
        layers=["0", "4"],
        batch_size=8,
        top_k=5,
        per_image=2,
        features=None,
        progress=False,
    )
    assert_same(found, expected)
    out, err = capsys.readouterr()
    assert "39 images, 2 layers in" in out
    assert "1 skipped:\n  3: OSError: picture 3 is cut off" in out
    assert f"nbviz.Scan.open({str(found.path)!r})" in out
    assert err == ""


@pytest.mark.parametrize(("model", "data"), [("bare", "LIST"), ("build", "Holder.data")])
def test_other_things_of_a_module(model, data, project, capsys):
    command = ["scan", f"{project}:{model}", f"{project}:{data}", "--store", "out"]
    assert main([*command, "--input-shape", "3", "24", "20"]) == 0
    out, err = capsys.readouterr()
    assert "12 images, 7 layers" in out
    assert "12/12" in err


def folder_of_pictures(folder: Path) -> Path:
    for kind in ("cat", "dog"):
        (folder / kind).mkdir(parents=True)
        for number in range(2):
            values = np.random.default_rng(number).integers(0, 256, (70, 80, 3), np.uint8)
            Image.fromarray(values).save(folder / kind / f"{number}.png")
    return folder


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_a_model_of_torchvision_with_weights_of_a_file(suffix, project, tmp_path, capsys):
    model = nbviz.Network.from_torchvision("squeezenet1_1", None).model
    state, path = model.state_dict(), tmp_path / f"weights.{suffix}"
    if suffix == "pth":
        torch.save({"state_dict": {f"module.{name}": v for name, v in state.items()}}, path)
    else:
        save_file(state, path)
    data = folder_of_pictures(tmp_path / "photos")
    command = ["scan", f"torchvision:squeezenet1_1:{path}", str(data), "--store", "out"]
    assert main([*command, "--layers", "features.0", "--device", "cpu"]) == 0
    network = nbviz.Network.from_torchvision("squeezenet1_1", None)
    network.model.load_state_dict(state)
    found = nbviz.Scan.open("out", network, data)
    assert found.classes == ("cat", "dog")
    assert found.images.label.tolist() == [0, 0, 1, 1]
    assert found.output_names == network.classes
    assert found.settings.features is not None


def test_a_model_of_timm(project, tmp_path, monkeypatch):
    timm = pytest.importorskip("timm")
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: create(name))
    data = folder_of_pictures(tmp_path / "photos")
    (tmp_path / "names.txt").write_text("Katze\nHund\n")
    command = ["scan", "timm:test_resnet.r160_in1k", str(data), "--store", "out", "--quiet"]
    assert main([*command, "--layers", "conv1.0", "--classes", "names.txt"]) == 0
    found = nbviz.Scan.open("out")
    assert found.classes == ("Katze", "Hund")
    assert found.count == 4


@pytest.mark.parametrize(
    ("model", "data", "options", "message"),
    [
        ("resnet18", "d", [], "expected MODEL as torchvision:NAME"),
        ("torchvision:resnet81", "d", [], "did you mean 'resnet18'"),
        ("P:build", "nowhere", [], "there is no nowhere"),
        ("P:build", "P:nothing", [], "has no 'nothing'"),
        ("nowhere:build", "P:data", [], "no 'nowhere' in"),
        ("P:number", "P:data", [], "to return an nn.Module or a Network, got int"),
        ("P:broken", "P:data", [], "broken' to return, but it raised RuntimeError: it cannot be"),
        ("P:build", "P:data", ["--layers", "9"], "got '9'"),
        ("P:build", "P:data", ["--workers", "-1"], "--workers as a number of 0 or more"),
        ("P:build", "P:data", ["--classes", "gone.txt"], "gone.txt"),
        ("P:build", "P:data", ["--store", "."], "expected an empty directory"),
        ("torchvision:alexnet:bad.pth", "P:data", [], "to fit the model"),
    ],
)
def test_what_cannot_be_done_is_said(model, data, options, message, project, capsys, tmp_path):
    torch.save({"weight": torch.zeros(2)}, tmp_path / "bad.pth")
    model, data = (name.replace("P:", f"{project}:") for name in (model, data))
    assert main(["scan", model, data, "--store", "out", *options]) == 1
    out, err = capsys.readouterr()
    assert message in err
    assert err.startswith("nbviz scan: ")
    assert out == ""
    assert not Path("out", "scan.json").exists()


def test_a_traceback_is_shown_when_asked_for(project):
    with pytest.raises(RuntimeError, match="it cannot be built"):
        main(["scan", f"{project}:broken", f"{project}:data", "--store", "out", "--traceback"])


@pytest.mark.parametrize("arguments", [[], ["scan"], ["scan", "a:b", "c:d"], ["prune"]])
def test_wrong_use_is_explained(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "usage: nbviz" in capsys.readouterr().err


@pytest.mark.parametrize("workers", [0, 2])
def test_an_interrupted_command_goes_on(workers, project, tmp_path, capsys):
    store = tmp_path / "out"
    command = ["scan", f"{project}:build", f"{project}:slow", "--store", str(store)]
    command += ["--batch-size", "4", "--shard-images", "8", "--threads", "1"]
    paths = [str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    program = "import sys; from nbviz.scanning.command_line import main; sys.exit(main())"
    child = subprocess.Popen(
        [sys.executable, "-c", program, *command, "--workers", str(workers)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: child.poll() is not None or len(shard_files(store)) >= 3)
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does, to all processes of the command
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert "run the same call again, and it goes on" in err
    assert "Traceback" not in err
    assert not list(store.glob(".payload*"))
    done = len(nbviz.Scan.open(store).images.index)
    assert 24 <= done < 200
    assert main([*command, "--quiet"]) == 0
    assert "200 images" in capsys.readouterr().out
    assert nbviz.Scan.open(store).finished


def wait_for(condition) -> None:
    ended = threading.Event()
    for _ in range(6000):
        if condition():
            return
        ended.wait(0.01)
    pytest.fail("it did not come so far within a minute")
