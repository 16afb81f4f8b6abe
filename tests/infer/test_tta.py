import torch

from vedette.infer.tta import PAD_VALUE, VIEWS, augmented


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
    for picture, box in enumerate(((35, 35, 50, 30), (125, 65, 50, 50))):
        for view in range(3):
            # One pixel of a view's bilinear edge on each side, in pixels of the image.
            torch.testing.assert_close(
                answers[picture, view, :4], torch.tensor(box, dtype=torch.float32), atol=3.1, rtol=0
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
