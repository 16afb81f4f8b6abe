import numpy as np
import pytest
import torch

from tests.infer.colour_backend import NAMES, ColourBackend, picture
from tests.model.filling import assert_summary, fill_weights, golden_image, read_golden
from tests.model.lively import lively_detector
from vedette.core.letterbox import LetterboxPolicy
from vedette.core.nms import NmsSettings
from vedette.errors import ModelError, UsageError
from vedette.infer.backends.pytorch import TorchBackend
from vedette.infer.predictor import Predictor
from vedette.infer.tta import (
    PAD_VALUE,
    VIEWS,
    AugmentedBackend,
    augmented,
    clips_tails,
    kept_rows,
    scaled_bytes,
)
from vedette.model.detector import build_detector
from vedette.model.fuse import fuse


def corner_of_light(seen):
    """Answers each image with the box of its bright pixels."""

    def predict(images):
        seen.append(images)
        rows = []
        for image in images:
            ys, xs = torch.nonzero(image[0] > 0.7, as_tuple=True)
            x1, y1, x2, y2 = (float(v) for v in (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
            rows.append([[(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, 0.9, 1.0]])
        return torch.tensor(rows)

    return predict


def test_every_view_answers_in_the_pixels_of_the_image():
    images = torch.zeros(2, 3, 96, 160)
    images[0, :, 20:50, 10:60] = 1
    images[1, :, 40:90, 100:150] = 1
    seen = []
    answers = augmented(corner_of_light(seen), images, 32)
    assert answers.shape == (2, 3, 6)
    for number, box in enumerate(((35, 35, 50, 30), (125, 65, 50, 50))):
        for view in range(3):
            # One pixel of a view's bilinear edge on each side, in pixels of the image.
            torch.testing.assert_close(
                answers[number, view, :4], torch.tensor(box, dtype=torch.float32), atol=3.1, rtol=0
            )


def test_sizes_padding_and_mirroring_are_the_published_ones():
    images = torch.zeros(1, 3, 96, 160)
    images[..., :5, :5] = 1
    seen = []
    augmented(corner_of_light(seen), images, 32)
    assert [tuple(view.shape[2:]) for view in seen] == [(96, 160), (96, 160), (96, 128)]
    assert VIEWS == ((1.0, False), (0.83, True), (0.67, False))
    assert seen[0] is images
    half, third = seen[1], seen[2]
    assert (half[..., 79:, :] == PAD_VALUE).all()  # int(96 * 0.83) rows
    assert (half[..., 132:] == PAD_VALUE).all()  # int(160 * 0.83) columns
    assert half[0, 0, 0, 131] > 0.7
    assert half[0, 0, 0, 0] == 0
    assert third[0, 0, 0, 0] > 0.7
    assert (third[..., 64:, :] == PAD_VALUE).all()
    assert (third[0, 0, :64, 20:107] == 0).all()


def views_of(images, stride=32):
    seen = []

    def predict(view):
        seen.append(view)
        return torch.zeros(len(view), 1, 6)

    augmented(predict, images, stride)
    return seen


def test_golden_sizes_of_views():
    """model_v4.0_yolov5s.json, scale_img."""
    scales = {scale: number for number, (scale, _) in enumerate(VIEWS)}
    cases = read_golden("model_v4.0_yolov5s.json")["scale_img"]
    assert len(cases) == 12
    for case in cases:
        view = views_of(torch.zeros(1, 3, *case["input"]), case["gs"])[scales[case["ratio"]]]
        assert list(view.shape[2:]) == case["output"]


def test_golden_values_of_a_view():
    """model_v4.0_yolov5s.json, scale_img_values; its view is not mirrored, so the image is mirrored before."""
    golden = read_golden("model_v4.0_yolov5s.json")["scale_img_values"]
    view = views_of(golden_image([1, 3, 32, 48]).flip(3), golden["gs"])[1]
    assert_summary(view, golden["output"], [1e-6] * view.shape[-1])


def test_golden_predictions_of_v4():
    """model_v4.0_yolov5s.json, tta, by the fused network; tolerances as the golden README suggests."""
    golden = read_golden("model_v4.0_yolov5s.json")
    detector = build_detector("yolov5s@v4.0").eval()
    fill_weights(detector, golden["bn_k"])
    network = fuse(detector)
    with torch.no_grad():
        answers = augmented(
            lambda view: network.head.decode(network(view)), golden_image(golden["tta"]["input"]), 32
        )
    assert_summary(answers, golden["tta"]["decoded"], [0.05] * 4 + [1e-4] * 81)


def test_the_backend_gives_what_the_rule_gives():
    detector = lively_detector()
    frames = np.random.default_rng(0).integers(0, 256, (2, 96, 160, 3), dtype=np.uint8)
    backend = AugmentedBackend(TorchBackend(detector))
    images = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        expected = augmented(lambda view: detector.head.decode(detector(view)), images, 32)
    # Fused against unfused sums.
    np.testing.assert_allclose(backend.run(frames).decoded(), expected, rtol=1e-3, atol=1e-3)


def test_levels_that_v6_and_v7_cut_off():
    # 96 x 160: 12 x 20 + 6 x 10 + 3 x 5 cells, 3 anchors each; the last view is 96 x 128.
    assert kept_rows(0, 945, 3) == slice(945 - 45)
    assert kept_rows(1, 945, 3) == slice(945)
    assert kept_rows(2, 756, 3) == slice(576, 756)
    assert kept_rows(2, 756, 0) == slice(756)
    assert [clips_tails(release) for release in ("v1.0", "v4.0", "v6.0", "v7.0")] == [
        False,
        False,
        True,
        True,
    ]
    detector = lively_detector()
    frames = np.random.default_rng(0).integers(0, 256, (1, 96, 160, 3), dtype=np.uint8)
    for backend in (TorchBackend(detector), BytesOnly(TorchBackend(detector))):
        everything = AugmentedBackend(backend).run(frames).decoded()
        clipped = AugmentedBackend(backend, clip_tails=True).run(frames).decoded()
        kept = np.concatenate(
            (everything[:, : 945 - 45], everything[:, 945 : 2 * 945], everything[:, 1890 + 576 :]), 1
        )
        np.testing.assert_array_equal(clipped, kept)


class BytesOnly:
    """A network whose runtime takes bytes alone, as an exported file's does."""

    frame_hw = batch_size = None

    def __init__(self, backend):
        self.backend = backend
        self.strides, self.classes = backend.strides, backend.classes
        self.device, self.precision = "cpu", backend.precision
        self.warm_up = backend.warm_up

    def run(self, frames):
        assert frames.dtype == np.uint8
        return self.backend.run(frames)


def test_bytes_are_the_rounded_view():
    frames = np.random.default_rng(1).integers(0, 256, (2, 96, 160, 3), dtype=np.uint8)
    images = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    for number, (scale, mirrored) in enumerate(VIEWS):
        given = np.ascontiguousarray(frames[:, :, ::-1]) if mirrored else frames
        exact = views_of(images)[number].permute(0, 2, 3, 1).numpy() * 255
        assert scaled_bytes(given, scale, 32).shape == exact.shape
        assert np.abs(scaled_bytes(given, scale, 32) - exact).max() <= 0.5 + 1e-3  # float32 sums of up to 255


def test_rounding_to_bytes_changes_little():
    """The same predictions, but for half a grey level in two of the three views."""
    backend = TorchBackend(lively_detector())
    frames = np.random.default_rng(2).integers(0, 256, (2, 128, 128, 3), dtype=np.uint8)
    exact = AugmentedBackend(backend).run(frames).decoded()
    rounded = AugmentedBackend(BytesOnly(backend)).run(frames).decoded()
    first_view = 3 * (16 * 16 + 8 * 8 + 4 * 4)
    # Another batch of the same frames may sum in another order.
    np.testing.assert_allclose(rounded[:, :first_view], exact[:, :first_view], rtol=1e-5, atol=1e-4)
    # An untrained network exaggerates: it was made to differ strongly from cell to cell.
    assert 0 < np.abs(rounded[..., 4:] - exact[..., 4:]).mean() < 0.005
    assert np.abs(rounded[..., :4] - exact[..., :4]).mean() < 0.5


@pytest.mark.parametrize("shape", ["square", "minimal"])
def test_boxes_of_all_views_merge_in_the_predictor(shape):
    policy = LetterboxPolicy(size_hw=(160, 160), shape=shape)
    plain = Predictor(ColourBackend(), policy, NAMES, NmsSettings())
    thrice = Predictor(AugmentedBackend(ColourBackend()), policy, NAMES, NmsSettings())
    images = [picture((120, 200), red=(20, 30, 90, 80), blue=(120, 10, 180, 100)), picture((80, 80))]
    for one, three in zip(plain.predict(images), thrice.predict(images), strict=True):
        assert three.class_ids.tolist() == one.class_ids.tolist()
        np.testing.assert_allclose(three.boxes_xyxy_px, one.boxes_xyxy_px, atol=1.5)


def test_one_frame_size_only_is_refused():
    class Static(ColourBackend):
        frame_hw = (160, 160)

    with pytest.raises(UsageError, match=r"--augment: the network takes frames of 160x160 only"):
        AugmentedBackend(Static())


def test_a_fixed_batch_is_kept():
    class OneByOne(ColourBackend):
        batch_size = 1

    backend = OneByOne()
    predictor = Predictor(AugmentedBackend(backend), LetterboxPolicy(size_hw=(96, 160)), NAMES)
    found = predictor.predict([picture((96, 160), red=(8, 8, 60, 60))] * 3)
    assert [len(one) for one in found] == [1, 1, 1]
    assert {shape[0] for shape in backend.shapes} == {1}


def test_where_boxes_come_from_is_not_told():
    predictor = Predictor(
        AugmentedBackend(TorchBackend(lively_detector())), LetterboxPolicy(size_hw=(64, 64)), ("a", "b", "c")
    )
    image = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(ModelError, match="three views of a picture, not from one cell"):
        predictor.predict([image], features="cell")
    with pytest.raises(ModelError, match="without --augment"):
        predictor.features([image], [3])


def test_warming_up_meets_every_size():
    backend = ColourBackend()
    AugmentedBackend(backend).warm_up((96, 160), 2)
    assert backend.shapes == [(2, 96, 160, 3), (2, 96, 160, 3), (2, 96, 128, 3)]
