"""The workflow that runs the cases at every change."""

from __future__ import annotations

WORKFLOW = """\
# Written by `coe regress init-ci`. Replays need no network, no key and no model.
name: regress
on:
  push:
  pull_request:
permissions:
  contents: read
jobs:
  regress:
    runs-on: ubuntu-latest
    timeout-minutes: 10
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - run: pip install {packages}
      - run: coe regress run --config {config} --junit regress.xml
      - if: always()
        uses: actions/upload-artifact@v4
        with:
          name: regress
          path: regress.xml
"""
