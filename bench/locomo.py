"""A round trip with other people's conversations: import, verify, rebuild, export, compare.

Run with `python bench/locomo.py FOLDER [COPIES]`, where FOLDER holds LoCoMo's conversations as JSON
(https://github.com/snap-research/locomo, research use). Each file becomes a group, each of its
sessions a session; with COPIES every session is there as often, under ids of its own. All of it
goes through the commands that an operator types. CPU is that of the command, its start included.
Exits with 1, and says so, when anything is lost or changed.
"""

from __future__ import annotations

import json
import resource
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import frozen

COE = Path(sys.executable).with_name("coe")
TABLES = ("interactions", "chat_messages", "attempts", "feedback", "segments")


def conversations(path: Path, copies: int) -> Iterator[dict[str, Any]]:
    """Read a file as OpenAI-style lines: the first speaker asks, the second answers."""
    told = json.loads(path.read_text(encoding="utf-8"))
    for copy in range(copies):
        for name, said in told.items():
            if isinstance(said, list) and (at := told.get(f"{name}_date_time")):
                yield {
                    "session_id": f"{path.stem}-{name}-{copy}",
                    "started_at": _instant(at),
                    "messages": [_message(each, told["speaker_a"]) for each in said],
                    "metadata": {"dia_ids": [each["dia_id"] for each in said]},
                }


def _instant(text: str) -> str:
    at = datetime.strptime(text, "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S.%fZ}"


def _message(said: dict[str, Any], asker: str) -> dict[str, Any]:
    role = "user" if said["speaker"] == asker else "assistant"
    if not said.get("img_url"):
        return {"role": role, "name": said["speaker"], "content": said["text"]}
    images = [{"type": "image_url", "image_url": {"url": url}} for url in said["img_url"]]
    content = [{"type": "text", "text": said["text"]}, *images]
    return {"role": role, "name": said["speaker"], "content": content}


@frozen
class Deployment:
    """A data folder, and the commands of whoever runs it."""

    folder: Path

    def coe(self, *arguments: str | Path, count: int = 0) -> str:
        """Run a command, print its CPU time, and return what it prints."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [COE, "records", *arguments, "--data", self.folder]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        each = f", {1e3 * cpu_s / count:.2f} ms each of {count}" if count else ""
        print(f"  {' '.join(map(str, arguments[:1])):8} {cpu_s:6.2f} s CPU{each}")
        return printed

    def import_(self, group: str, lines: list[dict[str, Any]]) -> None:
        """Take a group's conversations over."""
        path = self.folder.with_name(f"{group}.jsonl")
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        told = json.loads(self.coe("import", path, "--group", group, "--json", count=len(lines)))
        print(f"  {group}: {told['turns']} turns of {told['lines']} conversations")
        insist(told["lines"] == len(lines), f"{told['lines']} conversations were read")
        insist(not told["rejected"] and not told["known"], "not all of them were taken")

    def export(self, group: str, count: int) -> dict[str, dict[str, Any]]:
        """Export a group's conversations, by session."""
        path = self.folder.with_name(f"{group}.exported.jsonl")
        self.coe("export", path, "--group", group, count=count)
        with path.open(encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
        return {line["session_id"]: line for line in lines}

    def rows(self) -> dict[str, list[Any]]:
        """Read every table."""
        with sqlite3.connect(f"file:{self.folder}/coe.db?mode=ro", uri=True) as connection:
            return {t: list(connection.execute(f"SELECT * FROM {t}")) for t in TABLES}


def compare(wanted: list[dict[str, Any]], found: dict[str, dict[str, Any]], group: str) -> int:
    """Return how many messages came back as they were, with all that belongs to them."""
    insist(len(found) == len(wanted), f"of {len(wanted)} sessions {len(found)} came back")
    for line in wanted:
        back = found[line["session_id"]]
        for member, value in {**line, "group": group}.items():
            insist(back[member] == value, f"{line['session_id']}: {member} came back changed")
    return sum(len(line["messages"]) for line in wanted)


def insist(holds: bool, otherwise: str) -> None:  # noqa: FBT001 it reads as a sentence
    """End the run unless something holds."""
    if not holds:
        sys.exit(f"LOST: {otherwise}")


def round_trip(files: list[Path], copies: int, root: Path) -> None:
    """Make it, and print what came of it."""
    deployment = Deployment(root / "data")
    groups = {f"group-{path.stem}": list(conversations(path, copies)) for path in files}
    for group, lines in groups.items():
        deployment.import_(group, lines)
    print("  " + deployment.coe("verify").strip())
    before = deployment.rows()
    (deployment.folder / "coe.db").unlink()
    print("  " + deployment.coe("rebuild").strip())
    insist(deployment.rows() == before, "the tables came back changed")
    print(f"  row for row as before: {', '.join(f'{len(r)} {t}' for t, r in before.items())}")
    for group, lines in groups.items():
        messages = compare(lines, deployment.export(group, len(lines)), group)
        print(f"  {group}: {messages} messages in {len(lines)} sessions came back as they were")


def main() -> None:
    """Read the arguments, and go."""
    folder, copies = [*sys.argv[1:], None, None][:2]
    files = sorted(Path(folder).glob("*.json")) if folder else []
    if not files:
        print("nothing measured: name the folder that holds LoCoMo's conversations as *.json")
        return
    with tempfile.TemporaryDirectory() as name:
        print(f"{len(files)} conversations, {copies or 1} times")
        round_trip(files, int(copies or 1), Path(name))


if __name__ == "__main__":
    main()
