"""Colours are distinct, legible, and the same for pictures and plots."""

from __future__ import annotations

from vedette.core import colours


def test_each_of_the_first_classes_has_a_colour_of_its_own() -> None:
    drawn = [colours.class_colour(number) for number in range(colours.DISTINCT_CLASSES)]
    assert len(set(drawn)) == colours.DISTINCT_CLASSES
    assert colours.class_colour(colours.DISTINCT_CLASSES) == colours.class_colour(0)


def test_text_is_legible_on_every_class_colour() -> None:
    """WCAG AA asks for 4.5."""
    for number in range(colours.DISTINCT_CLASSES):
        background = colours.class_colour(number)
        assert colours.contrast(colours.text_colour(background), background) >= 4.5


def test_contrast_is_that_of_wcag() -> None:
    assert colours.contrast(colours.BLACK, colours.WHITE) == 21.0
    assert colours.contrast(colours.BLUE, colours.BLUE) == 1.0
    assert round(colours.contrast((119, 119, 119), colours.WHITE), 2) == 4.48


def test_tracks_have_the_colours_of_classes_from_one_on_and_grey_without() -> None:
    assert [colours.track_colour(number) for number in (1, 2, 22)] == [
        colours.class_colour(number) for number in (0, 1, 0)
    ]
    assert colours.track_colour(-1) == colours.GREY


def test_hexadecimal() -> None:
    assert colours.hexadecimal(colours.BLUE) == "#0072b2"
