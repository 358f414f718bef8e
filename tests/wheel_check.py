"""Build wheel and sdist, install the wheel in a clean environment, and make every widget there.

The clean environment sees the installed dependencies but neither the source tree nor Node.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent

SMOKE = """
import pathlib, shutil, sys
import nbviz
from nbviz.widgets.base import View

assert shutil.which("node") is None and shutil.which("npm") is None, "Node is within reach"
home = pathlib.Path(nbviz.__file__).resolve()
assert pathlib.Path(sys.prefix).resolve() in home.parents, f"nbviz came from {home}"
network, images, labels, classes = nbviz.demos.digits()
def below(cls):
    return {sub for direct in cls.__subclasses__() for sub in {direct, *below(direct)}}

made = dict.fromkeys(cls for cls in below(View) if not below(cls))
made[nbviz.FilterGrid] = nbviz.FilterGrid(network)
made[nbviz.ActivationBrowser] = nbviz.ActivationBrowser(network, images)
made[nbviz.OcclusionProbe] = nbviz.OcclusionProbe(network, images)
scan = nbviz.scan(network, images[:40], layers="relu2", progress=False)
made[nbviz.TopPatches] = nbviz.TopPatches(scan)
made[nbviz.ImageMap] = nbviz.ImageMap(scan)
made[nbviz.Explorer] = nbviz.Explorer(network, images[:40], scan)
missing = [cls.__name__ for cls, widget in made.items() if widget is None]
assert not missing, f"say here how to make {missing}"
for widget in made.values():
    bundle = widget._repr_mimebundle_()
    data = bundle[0]
    assert {"image/png", "text/html"} <= set(data), sorted(data)
print("made", ", ".join(sorted(cls.__name__ for cls in made)), "from the wheel, without Node")
"""


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "dist"
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(built)]
        done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            print(done.stdout, done.stderr)
            return 1
        (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
        check_contents(wheel, sdist)
        python = clean_environment(Path(folder) / "environment", wheel)
        # Nothing on PATH but the clean environment: no Node, no compiler, no source tree.
        bare = {"PATH": str(python.parent), "HOME": folder, "PYTHONDONTWRITEBYTECODE": "1"}
        smoke = [str(python), "-c", SMOKE]
        return subprocess.run(smoke, cwd=folder, env=bare, check=False).returncode


def check_contents(wheel: Path, sdist: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    with tarfile.open(sdist) as archive:
        sources = archive.getnames()
    shipped = [*(ROOT / "nbviz" / "static").glob("*.js"), *(ROOT / "nbviz").rglob("*.safetensors")]
    missing = {path.relative_to(ROOT).as_posix() for path in shipped} - set(names)
    if missing or len(shipped) < 2:
        raise SystemExit(f"{wheel.name} lacks {', '.join(sorted(missing)) or 'bundles or weights'}")
    if not any(name.endswith("js/filter-grid/index.ts") for name in sources):
        raise SystemExit(f"{sdist.name} lacks the TypeScript sources")
    print(f"{wheel.name} {wheel.stat().st_size / 1e6:.2f} MB, {sdist.name} is complete")


def clean_environment(folder: Path, wheel: Path) -> Path:
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    site = Path(
        subprocess.run(
            [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
    )
    # Installed dependencies by path only: .pth files in there, an editable nbviz too, stay off.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + os.linesep)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", str(site), str(wheel)], check=True)
    return python


if __name__ == "__main__":
    sys.exit(main())
