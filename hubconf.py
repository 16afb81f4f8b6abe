"""Entry points for ``torch.hub.load(FOLDER, NAME, source="local")``; FOLDER is the one this file is in.

``yolov5n`` to ``yolov5x`` and ``yolov5n6`` to ``yolov5x6`` are the published models, ``custom`` is any checkpoint.
Nothing has to be installed but what vedette depends on. docs/from-yolov5.md says what differs from elsewhere.
"""

import sys
from pathlib import Path

dependencies = ["torch", "numpy", "cv2", "PIL", "safetensors", "yaml", "pydantic"]

if "vedette" not in sys.modules and str(Path(__file__).resolve().parent / "src") not in sys.path:
    sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from vedette.hub.entry_points import custom  # noqa: E402, F401 - an entry point
from vedette.hub.entry_points import entry_point as _entry_point  # noqa: E402

yolov5n = _entry_point("yolov5n")
yolov5s = _entry_point("yolov5s")
yolov5m = _entry_point("yolov5m")
yolov5l = _entry_point("yolov5l")
yolov5x = _entry_point("yolov5x")
yolov5n6 = _entry_point("yolov5n6")
yolov5s6 = _entry_point("yolov5s6")
yolov5m6 = _entry_point("yolov5m6")
yolov5l6 = _entry_point("yolov5l6")
yolov5x6 = _entry_point("yolov5x6")
