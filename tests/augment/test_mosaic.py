"""Where tiles lie, and that warping them one by one equals warping the canvas."""

import json
from pathlib import Path
from random import Random

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.augment.geometric import (
    AFFINE_DRAWS,
    AffineChoice,
    Labels,
    affine_matrix,
    choose_affine,
    warp_labels,
    warp_points,
)
from vedette.augment.mosaic import (
    BACKGROUND,
    MIXUP_DRAWS,
    MOSAIC_DRAWS,
    PlacedPicture,
    Tile,
    canvas_hw_of,
    choose_mixup_ratio,
    choose_mosaic,
    compose,
    mix,
    pick,
    place_tiles,
    plain_compose,
)
from vedette.config.hyperparameters import Hyperparameters
from vedette.core.picture_format import RGB8, PictureFormat
from vedette.data.pictures import fitted_sizes

MOSAIC_CASES = json.loads((Path(__file__).parents[1] / "golden" / "training" / "16-mosaic.json").read_text())[
    "cases"
]


def smooth_picture(size_hw, seed):
    height, width = size_hw
    noise = np.random.default_rng(seed).integers(
        0, 256, (height // 24 + 2, width // 24 + 2, 3), dtype=np.uint8
    )
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("case", MOSAIC_CASES, ids=lambda case: case["id"])
def test_mosaic_golden(case):
    """Golden 16-mosaic.json: rectangles exact, labels to 1e-5 (float32 there)."""
    values, expected = case["input"], case["expected"]
    size = values["s"]
    originals = np.array([(h, w) for w, h in values["images_wh_original"]])
    resized = fitted_sizes(originals, (size, size))
    numbers = values["image_indices"]
    tiles_hw = [tuple(resized[number].tolist()) for number in numbers]
    canvas_hw = canvas_hw_of((size, size))
    tiles = place_tiles((values["yc"], values["xc"]), tiles_hw, canvas_hw)
    parts = []
    for position, (tile, number) in enumerate(zip(tiles, numbers, strict=True)):
        golden = expected["tiles"][str(position)]
        assert tile.on_canvas == tuple(golden[key] for key in ("x1a", "y1a", "x2a", "y2a"))
        assert tile.in_picture == tuple(golden[key] for key in ("x1b", "y1b", "x2b", "y2b"))
        assert tile.shift_xy == (golden["padw"], golden["padh"])
        assert tiles_hw[position] == (golden["h"], golden["w"])
        rows = np.array([line.split() for line in values["labels"][number].splitlines()], dtype=np.float64)
        rows = rows.reshape(-1, 5)
        centre, half = rows[:, 1:3], rows[:, 3:] / 2
        boxes = np.concatenate([centre - half, centre + half], axis=1)
        labels = Labels(boxes, rows[:, 0].astype(np.int64), np.zeros(len(rows), dtype=np.bool_))
        parts.append(labels.moved(tiles_hw[position][::-1], tile.shift_xy))
    choice = AffineChoice()
    matrix = affine_matrix(choice, canvas_hw, (size, size))
    np.testing.assert_allclose(matrix, expected["affine_matrix"], atol=1e-12)
    warped = warp_labels(Labels.joined(parts).clipped(canvas_hw), matrix, choice, (size, size))
    found = np.column_stack([warped.class_ids, warped.boxes_xyxy_px])
    np.testing.assert_allclose(
        found, np.reshape(expected["labels_after_crop_cls_xyxy"], (-1, 5)), rtol=1e-5, atol=1e-5
    )


def test_warped_picture_golden():
    """Golden 18-affine.json, case T18.11: two grey levels, as the file says (OpenCV versions differ)."""
    path = Path(__file__).parents[1] / "golden" / "training" / "18-affine.json"
    case = next(case for case in json.loads(path.read_text())["cases"] if "image_bgr" in case["input"])
    image = np.array(case["input"]["image_bgr"], dtype=np.uint8)  # the order of channels plays no part
    size_hw = image.shape[:2]
    limits = case["input"]["limits"]
    gains = Hyperparameters(**{name: limits[name] for name in limits})
    random = Random(case["input"]["python_random_seed"])
    choice = choose_affine(np.array([random.random() for _ in range(AFFINE_DRAWS)]), gains)
    np.testing.assert_allclose(affine_matrix(choice, size_hw, size_hw), case["expected"]["M"], atol=1e-9)
    whole = (0, 0, size_hw[1], size_hw[0])
    pictures = [PlacedPicture(Tile(whole, whole), lambda: image)]
    plain = plain_compose(pictures, choice, size_hw, size_hw)
    expected = np.array(case["expected"]["image_bgr"])
    assert np.abs(plain.astype(int) - expected).max() <= 2


def placed(size_hw, centre_yx, seed=0, sizes=None):
    canvas_hw = canvas_hw_of(size_hw)
    random = np.random.default_rng(seed)
    if sizes is None:
        originals = random.integers(20, 200, (4, 2))
        sizes = [tuple(row) for row in fitted_sizes(originals, size_hw).tolist()]
    tiles = place_tiles(centre_yx, sizes, canvas_hw)
    images = [smooth_picture(size, seed + number) for number, size in enumerate(sizes)]
    return [PlacedPicture(tile, lambda image=image: image) for tile, image in zip(tiles, images, strict=True)]


def tile_interior(pictures, choice, canvas_hw, output_hw):
    """Output pixels whose source is at least three canvas pixels away from every edge of a tile: bool [H, W]."""
    matrix = np.linalg.inv(affine_matrix(choice, canvas_hw, output_hw))
    y, x = np.mgrid[: output_hw[0], : output_hw[1]]
    points = np.stack([x, y], axis=-1).astype(np.float64)
    source = warp_points(points, matrix, projective=True)
    interior = np.ones(output_hw, dtype=np.bool_)
    for picture in pictures:
        x1, y1, x2, y2 = picture.tile.on_canvas
        low, high = np.array((x1, y1)), np.array((x2 - 1, y2 - 1))
        outside = ((source < low - 3) | (source > high + 3)).any(axis=-1)
        inside = ((source > low + 3) & (source < high - 3)).all(axis=-1)
        interior &= outside | inside
    return interior


@st.composite
def affine_choices(draw):
    perspective = draw(st.sampled_from([0.0, 0.0005, -0.001]))
    return AffineChoice(
        perspective_x=perspective,
        perspective_y=-perspective,
        degrees=draw(st.sampled_from([0.0, 0.0, -30.0, 10.0, 90.0])),
        scale=draw(st.floats(0.3, 1.8)),
        shear_x=draw(st.sampled_from([0.0, 8.0])),
        translate_x=draw(st.floats(0.2, 0.8)),
        translate_y=draw(st.floats(0.2, 0.8)),
        projective=perspective != 0.0,
    )


@settings(deadline=None, max_examples=80)
@given(
    size_hw=st.sampled_from([(64, 64), (96, 64), (60, 100)]),
    centre=st.tuples(st.floats(0.25, 0.74), st.floats(0.25, 0.74)),
    choice=affine_choices(),
    seed=st.integers(0, 1000),
)
def test_direct_warp_equals_the_canvas(size_hw, centre, choice, seed):
    """Two levels away from edges of tiles: OpenCV interpolates in steps of 1/32 pixel, and the two ways round to
    them from different origins."""
    canvas_hw = canvas_hw_of(size_hw)
    centre_yx = (int(centre[0] * canvas_hw[0]), int(centre[1] * canvas_hw[1]))
    pictures = placed(size_hw, centre_yx, seed)
    plain = plain_compose(pictures, choice, canvas_hw, size_hw)
    composed = compose(pictures, choice, canvas_hw, size_hw)
    direct = composed.image
    assert direct.shape == (*size_hw, 4)
    interior = tile_interior(pictures, choice, canvas_hw, size_hw)
    difference = np.abs(direct[..., :3].astype(int) - plain).max(axis=2)
    assert (difference[interior] <= 2).all()
    covered = np.zeros(size_hw, dtype=np.int64)
    for x1, y1, x2, y2 in composed.windows:
        covered[y1:y2, x1:x2] += 1
    assert covered.max(initial=0) <= 1
    assert (direct[covered == 0][:, :3] == BACKGROUND).all()


def test_neighbouring_tiles_leave_no_gap():
    """White tiles that cover the whole canvas must give a white output, for any zoom, shift and turn."""
    size_hw = (64, 64)
    white = np.full((64, 64, 3), 255, np.uint8)
    tiles = place_tiles((64, 64), [size_hw] * 4, (128, 128))
    pictures = [PlacedPicture(tile, lambda: white) for tile in tiles]
    random = np.random.default_rng(0)
    for angle in (0.0, 20.0):
        for _ in range(50):
            choice = AffineChoice(
                degrees=angle,
                scale=random.uniform(1.0, 1.9),
                translate_x=random.uniform(0.45, 0.55),
                translate_y=random.uniform(0.45, 0.55),
            )
            output = compose(pictures, choice, (128, 128), size_hw).image
            matrix = affine_matrix(choice, (128, 128), size_hw)
            corners = np.array([(0, 0), (63, 0), (63, 63), (0, 63)], dtype=np.float64)
            source = warp_points(corners, np.linalg.inv(matrix), projective=False)
            assert source.min() > 0  # the whole output shows the canvas
            assert source.max() < 127
            assert (output[..., :3] == 255).all()


def test_a_single_picture_that_is_not_moved_stays_as_it_is():
    image = smooth_picture((40, 64), 3)
    picture = PlacedPicture(Tile((0, 12, 64, 52), (0, 0, 64, 40)), lambda: image)
    output = compose([picture], AffineChoice(), (64, 64), (64, 64)).image[..., :3]
    np.testing.assert_array_equal(output[12:52], image)
    assert (output[:12] == BACKGROUND).all()
    assert (output[52:] == BACKGROUND).all()
    np.testing.assert_array_equal(plain_compose([picture], AffineChoice(), (64, 64), (64, 64)), output)


def test_pictures_outside_the_output_are_not_fetched():
    asked = []

    def fetch(number):
        asked.append(number)
        return np.zeros((64, 64, 3), np.uint8)

    tiles = place_tiles((32, 32), [(64, 64)] * 4, (128, 128))
    pictures = [PlacedPicture(tile, lambda number=number: fetch(number)) for number, tile in enumerate(tiles)]
    compose(pictures, AffineChoice(), (128, 128), (64, 64))
    assert asked == [3]


def test_a_canvas_that_reaches_behind_the_viewer_does_not_break():
    pictures = placed((64, 64), (64, 64))
    choice = AffineChoice(perspective_x=0.001 * 20, projective=True)
    assert compose(pictures, choice, (128, 128), (64, 64)).image.shape == (64, 64, 4)


def test_choose_mosaic_covers_the_published_range():
    low = choose_mosaic(np.zeros(MOSAIC_DRAWS), (64, 100), 7)
    assert low.centre_yx == (32, 50)
    assert low.partners == (0, 0, 0)
    high = choose_mosaic(np.full(MOSAIC_DRAWS, np.nextafter(1, 0)), (64, 100), 7)
    assert high.centre_yx[0] in (95, 96)
    assert high.centre_yx[1] in (149, 150)
    assert high.partners == (6, 6, 6)
    assert [pick(draw, 4) for draw in (0.0, 0.24, 0.25, 0.5, 0.99)] == [0, 0, 1, 2, 3]


def test_mixup_ratio_is_beta_8_8():
    """Mean 1/2, variance 1/68; four standard errors of 4000 draws."""
    random = np.random.default_rng(0)
    draws = np.array([choose_mixup_ratio(random.random(MIXUP_DRAWS)) for _ in range(4000)])
    assert abs(draws.mean() - 0.5) < 4 * np.sqrt(1 / 68 / 4000)
    assert abs(draws.var() * 68 - 1) < 0.1
    assert choose_mixup_ratio(np.zeros(MIXUP_DRAWS)) == 0.5


@pytest.mark.parametrize("ratio", [0.0, 0.25, 0.37, 0.5, 0.813, 1.0])
def test_mix_rounds_down(ratio):
    first, second = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    exact = ratio * first + (1 - ratio) * second
    mixed = mix(first, second, ratio)
    expected = np.floor(np.round(exact, 6)).astype(
        int
    )  # what float64 leaves below a whole number counts as it
    # One level where the exact value is within 0.002 of the next whole number.
    near = np.abs(exact - np.round(exact)) < 0.002
    np.testing.assert_array_equal(mixed[~near], expected[~near])
    assert np.abs(mixed.astype(int) - expected).max() <= 1


OTHER_FORMATS = st.builds(PictureFormat, st.integers(1, 7), st.sampled_from((8, 16))).filter(
    lambda it: it != RGB8
)


@settings(deadline=None, max_examples=60)
@given(
    picture_format=OTHER_FORMATS,
    seed=st.integers(0, 50),
    changes=st.sampled_from(
        (
            {},
            {"degrees": 30.0, "shear": 5.0},
            {"degrees": 10.0, "perspective": 0.001},
            {"scale": 0.0, "translate": 0.0},
        )
    ),
)
def test_every_channel_of_other_pictures_is_warped_as_8_bit_rgb_is(picture_format, seed, changes):
    """The scene of an 8-bit picture, and of the same one in another format, channel by channel.

    To one 8-bit level, by which the 8-bit twin rounds; its positions and weights are the same.
    """
    random = np.random.default_rng(seed)
    size_hw, canvas_hw = (64, 80), canvas_hw_of((64, 80))
    choice = choose_affine(random.random(AFFINE_DRAWS), Hyperparameters(**changes))
    factor = 257 if picture_format.bits == 16 else 1
    wide = [smooth_picture((60, 70), seed + number) for number in range(4)]
    channels = [number % 3 for number in range(picture_format.channels)]
    other = [
        np.ascontiguousarray(image[..., channels].astype(picture_format.dtype) * factor) for image in wide
    ]
    tiles = place_tiles((60, 75), [(60, 70)] * 4, canvas_hw)

    def composed(images, **options):
        pictures = [
            PlacedPicture(tile, lambda image=image: image) for tile, image in zip(tiles, images, strict=True)
        ]
        return compose(pictures, choice, canvas_hw, size_hw, **options)

    twin, found = composed(wide), composed(other, picture_format=picture_format)
    assert found.image.shape == (*size_hw, picture_format.channels)
    assert found.image.dtype == picture_format.dtype
    assert found.windows == twin.windows
    difference = np.abs(found.image / factor - twin.image[..., channels])
    assert difference.max() <= 1
    mixed = found.mixed_with(found, 0.3).image
    assert mixed.shape == found.image.shape
    assert np.abs(mixed.astype(int) - found.image).max() <= 1


def test_plain_twin_of_other_pictures():
    """The canvas warped channel by channel; only pixels at the edges of tiles differ, by design."""
    picture_format = PictureFormat(5, 16, (0, 4095))
    images = [
        np.repeat(smooth_picture((60, 60), number)[..., :1].astype(np.uint16) * 16, 5, axis=2)
        for number in range(4)
    ]
    tiles = place_tiles((64, 64), [(60, 60)] * 4, (128, 128))
    pictures = [
        PlacedPicture(tile, lambda image=image: image) for tile, image in zip(tiles, images, strict=True)
    ]
    for choice in (AffineChoice(scale=0.7), AffineChoice(degrees=20.0, scale=0.8)):
        direct = compose(pictures, choice, (128, 128), (64, 64), picture_format=picture_format).image
        plain = plain_compose(pictures, choice, (128, 128), (64, 64), picture_format)
        difference = np.abs(direct.astype(int) - plain)
        assert np.median(difference) <= 1
        assert (difference <= 16).mean() > 0.9
        background = plain == picture_format.grey(BACKGROUND)
        assert (direct[background] == picture_format.grey(BACKGROUND)).mean() > 0.9
