"""An old script, unchanged, in another folder, without network, installed package or home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.conftest import REPOSITORY
from tests.model.lively import lively_detector
from vedette.checkpoint.deployable import save_detector
from vedette.core.letterbox import LetterboxPolicy

OLD_SCRIPT = """
import sys
from pathlib import Path
import numpy as np
import torch
from PIL import Image

assert 'vedette' not in sys.modules
model = torch.hub.load(sys.argv[1], 'custom', path=sys.argv[2], source='local')
model.conf = 0.3
model.iou = 0.45
model.max_det = 20
model.classes = None
model.eval()

im1 = Image.open('street.jpg')
im2 = np.asarray(im1)[..., ::-1].copy()[:, :, ::-1]   # OpenCV and back
grey = np.asarray(im1.convert('L'))
results = model(['street.jpg', Path('street.jpg'), im1, im2, grey], size=128)
results.print()
results.save()
crops = results.crop(save=True)
table = results.pandas().xyxy[0]
assert len(results) == 5 and len(table) == len(results.xyxy[0]) > 0
assert torch.equal(results.xyxy[0], results.xyxy[2])
assert set(table.name) <= set(model.names.values())
assert len(crops) == sum(len(found) for found in results.xyxy)
for im in results.render():
    assert im.shape == (96, 128, 3)
for single in results.tolist():
    for *box, conf, cls in single.xyxy[0].tolist():
        assert 0.3 < conf <= 1 and model.names[int(cls)]
json_text = table.to_json(orient='records')
assert json_text.startswith('[{"xmin":')
print(sys.modules['vedette'].__file__)
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elsewhere")
    picture = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    Pillow.fromarray(picture).save(folder / "street.jpg")
    save_detector(
        folder / "best.safetensors",
        lively_detector(),
        class_names=("person", "car", "dog"),
        letterbox=LetterboxPolicy(),
        metadata={},
    )
    return folder


def _python(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error::UserWarning", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
        check=False,
    )


def test_an_old_script_runs_unchanged(work: Path) -> None:
    pytest.importorskip("pandas", reason="the extra 'pandas' is not installed")
    done = _python(work, "-c", OLD_SCRIPT, str(REPOSITORY), "best.safetensors")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("tiny (v4.0): 25 layers")
    assert lines[1].startswith("image 1/5: 96x128 ")
    assert lines[6].startswith("Speed: ")
    # The folder that was given, not a package that happens to be installed.
    assert Path(lines[-1]).is_relative_to(REPOSITORY / "src")
    assert len(list((work / "runs/detect/exp").glob("*.jpg"))) == 5
    assert list((work / "runs/detect/exp2/crops").rglob("*.jpg"))


def test_published_names_say_that_there_are_no_weights(work: Path) -> None:
    code = (
        "import sys, torch\n"
        "model = torch.hub.load(sys.argv[1], 'yolov5n', source='local', pretrained=False, classes=2, "
        "autoshape=False, _verbose=False, device='cpu')\n"
        "print(model.nc, model.yaml['release'])\n"
        "torch.hub.load(sys.argv[1], 'yolov5s', source='local')\n"
    )
    done = _python(work, "-c", code, str(REPOSITORY))
    assert done.stdout == "2 v7.0\n", done.stderr
    assert done.returncode == 1
    assert "vedette ships none of these weights and downloads nothing" in done.stderr
    assert "pretrained='path/to/file'" in done.stderr


def test_every_entry_point_is_there() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import hubconf\n"
        "names = [n for n in dir(hubconf) if callable(getattr(hubconf, n)) and not n.startswith('_')]\n"
        "print(*sorted(set(names) - {'Path'}))\n"
    )
    done = _python(REPOSITORY.parent, "-c", code, str(REPOSITORY))
    expected = ["custom", *(f"yolov5{size}" for size in "lmnsx"), *(f"yolov5{size}6" for size in "lmnsx")]
    assert done.stdout.split() == sorted(expected), done.stderr
