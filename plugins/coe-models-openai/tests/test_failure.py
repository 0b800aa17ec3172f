from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from coe_models_openai.failure import Target, from_frame, from_status, retry_after_s
from hypothesis import given
from hypothesis import strategies as st

from coe_core.error import CoeError

NOW = datetime(2026, 11, 3, 12, 0, tzinfo=UTC)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["error", "message", "detail", "code", "type", "param", "status"]),
            inner,
        )
    ),
    max_leaves=10,
)


@given(st.integers(0, 100_000))
def test_retry_after_in_seconds(seconds: int) -> None:
    assert retry_after_s({"Retry-After": str(seconds)}, NOW) == seconds


@given(st.integers(-10_000, 100_000))
def test_retry_after_as_a_date(seconds: int) -> None:
    at = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert retry_after_s({"Retry-After": at}, NOW) == max(0, seconds)


@pytest.mark.parametrize("text", ["", "soon", "nan", "inf", "Thu, 99 Foo 2026"])
def test_retry_after_that_says_nothing(text: str) -> None:
    assert retry_after_s({"Retry-After": text}, NOW) is None
    assert retry_after_s({}, NOW) is None


@given(st.integers(300, 999), st.binary())
def test_any_answer_makes_an_error(status: int, body: bytes) -> None:
    assert isinstance(from_status(Target("a", "h"), status, {}, body), CoeError)


@given(JSON)
def test_any_frame_makes_an_error(body: object) -> None:
    error = from_frame(Target("a", "h"), body)
    assert error.message.startswith("model 'a' at h: ")


@given(st.text(), st.text("0123456789abcdef", min_size=16).map("sk-{}".format), st.text())
def test_secrets_are_cut_out(before: str, secret: str, after: str) -> None:
    error = Target("a", "h", (secret,)).error(CoeError, before + secret + after)
    assert secret not in error.message
    assert "***" in error.message
