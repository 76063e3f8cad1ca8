"""Memory and time of a soup, compared with the same average of two models held in memory.

There are two models of three shards each. The aim is a peak of at most 1.2 × the largest shard of
the larger model + 200 MB, imports included. Run as

    python benchmarks/soup.py [--megabytes 300]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SHARDS = 3
STREAMED = "from polyalign.train.soup import make_soup; make_soup([(one, 0.4), (two, 0.6)], output)"
IN_MEMORY = """
from safetensors.numpy import load_file, save_file
import os
os.mkdir(output)
models = [{}, {}]
for model, folder in zip(models, (one, two)):
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors"):
            model[name] = load_file(f"{folder}/{name}")
for shard, tensors in models[0].items():
    other = models[1][shard]
    save_file({key: 0.4 * tensors[key] + 0.6 * other[key] for key in tensors}, f"{output}/{shard}")
"""
# Not ru_maxrss, which a child takes over from the process that started it.
CHILD = """
import sys
from pathlib import Path
one, two, output = sys.argv[1:]
{body}
(line,) = (l for l in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in l)
print(int(line.split()[1]) * 1024)
"""


def write_model(folder: Path, megabytes: int, seed: int) -> None:
    """A model of SHARDS shards of `megabytes` MB each, four tensors in a shard."""
    from safetensors.numpy import save_file

    folder.mkdir()
    (folder / "config.json").write_text("{}")
    rng = np.random.default_rng(seed)
    names = {}
    for shard in range(SHARDS):
        file = f"model-{shard + 1:05}-of-{SHARDS:05}.safetensors"
        rows = megabytes * 10**6 // 4 // 4 // 1000
        tensors = {
            f"layers.{shard}.{n}": rng.standard_normal((rows, 1000), dtype=np.float32)
            for n in range(4)
        }
        save_file(tensors, folder / file)
        names |= dict.fromkeys(tensors, file)
    index = {"metadata": {}, "weight_map": names}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def measure(body: str, one: Path, two: Path, output: Path) -> tuple[float, float]:
    """Peak memory (MB) and wall time (s) of one way to make the soup, in a separate process."""
    began = time.perf_counter()
    command = [sys.executable, "-c", CHILD.format(body=body), str(one), str(two), str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return int(done.stdout) / 1e6, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=300, help="size of a shard")
    megabytes = parser.parse_args().megabytes
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for seed, name in enumerate(("one", "two")):
            write_model(folder / name, megabytes, seed)
        limit = 1.2 * megabytes + 200
        print(f"two models of {SHARDS} shards of {megabytes} MB; the aim is {limit:.0f} MB")
        print(f"{'way':<12}{'peak, MB':>10}{'seconds':>10}")
        peaks = {}
        for way, body in (("streamed", STREAMED), ("in memory", IN_MEMORY)):
            output = folder / way.replace(" ", "-")
            peaks[way], seconds = measure(body, folder / "one", folder / "two", output)
            print(f"{way:<12}{peaks[way]:>10.0f}{seconds:>10.1f}")
    print("the aim is met" if peaks["streamed"] <= limit else "the aim is MISSED")


if __name__ == "__main__":
    main()
