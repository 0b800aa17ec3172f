"""The published question set is what its page says, and its paraphrases are some."""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "specs" / "retrieval"


def test_every_question_has_one_section_and_every_paraphrase_other_words() -> None:
    ran = subprocess.run(
        [sys.executable, FOLDER / "check.py"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    first, second, *_ = ran.stdout.splitlines()
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f" {count}" in page for count in first.split() if count.isdigit())
    assert second.startswith("203 plain, 203 paraphrased, 25 cross")
