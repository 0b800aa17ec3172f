from pathlib import Path

import pytest

HERE = Path(__file__).parent
OURS_ONLY = ("ignore", "error:::coe_")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let litellm and pydantic warn as they like; our own warnings stay errors."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.filterwarnings(*OURS_ONLY))
