"""A script of somebody who has used YOLOv5 for years. Nothing in it knows vedette.

``python old_script.py REPOSITORY WEIGHTS`` in a folder with ``street.jpg``; REPOSITORY is what ``torch.hub`` is given.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

repository, weights = sys.argv[1:]
model = torch.hub.load(repository, "custom", path=weights, source="local")
model.conf = 0.3  # confidence threshold
model.iou = 0.45  # NMS IoU threshold
model.agnostic = False
model.multi_label = False
model.max_det = 20
model.classes = None
model.eval()

im1 = Image.open("street.jpg")
im2 = cv2.imread("street.jpg")[..., ::-1]  # BGR to RGB
grey = np.asarray(im1.convert("L"))
tensor = torch.from_numpy(np.asarray(im1).copy()).permute(2, 0, 1)
images = ["street.jpg", Path("street.jpg"), im1, im2, grey, tensor]

results = model(images, size=128)
results.print()
results.save()
crops = results.crop(save=True)
table = results.pandas().xyxy[0]

assert isinstance(images[0], str)
assert len(results) == results.n == 6
assert len(table) == len(results.xyxy[0]) > 0
assert torch.equal(results.xyxy[0], results.xyxy[2])
assert set(table.name) <= set(model.names.values())
assert len(crops) == sum(len(found) for found in results.xyxy)
assert all(im.shape == (96, 128, 3) for im in results.render())
for single in results.tolist():
    for *_, conf, cls in single.xyxy[0].tolist():
        assert 0.3 < conf <= 1, model.names[int(cls)]
assert table.to_json(orient="records").startswith('[{"xmin":')
assert list(results.pandas().xywhn[0].columns)[:4] == ["xcenter", "ycenter", "width", "height"]
for name in ("xyxy", "xywh", "xyxyn", "xywhn"):
    assert getattr(results, name)[0].shape[1] == 6

model.classes = [0]  # people only
assert set(model("street.jpg", size=128).xyxy[0][:, 5].tolist()) <= {0.0}
assert model(im1).s[2:] == (480, 640)  # 640 is the default
print(sys.modules["vedette"].__file__)  # noqa: T201 - so that the test knows whose it was
