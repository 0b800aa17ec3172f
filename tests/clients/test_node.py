"""OpenAI's own client for Node."""

import json
import shutil
import subprocess
from pathlib import Path

FOLDER = Path(__file__).parent


def test_chat_stream_and_tool(base_url, model):
    node = shutil.which("node")
    assert node is not None
    done = subprocess.run(
        [node, "client.mjs", base_url, model],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["chat"]
    assert said["stream"]
    assert said["tool"]["name"] == "weather"
    assert "city" in json.loads(said["tool"]["arguments"])
    assert said["refusal"] == {"status": 404, "code": "model_not_found"}
