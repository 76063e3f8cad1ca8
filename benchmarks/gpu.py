"""Seconds and memory of a study with a model of 1.1 billion parameters on a GPU, and the estimates.

The model has the shape of TinyLlama (Zhang et al. 2024, arXiv 2401.02385) and random weights, since
neither time nor memory depends on their values; so the results of the study have no meaning. Its
policies are trained in all ways that the trainers offer: all weights, gradient checkpointing,
adapters, adapters of weights in 4 bits (if bitsandbytes is installed). Several jobs share the GPU.
Run as

    snakemake --cores 1 results/sandbox/world/corpus.jsonl
    python benchmarks/gpu.py [--layers 22] [--jobs 3] [--device auto]
"""

import argparse
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import torch
import yaml
from transformers import LlamaConfig, LlamaForCausalLM

from polyalign.cli.status import Entry, read_entries
from polyalign.paths import parse_job
from polyalign.plan.resources import Need
from polyalign.plan.stages import STAGES
from polyalign.runtime.files import atomic_write
from polyalign.sandbox.language_model import build_tokenizer, read_corpus
from polyalign.study import Study, load

FOLDER = Path("results/gpu")
WORLD = "results/sandbox/world"
VOCABULARY = 32000
TEMPLATE = "\n\nHuman: {prompt}\n\nAssistant:"


def make_model(layers: int) -> Path:
    """The folder of the model, which is written if it does not exist."""
    folder = Path(f"results/gpu-model-{layers}")
    if folder.is_dir():
        return folder
    corpus = read_corpus(Path(WORLD, "corpus.jsonl"))
    texts = [*corpus["prompt"], *corpus["response"], TEMPLATE]
    tokenizer = build_tokenizer(texts, VOCABULARY, 2048)
    tokenizer.add_tokens([f"<{number}>" for number in range(VOCABULARY - len(tokenizer))])
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=2048,
        intermediate_size=5632,
        num_hidden_layers=layers,
        num_attention_heads=32,
        num_key_value_heads=4,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype=torch.bfloat16,
    )
    with atomic_write(folder) as draft:
        LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(draft)
        tokenizer.save_pretrained(draft)
    return folder


def study(model: Path, device: str, four_bit: bool) -> dict:
    """The config."""
    rl = {"palettes": ["up"], "steps": 4, "batch_size": 128, "accumulation": 2}
    adapters = {"learning_rate": 1.0e-5, "lora": {"rank": 16}}
    quantised = {"learning_rate": 1.0e-5, "lora": {"rank": 16, "four_bit": four_bit}}
    labelled = {"palettes": ["up"], "pairs": 128, "batch_size": 32, **quantised}
    return {
        "study": FOLDER.name,
        "model": {"source": str(model), "dtype": "bfloat16", "device": device},
        "prompts": {
            "sources": [{"path": f"{WORLD}/hh/helpful-base", "split": "test"}],
            "template": TEMPLATE,
            "limit": 128,
            "test_share": 0.5,
        },
        "sampling": {
            "max_new_tokens": 48,
            "candidates": 8,
            "batch_size": 256,
            "evaluation_candidates": 2,
            "shards": 1,
        },
        "values": {
            "helpful": {
                "kind": "sequence_classifier",
                "model": f"{FOLDER}/models/reward/helpful",
                "template": TEMPLATE + " {response}",
                "dtype": "bfloat16",
                "device": device,
            },
            "perplexity": {"kind": "log_likelihood"},
        },
        "reward_models": {
            "helpful": {"preferences": "helpful", "learning_rate": 1.0e-6, "dtype": "bfloat16"}
        },
        "preferences": {"helpful": {"path": f"{WORLD}/hh/helpful-base"}},
        "palettes": {"up": {"helpful": "q60", "perplexity": "mean"}},
        "map": {"on_infeasible": "adjust", "resamples": 0},
        "policies": {
            "dpo": {
                "mixtures": {"helpful-1": {"helpful": 1.0}},
                "pairs": 128,
                "test_pairs": 32,
                "batch_size": 32,
                "learning_rate": 1.0e-7,
                "gradient_checkpointing": True,
                "labelled": labelled,
            },
            "rloo": {**rl, **adapters},
            "ppo": {**rl, "learning_rate": 1.0e-7},
        },
        "evaluation": {"bootstrap": 100},
        "plots": [],
    }


def estimate(made: Study, entry: Entry) -> Need | None:
    """What the job was expected to need; None for a job that loads no model."""
    job = parse_job(Path(f"{entry.name}.log"), made.values)
    if job.stage not in ("reward_model", "train", "generate", "annotate"):
        return None
    wildcards = {"variant": job.name, "value": job.value or ""}
    if job.policy is not None:
        wildcards |= {"family": job.policy.family, "variant": job.policy.variant}
    return STAGES[job.stage].need(made, wildcards)


def main() -> None:
    """Run the study and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--jobs", type=int, default=3, help="jobs that share the GPU")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    options = parser.parse_args()
    model = make_model(options.layers)
    shutil.rmtree(FOLDER, ignore_errors=True)
    on_gpu = options.device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        print(torch.cuda.get_device_name(), "torch", torch.__version__, flush=True)
    config = FOLDER.with_suffix(".yaml")
    four_bit = on_gpu and find_spec("bitsandbytes") is not None
    config.write_text(yaml.safe_dump(study(model, options.device, four_bit)))
    command = ["-m", "snakemake", "--cores", "all", "--resources", f"gpu={options.jobs}"]
    quiet = ["--quiet", "all", "--keep-going", "--configfile", str(config)]
    done = subprocess.run([sys.executable, *command, *quiet], check=False)
    made = load(config)
    print(f"{'job':<42}{'seconds':>9}{'estimate':>10}{'VRAM MB':>9}{'estimate':>10}")
    for entry in read_entries(FOLDER):
        if entry.state != "done":
            print(f"{entry.name:<42} {entry.state}")
            continue
        expected = estimate(made, entry)
        if expected is not None:
            print(
                f"{entry.name:<42}{entry.record['seconds']:>9.1f}{expected.seconds:>10.1f}"
                f"{entry.record['vram_mb'] or 0:>9}{expected.vram_mb:>10}"
            )
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
