import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.config.hyperparameters import Hyperparameters
from vedette.errors import UsageError
from vedette.tune.space import RANGES, searched_ranges, starting_values, with_values


def test_the_published_table() -> None:
    """Specification training.md section 13: keys with gain 0 are not varied; iou_t and anchors see RANGES."""
    published = searched_ranges(())
    assert len(published) == 23
    assert {"fl_gamma", "perspective", "fliplr"}.isdisjoint(published)
    assert (published["lr0"].low, published["lr0"].high) == (1e-5, 0.1)
    assert (published["degrees"].low, published["degrees"].high) == (0, 45)


def test_named_ones_only_and_typos_named() -> None:
    assert list(searched_ranges(["box", "lr0", "box"])) == ["box", "lr0"]
    with pytest.raises(UsageError, match="did you mean"):
        searched_ranges(["lr"])


def test_the_start_is_clamped_into_its_range() -> None:
    base = Hyperparameters(lr0=0.5, obj=0.1, scale=0.5)
    values = starting_values(searched_ranges(()), base)
    assert (values["lr0"], values["obj"], values["scale"]) == (0.1, 0.2, 0.5)


@given(st.data())
def test_every_value_of_every_range_is_a_valid_hyperparameter(data: st.DataObject) -> None:
    values = {
        name: data.draw(st.floats(limits.low, limits.high), label=name) for name, limits in RANGES.items()
    }
    result = with_values(Hyperparameters(), values)
    for name, value in values.items():
        assert getattr(result, name) == pytest.approx(value, rel=6e-5)


def test_what_is_not_searched_stays() -> None:
    assert with_values(Hyperparameters(hsv_h=0.02), {"lr0": 0.03}) == Hyperparameters(hsv_h=0.02, lr0=0.03)
