import pytest

from tests.infer.test_writers import BOX, event, failure, frame, result
from tests.infer.video.stream_server import numbered
from vedette.errors import UsageError
from vedette.infer.draw import DrawStyle
from vedette.infer.viewer import refuse_without_windows, viewer


@pytest.fixture
def windows(monkeypatch):
    """OpenCV with windows that note what they show; every key is the next of ``keys``."""
    seen, keys = [], []
    monkeypatch.setattr("cv2.getBuildInformation", lambda: "GUI:  QT5\n")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("cv2.imshow", lambda title, image: seen.append((title, image)))
    monkeypatch.setattr("cv2.waitKey", lambda _: keys.pop(0) if keys else -1)
    monkeypatch.setattr("cv2.destroyAllWindows", lambda: seen.append(("closed", None)))
    return seen, keys


def test_one_window_for_pictures_and_one_for_each_video(windows):
    seen, _ = windows
    image = numbered(5, 200, 100)
    with viewer(DrawStyle()) as show:
        for entry in (result("a.png", [BOX], image=image), event("opened"), failure(), event("ended")):
            assert show(entry)
        moving = frame(3, [BOX])
        assert show(type(moving)(moving.item, moving.detections, image=image))
    assert [title for title, _ in seen] == ["vedette", "vedette: in/clip.mp4", "closed"]
    drawn = seen[0][1]
    assert drawn.shape == image.shape
    assert (drawn != image).any()


def test_q_says_stop(windows):
    seen, keys = windows
    keys += [-1, ord("x"), ord("q") | 0x100]
    with viewer(DrawStyle()) as show:
        assert [show(result()) for _ in range(3)] == [True, True, False]
    assert [title for title, _ in seen] == ["closed"]


def test_where_there_is_no_window_the_reason_is_said(monkeypatch):
    monkeypatch.setattr("cv2.getBuildInformation", lambda: "  GUI:                           NONE\n")
    with pytest.raises(
        UsageError, match="headless one, which has no windows; pip uninstall opencv-python-headless"
    ):
        refuse_without_windows()
    monkeypatch.setattr("cv2.getBuildInformation", lambda: "  GUI:                           GTK3\n")
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="there is no screen to open a window on"):
        refuse_without_windows()
    monkeypatch.setattr("sys.platform", "darwin")
    refuse_without_windows()
