"""Stands in for every script: writes outputs that depend on settings and inputs, at once."""

import hashlib
import json
import sys
from pathlib import Path

PROMPTS = 60
"""Prompts of the table of prompts."""

words = sys.argv[2:]
inputs, outputs, settings, mode = [], [], "", ""
for word in words:
    if word.startswith("--"):
        mode = word
    elif mode == "--input":
        inputs.append(Path(word.partition("=")[2]))
    elif mode == "--output":
        outputs.append(Path(word.partition("=")[2]))
    elif mode == "--settings":
        settings = word
digest = hashlib.sha256(settings.encode())
for path in inputs:
    digest.update(path.read_bytes() if path.is_file() else b"folder")
for path in outputs:
    if sys.argv[1] == "world":
        for name in ("corpus.jsonl", "humor.jsonl"):
            (path / name).write_text(digest.hexdigest())
        for value in ("helpful", "harmless"):
            for split in ("train", "test"):
                (path / f"hh/{value}-base/{split}.jsonl.gz").write_text(digest.hexdigest())
    elif sys.argv[1] == "resolved_config":
        path.write_text(settings)
    elif sys.argv[1] == "solve":
        solved = {"status": "solved", "adjusted": False, "reached": 1.0}
        solved["if_infeasible"] = json.loads(settings)["if_infeasible"]
        solved["content"] = digest.hexdigest()
        path.write_text(json.dumps(solved))
    elif sys.argv[1] == "prompts":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"prompt": [digest.hexdigest()] * PROMPTS}), path)
    elif path.suffix in (
        ".parquet",
        ".json",
        ".csv",
        ".md",
        ".tex",
        ".pdf",
        ".png",
        ".html",
        ".txt",
    ):
        path.write_text(digest.hexdigest())
    else:
        path.mkdir()
        (path / "model.safetensors").write_text(digest.hexdigest())
