import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.infer.addresses import file_name, is_address, scheme_of, shown, stream_name, suffix_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtsp://x", True),
        ("HTTP://x", True),
        ("odd+1.x://", True),
        ("C://x", False),
        ("a/b.jpg", False),
        ("0", False),
    ],
)
def test_what_is_an_address(text, expected):
    assert is_address(text) is expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("rtsp://admin:pw@10.0.0.1:554/s/1", "rtsp://***@10.0.0.1:554/s/1"),
        ("rtsp://admin:p@w@host/s", "rtsp://***@host/s"),
        ("http://host/?user=a&password=b&x=1", "http://host/?user=a&password=***&x=1"),
        ("http://host?api_key=b;auth=c#d", "http://host?api_key=***;auth=***#d"),
        ("http://host/a@b", "http://host/a@b"),
        ("http://host/now", "http://host/now"),
    ],
)
def test_passwords_are_not_shown(address, expected):
    assert shown(address) == expected


@given(
    secret=st.from_regex(r"[A-Za-z0-9!$%^*()_.,:@-]{6,20}", fullmatch=True).filter(
        lambda text: "***" not in text
    ),
    host=st.sampled_from(["h", "10.0.0.1:554", "[::1]:80"]),
)
def test_no_secret_is_left_over(secret, host):
    address = f"rtsp://user:{secret}@{host}/1?Token={secret}&b=1"
    for text in (shown(address), stream_name(address), file_name(address)):
        assert secret not in text


@pytest.mark.parametrize(
    ("address", "file", "stream", "suffix"),
    [
        ("https://h/x/a b.JPG?c=d.png", "a_b.JPG", "h_x_a_b_JPG_c_d_png", ".jpg"),
        (
            "http://127.0.0.1:8080/?action=stream",
            "127_0_0_1_8080_action_stream",
            "127_0_0_1_8080_action_stream",
            "",
        ),
        ("http://h/..%2f..%2fetc%2fpasswd.jpg", "passwd.jpg", "h_2f_2fetc_2fpasswd_jpg", ".jpg"),
        ("rtsp://[::1", "1", "1", ""),
        ("rtsp://", "stream", "stream", ""),
    ],
)
def test_names(address, file, stream, suffix):
    assert (file_name(address), stream_name(address), suffix_of(address)) == (file, stream, suffix)
    assert scheme_of(address) in ("https", "http", "rtsp")


@given(st.text(max_size=200))
def test_names_are_safe_whatever_the_address(text):
    for name in (file_name("http://" + text), stream_name("rtsp://" + text)):
        assert name.strip(".")
        assert not set(name) & set('/\\:*?"<>|\0\n')
        assert len(name) <= 200
