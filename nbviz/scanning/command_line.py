"""``nbviz scan``: the same as `nbviz.scan`, for long runs outside a notebook."""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nbviz.network import Network
from nbviz.scanning.driver import scan
from nbviz.scanning.result import Scan

__all__ = ["main"]

_EXAMPLES = """\
MODEL is one of
  torchvision:NAME              a classifier of torchvision with its best weights
  torchvision:NAME:FILE         with the weights in a .pth or .safetensors file
  timm:NAME, timm:NAME:FILE     the same of timm
  MODULE:FUNCTION               a function of yours without arguments that returns an nn.Module or
                                an nbviz.Network
DATA is a folder of images (a subfolder a class), or MODULE:FUNCTION, which returns a data set.

A scan that was stopped goes on when the same command is run again. In Python,
nbviz.Scan.open(DIR) opens it, while it runs, too.

examples:
  nbviz scan torchvision:resnet18 photos --store photos-resnet18
  nbviz scan torchvision:resnet18:weights.safetensors photos --store out --layers layer4.1.conv2
  nbviz scan my_project.models:build my_project.data:validation --store out --workers 8
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns
    -------
    int
        What the process ends with: 0 if all went well, 1 if it could not be done, 130 if it was
        interrupted.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    # As `python -m` does: a project's own modules are found from the directory one is in.
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = _scan(options)
    except KeyboardInterrupt as interrupt:
        print(f"\nnbviz scan: {interrupt or 'interrupted'}", file=sys.stderr)
        return 130
    except (ValueError, TypeError, LookupError, OSError, ImportError, RuntimeError) as error:
        if options.traceback:
            raise
        print(f"nbviz scan: {error}", file=sys.stderr)
        return 1
    print(_summary(found))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nbviz", description="Look inside a vision network.")
    try:
        number = version("nbviz")
    except PackageNotFoundError:
        number = "unknown version"
    parser.add_argument("--version", action="version", version=f"nbviz {number}")
    command = parser.add_subparsers(dest="command", required=True, metavar="COMMAND").add_parser(
        "scan",
        help="one pass over a data set: what excites every unit most",
        description="One pass over a data set: what excites every unit most, kept in a directory.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("model", metavar="MODEL", help="the network (see below)")
    add("data", metavar="DATA", help="the images (see below)")
    add("--store", required=True, metavar="DIR", help="directory for the result; it is made")
    add("--layers", nargs="+", metavar="NAME", help="layers to scan; all if left out")
    add("--top-k", type=int, default=16, metavar="N", help="strongest a channel (default 16)")
    add("--per-image", type=int, default=1, metavar="N", help="at most of one image (default 1)")
    add("--features", default="auto", metavar="NAME", help="layer kept of every image, or none")
    add("--classes", metavar="FILE", help="text file with a name of a class a line")
    add("--input-shape", nargs=3, type=int, metavar=("C", "H", "W"), help="input of the network")
    add("--device", metavar="NAME", help="where to run: cpu, cuda, cuda:1, mps")
    add("--batch-size", type=int, default=32, metavar="N", help="images a pass (default 32)")
    add("--shard-images", type=int, metavar="N", help="written together (a minute's)")
    add("--workers", type=int, default=0, metavar="N", help="processes to spread over (default 0)")
    add("--loader-workers", type=int, default=0, metavar="N", help="processes that read (0)")
    add("--threads", type=int, metavar="N", help="of torch a process (all; with --workers 1)")
    add("--quiet", action="store_true", help="no progress bar")
    add("--traceback", action="store_true", help="show where an error was raised")
    return parser


def _scan(options: argparse.Namespace) -> Scan:
    if options.workers < 0:
        raise ValueError(f"expected --workers as a number of 0 or more, got {options.workers}")
    network = _network(options)
    data = _made(options.data, "DATA") if _is_reference(options.data) else Path(options.data)
    if isinstance(data, Path) and not data.expanduser().exists():
        raise FileNotFoundError(
            f"expected DATA as a folder of images or MODULE:FUNCTION, but there is no {data}"
        )
    classes = None
    if options.classes is not None:
        classes = Path(options.classes).expanduser().read_text(encoding="utf-8").splitlines()
    with _processes(options.workers) if options.workers else nullcontext() as executor:
        return scan(
            network,
            data,
            store=options.store,
            layers=options.layers,
            top_k=options.top_k,
            per_image=options.per_image,
            classes=classes,
            features=None if options.features == "none" else options.features,
            batch_size=options.batch_size,
            shard_images=options.shard_images,
            executor=executor,
            loader_workers=options.loader_workers,
            threads=options.threads,
            progress=not options.quiet,
        )


@contextmanager
def _processes(count: int) -> Iterator[ProcessPoolExecutor]:
    # Forking a process whose threads compute can hang; an interrupt is the leading one's to handle.
    with ProcessPoolExecutor(
        count,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    ) as pool:
        try:
            yield pool
        except BaseException:
            # Else leaving would wait for the shards under way.
            for child in multiprocessing.active_children():
                child.terminate()
            raise


def _network(options: argparse.Namespace) -> Network:
    kind, _, rest = options.model.partition(":")
    name, _, weights = rest.partition(":")
    if not name:
        raise ValueError(
            f"expected MODEL as torchvision:NAME, timm:NAME or MODULE:FUNCTION, got "
            f"{options.model!r}"
        )
    if kind == "torchvision":
        network = Network.from_torchvision(name, None if weights else "DEFAULT")
    elif kind == "timm":
        network = Network(_timm_model(name, pretrained=not weights))
    else:
        made = _made(options.model, "MODEL")
        if not isinstance(made, nn.Module | Network):
            raise TypeError(
                f"expected {options.model} to return an nn.Module or a Network, got "
                f"{type(made).__name__}"
            )
        network, weights = Network.of(made), ""
    if weights:
        _load(network.model, Path(weights).expanduser())
    if options.device is None and options.input_shape is None:
        return network
    return Network(
        network.model,
        network.transform,
        network.classes,
        options.device,
        input_shape=options.input_shape,
    )


def _timm_model(name: str, *, pretrained: bool) -> nn.Module:
    try:
        timm = importlib.import_module("timm")
    except ImportError as error:
        raise ImportError(
            f"expected timm to be installed for timm:{name}; pip install timm"
        ) from error
    model: nn.Module = timm.create_model(name, pretrained=pretrained).eval()
    return model


def _load(model: nn.Module, path: Path) -> None:
    """Load the weights of a file, which must fit the model."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        state: Any = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model"):  # as training scripts wrap it
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict):
        raise TypeError(f"expected a state dict in {path}, got {type(state).__name__}")
    try:
        model.load_state_dict({name.removeprefix("module."): v for name, v in state.items()})
    except RuntimeError as error:
        raise ValueError(f"expected the weights in {path} to fit the model: {error}") from error


def _is_reference(text: str) -> bool:
    """Whether it is MODULE:FUNCTION, and no folder (of Windows with its drive, too)."""
    module, _, name = text.partition(":")
    named = all(part.isidentifier() for part in [*module.split("."), *name.split(".")])
    return named and not Path(text).expanduser().exists()


def _made(reference: str, what: str) -> Any:
    """What the function returns, or the object itself if it is none."""
    module_name, _, path = reference.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name.partition(".")[0] and error.name != module_name:
            raise
        raise ImportError(
            f"expected {what} {reference!r} to name a module that can be imported, but there is no "
            f"{error.name!r} in {Path.cwd()} or among the installed packages"
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            raise ImportError(
                f"expected {what} {reference!r} to name a function, but {module_name} has no "
                f"{path!r}"
            )
        found = getattr(found, part)
    if not callable(found) or isinstance(found, nn.Module | Network):
        return found
    try:
        return found()
    except Exception as error:
        raise RuntimeError(
            f"expected {what} {reference!r} to return, but it raised {type(error).__name__}: "
            f"{error}; --traceback shows where"
        ) from error


def _summary(found: Scan) -> str:
    lines = [f"{found.count:,} images, {len(found)} layers in {found.path}"]
    skipped = found.skipped
    if skipped:
        lines.append(f"{len(skipped):,} skipped:")
        lines += [f"  {number}: {reason}" for number, reason in skipped[:5]]
        if len(skipped) > 5:
            lines.append("  and more: Scan.skipped lists them")
    lines.append(f"In Python: nbviz.Scan.open({str(found.path)!r})")
    return "\n".join(lines)
