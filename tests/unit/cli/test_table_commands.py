"""The command line: exit statuses, JSON, and one-line errors."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from polyalign import cli
from polyalign.cli.table import WITH_PALETTE, reading
from polyalign.cli.table.output import PRINTED_ROWS, cell
from polyalign.map.dual import solve
from polyalign.palettes import streamed as streamed_pool

KEYS = (
    "values target lam scope status verdict realised kl ess max_weight kkt slack iterations "
    "n_prompts n_samples message warnings"
)


@pytest.fixture
def table(tmp_path):
    draws = np.random.default_rng(0)
    rewards = draws.normal(size=(30, 1, 2)) + draws.normal(size=(30, 10, 2))
    frame = pd.DataFrame(rewards.reshape(-1, 2), columns=["humor", "helpful"])
    frame.insert(0, "prompt", np.repeat([f"question {i}" for i in range(30)], 10))
    frame["response"] = "answer"
    path = tmp_path / "rewards.csv"
    frame.to_csv(path, index=False)
    return path


def run(capsys, *arguments):
    status = cli.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_solve_json_has_the_fixed_keys_and_the_solution(capsys, table):
    targets = ("--target", "humor=q70", "--target", "helpful=0.2")
    status, out, err = run(capsys, "solve", table, *targets, "--json")
    record = json.loads(out)
    assert (status, err) == (0, "")
    assert list(record) == KEYS.split()
    assert record["values"] == ["humor", "helpful"]
    assert record["scope"] == "prompt"
    assert (record["n_prompts"], record["n_samples"]) == (30, 300)
    assert record["kkt"] <= 1e-8
    assert record["slack"] > 0
    frame = pd.read_csv(table)
    groups = pd.factorize(frame["prompt"])[0]
    rewards = frame[["humor", "helpful"]].to_numpy()
    direct = solve(rewards, np.array([np.quantile(rewards[:, 0], 0.7), 0.2]), groups=groups)
    np.testing.assert_allclose(record["lam"], direct.lam, atol=1e-8)
    status, out, _ = run(capsys, "solve", table, *targets)
    assert status == 0
    assert "supported" in out
    assert f"{direct.lam[0]:.4g}" in out


def test_subset_of_values_scope_and_split(capsys, table):
    arguments = ("solve", table, "--target", "helpful=mean+0.1sd", "--scope", "joint", "--json")
    counts = []
    for split in ("all", "fit", "test"):
        record = json.loads(run(capsys, *arguments, "--split", split)[1])
        assert (record["values"], record["scope"]) == (["helpful"], "joint")
        counts.append(record["n_samples"])
    assert counts[0] == counts[1] + counts[2] == 300
    assert min(counts) > 0


def test_infeasible_is_status_3(capsys, table):
    status, out, _ = run(capsys, "solve", table, "--target", "humor=99", "--json")
    record = json.loads(out)
    assert status == 3
    assert (record["verdict"], record["lam"], record["kl"]) == ("infeasible", [None], None)
    assert record["status"] == "infeasible"
    assert record["slack"] < 0
    assert "humor" in record["message"]
    status, out, _ = run(capsys, "feasible", table, "--target", "humor=99", "--json")
    record = json.loads(out)
    assert status == 3
    assert record["conflict"] == ["humor"]
    assert 0 < record["supportable_share"] < record["share"] < 1
    nearest = record["nearest"][0]
    # 300 samples are fewer effective ones than 100 as soon as they are thinned to 30.
    few = table.with_name("few.csv")
    pd.read_csv(table).iloc[::10].to_csv(few, index=False)
    status, out, _ = run(capsys, "feasible", few, "--target", "humor=q60", "--json")
    thin = json.loads(out)
    assert status == 0
    assert (thin["scope"], thin["supportable_share"], thin["supportable"]) == (
        "joint",
        None,
        [None],
    )
    assert "none supportable" in run(capsys, "feasible", few, "--target", "humor=q60")[1]
    status, _, _ = run(capsys, "feasible", table, "--target", f"humor={nearest - 1e-6}")
    assert status == 0
    status, out, _ = run(capsys, "sequential", table, "--target", "humor=99", "--json")
    assert status == 3
    assert json.loads(out)["verdict"] == "infeasible"
    status, out, err = run(capsys, "sequential", table, "--target", "humor=99")
    assert (status, err) == (3, "")
    assert "out of reach" in out
    out = run(capsys, "solve", table, "--target", "humor=99")[1]
    assert "nan" not in out


def test_feasible_tells_how_far_each_value_alone_could_go(capsys, table):
    targets = ("--target", "humor=q60", "--target", "helpful=q60")
    record = json.loads(run(capsys, "feasible", table, *targets, "--json")[1])
    for i, (held, raised) in enumerate((("helpful", "humor"), ("humor", "helpful"))):
        fixed = ("--target", f"{held}={record['target'][1 - i]!r}")
        edge = record["highest"][i]
        for level, feasible in ((edge - 1e-6, True), (edge + 1e-6, False)):
            at = ("--target", f"{raised}={level!r}")
            assert (run(capsys, "solve", table, *fixed, *at)[0] == 3) is not feasible
        for level, verdict in ((-1e-6, "supported"), (1e-6, "unsupported")):
            at = ("--target", f"{raised}={record['highest_supportable'][i] + level!r}")
            solved = json.loads(run(capsys, "solve", table, *fixed, *at, "--json")[1])
            assert solved["verdict"] == verdict
    out = run(capsys, "feasible", table, *targets)[1]
    assert f"{record['highest'][0]:.4g}  " in out
    assert out.splitlines()[3].endswith(f"{record['highest_supportable'][0]:.4g}")
    apart = ("--target", "humor=99", "--target", "helpful=mean")
    record = json.loads(run(capsys, "feasible", table, *apart, "--json")[1])
    assert record["highest"][1] is record["highest_supportable"][1] is None
    assert record["highest"][0] > record["highest_supportable"][0]


def test_limits_of_feasible_are_those_asked_for(capsys, table):
    arguments = ("feasible", table, "--target", "humor=mean", "--target", "helpful=99", "--json")
    wide = json.loads(run(capsys, *arguments)[1])
    for limit in (("--min-ess", "6"), ("--max-norm", "0.1")):
        tight = json.loads(run(capsys, *arguments, *limit)[1])
        assert tight["highest"] == wide["highest"]
        assert tight["highest_supportable"][1] < wide["highest_supportable"][1]
        assert tight["supportable_share"] < wide["supportable_share"]
    level = tight["highest_supportable"][1]
    at = ("--target", "humor=mean", "--target", f"helpful={level!r}")
    solved = json.loads(run(capsys, "solve", table, *at, "--json")[1])
    assert sum(solved["lam"]) == pytest.approx(0.1, abs=1e-6)


def test_a_lam_without_a_certificate_is_status_1(capsys, table):
    arguments = ("feasible", table, "--target", "humor=99", "--target", "helpful=99", "--json")
    edge = json.loads(run(capsys, *arguments)[1])["nearest"]
    # Past the exact edge by less than what still counts as on it: feasible, but lam is infinite.
    past = [
        f"{name}={level + 3e-9!r}" for name, level in zip(("humor", "helpful"), edge, strict=True)
    ]
    targets = ("--target", past[0], "--target", past[1])
    status, out, err = run(capsys, "solve", table, *targets, "--json")
    record = json.loads(out)
    assert (status, err) == (1, "")
    assert (record["status"], record["verdict"]) == ("stalled", "unsupported")
    assert record["kkt"] > 1e-6
    status, out, _ = run(capsys, "solve", table, *targets)
    assert status == 1
    assert "at the edge" in out
    solved = json.loads(run(capsys, "solve", table, "--target", "humor=q60", "--json")[1])
    assert solved["status"] == "solved"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["solve", "TABLE", "--target", "humour=q70"], "no column 'humour'"),
        (["solve", "TABLE", "--target", "humor=often"], "--target humor: level 'often'"),
        (["solve", "TABLE", "--target", "humor"], "expected NAME=LEVEL"),
        (["solve", "TABLE", "--target", "humor=1", "--target", "humor=2"], "given twice"),
        (["solve", "TABLE"], "--target"),
        (["solve", "TABLE", "--target", "humor=1", "--scope", "all"], "scope"),
        (["solve", "missing.csv", "--target", "humor=1"], "missing.csv: no such table"),
        (["solve", "missing.parquet", "--target", "humor=1"], "no such table"),
        (["random", "TABLE", "--value", "humor"], "at least 2"),
        (["random", "TABLE", "--value", "humor", "--value", "humor"], "named twice"),
        (["pareto", "TABLE", "--value", "humor"], "2 or 3"),
        (["pareto", "TABLE", "--value", "humor", "--value", "helpful", "--kl", "9"], "budget"),
        (["sequential", "TABLE", "--target", "humor=q60", "--block", "helpful"], "--block"),
        (["feasible", "TABLE", "--target", "humor=q60", "--max-norm", "0"], "--max-norm: 0.0"),
        (["feasible", "TABLE", "--target", "humor=q60", "--min-ess", "nan"], "above 0"),
        (["levels", "TABLE", "--lam", "humour=1"], "no value humour"),
        (["sequential", "TABLE", "--target", "humor=q60", "--rounds", "0"], "blocks humor"),
        (["levels", "TABLE", "--lam", "humor=x"], "expected a number"),
        (["levels", "TABLE", "--lam", "humor=nan"], "expected a number"),
        (["random", "TABLE", "--seed", "-1"], "a seed of at least 0"),
        (["random", "TABLE", "--cap", "0"], "a cap above 0"),
        (["random", "TABLE", "--count", "0"], "1 palette"),
        (["pareto", "TABLE", "--value", "humor", "--value", "helpful", "--kl", "nan"], "budget"),
        (["solve", "TABLE", "--target", "humor=1", "--split", "dev"], "--split"),
        (["slove", "TABLE"], "no command 'slove'; expected one of solve, feasible"),
        (["slove", "TABLE"], "write 'solve'"),
        (["--json"], "COMMAND"),
        (["solve", "TABLE", "--target", "humour=q70"], "write 'humor'"),
        (["solve", "TABLE", "--targt", "humor=q70"], "no option --targt; write '--target'"),
        (["solve", "TABLE", "--target", "n_tokens=q60"], "'n_tokens' is a column of every table"),
        (["levels", "TABLE", "--value", "logprob"], "'logprob' is a column of every table"),
        (["levels", "TABLE", "--lam", "humour=1"], "write 'humor'"),
        (["levels", "TABLE", "-o", "levels.xlsx"], "expected a .csv, .parquet or .json file"),
        (["levels", "TABLE", "-o", "/dev/null/levels.csv"], "cannot be written"),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys, table, arguments, message):
    status, out, err = run(capsys, *[str(table) if a == "TABLE" else a for a in arguments])
    assert (status, out) == (2, "")
    assert err.startswith("polyalign: ")
    assert err.count("\n") == 1
    assert message in err


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl", "json"])
def test_every_format_gives_the_same_answer(capsys, table, tmp_path, ending):
    frame = pd.read_csv(table)
    path = tmp_path / f"other.{ending}"
    if ending == "parquet":
        frame.to_parquet(path)
    elif ending == "csv":
        frame.to_csv(path, index=False)
    elif ending == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:  # that of the MAP authors: prompt and response in one text
        frame["generated"] = frame["prompt"] + " " + frame.pop("response")
        frame.to_json(path, orient="records")
    found = [
        json.loads(run(capsys, "solve", p, "--target", "humor=q70", "--json")[1])
        for p in (table, path)
    ]
    assert found[0]["lam"] == pytest.approx(found[1]["lam"], rel=1e-9)
    assert found[0]["n_prompts"] == found[1]["n_prompts"] == 30


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl", "streamed.parquet"])
@pytest.mark.parametrize("bad", [np.nan, "x"])
def test_a_text_or_nan_is_named_with_its_row(capsys, monkeypatch, table, tmp_path, ending, bad):
    if ending == "streamed.parquet":
        monkeypatch.setattr(reading, "STREAM_CELLS", 10)
        monkeypatch.setattr(streamed_pool, "BATCH_ROWS", 3)
    frame = pd.read_csv(table)
    frame["humor"] = frame["humor"].astype(object)
    frame.loc[7, "humor"] = bad
    path = tmp_path / f"bad.{ending}"
    if ending.endswith("parquet"):
        frame.astype({"humor": str if bad == "x" else float}).to_parquet(path)
    elif ending == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=True)
    status, out, err = run(capsys, "solve", path, "--target", "humor=q70")
    assert (status, out) == (2, "")
    assert "'humor'" in err
    assert "row 7" in err


def test_a_long_list_is_cut_as_text_but_not_as_json(capsys, table):
    arguments = ("random", table, "--count", "200", "--cap", "9")
    record = json.loads(run(capsys, *arguments, "--json")[1])
    lines = run(capsys, *arguments)[1].splitlines()
    assert len(record["lam"]) > PRINTED_ROWS == len(lines) - 3
    assert f"and {len(record['lam']) - PRINTED_ROWS} more" in lines[-1]


def test_pareto_random_sequential_and_levels(capsys, table):
    values = ("--value", "humor", "--value", "helpful")
    record = json.loads(run(capsys, "pareto", table, *values, "--kl", "0.7", "--json")[1])
    np.testing.assert_allclose(record["kl"], 0.7, atol=1e-9)
    assert len(record["levels"]) == 17
    assert record["hypervolume"] > 0
    arguments = ("random", table, "--count", "50", "--seed", "3", "--cap", "2", "--json")
    first = run(capsys, *arguments)[1]
    assert first == run(capsys, *arguments)[1]
    record = json.loads(first)
    assert record["success"] == len(record["lam"]) / 50
    assert max(sum(lam) for lam in record["lam"]) <= 2
    targets = ("--target", "humor=q65", "--target", "helpful=q65")
    arguments = ("sequential", table, *targets, "--rounds", "30", "--json")
    record = json.loads(run(capsys, *arguments)[1])
    np.testing.assert_allclose(record["lam"][-1], record["simultaneous"]["lam"], atol=1e-4)
    arguments = (
        "sequential",
        table,
        *targets,
        "--rounds",
        "1",
        "--block",
        "humor,helpful",
        "--json",
    )
    record = json.loads(run(capsys, *arguments)[1])
    np.testing.assert_allclose(record["lam"][0], record["simultaneous"]["lam"], atol=1e-6)
    lam = record["lam"][0]
    given = ("--lam", f"humor={lam[0]!r}", "--lam", f"helpful={lam[1]!r}")
    record = json.loads(run(capsys, "levels", table, *given, "--json")[1])
    frame = pd.read_csv(table)
    np.testing.assert_allclose(record["levels"], frame[record["values"]].quantile(0.65), atol=1e-6)
    np.testing.assert_allclose(record["base"], frame[record["values"]].mean())
    header, *lines = run(capsys, "levels", table, *given)[1].splitlines()
    assert header.endswith("level  quantile")
    for line, share in zip(lines, record["level_quantiles"], strict=False):
        assert line.endswith(f"  q{100 * share:.4g}")


@pytest.mark.parametrize(
    "command", ["solve", "feasible", "sequential", "pareto", "random", "levels"]
)
def test_every_command_is_readable_on_a_terminal(capsys, table, command):
    extra = {
        "pareto": ["--value", "humor", "--value", "helpful", "--points", "3"],
        "random": ["--count", "5"],
        "levels": [],
    }.get(command, ["--target", "humor=q60", "--target", "helpful=q60"])
    status, out, _ = run(capsys, command, table, *extra)
    assert status == 0
    assert "humor" in out
    assert "helpful" in out
    assert len(out.splitlines()) >= 3
    assert max(map(len, out.splitlines())) <= 200


def test_large_parquet_tables_are_streamed_to_the_same_answer(capsys, table, monkeypatch, tmp_path):
    path = tmp_path / "rewards.parquet"
    frame = pd.read_csv(table)
    frame["prompt_id"] = frame["prompt"]
    frame["candidate"] = frame.groupby("prompt").cumcount()
    frame.to_parquet(path)
    arguments = ("solve", path, "--target", "humor=q70", "--json")
    memory = json.loads(run(capsys, *arguments)[1])
    monkeypatch.setattr(reading, "STREAM_CELLS", 10)
    streamed = json.loads(run(capsys, *arguments)[1])
    np.testing.assert_allclose(streamed["lam"], memory["lam"], atol=1e-8)
    assert streamed["n_prompts"] == 30
    assert list(streamed) == KEYS.split()


@pytest.mark.parametrize("split", ["fit", "test"])
def test_a_streamed_split_is_derived_as_in_memory(capsys, table, monkeypatch, tmp_path, split):
    path = tmp_path / "rewards.parquet"
    pd.read_csv(table).to_parquet(path)  # without a column `split`
    arguments = ("solve", path, "--target", "humor=q70", "--split", split, "--json")
    memory = json.loads(run(capsys, *arguments)[1])
    monkeypatch.setattr(reading, "STREAM_CELLS", 10)
    monkeypatch.setattr(streamed_pool, "BATCH_ROWS", 7)
    streamed = json.loads(run(capsys, *arguments)[1])
    assert 0 < streamed["n_samples"] == memory["n_samples"] < 300
    assert streamed["n_prompts"] == memory["n_prompts"]
    np.testing.assert_allclose(streamed["lam"], memory["lam"], atol=1e-8)


def _repeated(frame):
    frame["prompt_id"] = frame["prompt"].str.removeprefix("question ").astype(int)
    frame["candidate"] = frame.groupby("prompt").cumcount()
    frame.loc[29, "candidate"] = 3  # prompt 2 has its candidate 3 in row 23
    return frame


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_repeated, "(prompt_id 2, candidate 3) occurs twice, again in row 29"),
        (lambda frame: frame.rename(columns={"prompt": "query"}), "no column 'prompt'"),
        (lambda frame: frame.assign(humor=pd.Timestamp("2020-01-01")), "value 'humor' is "),
        (lambda frame: frame.assign(humor=frame["humor"] * 1e300), "of at most 1e+100"),
        (lambda frame: frame.assign(humor="funny"), "value 'humor' is 'funny' in row 0"),
        (lambda frame: frame.drop(columns="humor"), "no column"),
    ],
    ids=["a key twice", "no prompt", "date", "huge", "text", "no value"],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_table_that_is_refused_in_memory_is_refused_in_parts(
    capsys, table, monkeypatch, tmp_path, spoil, message, streamed
):
    if streamed:
        monkeypatch.setattr(reading, "STREAM_CELLS", 10)
        monkeypatch.setattr(streamed_pool, "BATCH_ROWS", 7)
    path = tmp_path / "rewards.parquet"
    spoil(pd.read_csv(table)).to_parquet(path)
    status, out, err = run(capsys, "solve", path, "--target", "humor=q70")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_different_keys_with_equal_hashes_are_not_duplicates(capsys, table, monkeypatch, tmp_path):
    monkeypatch.setattr(reading, "STREAM_CELLS", 10)
    monkeypatch.setattr(streamed_pool, "_hashes", lambda keys: np.zeros(len(keys), dtype=np.uint64))
    frame = pd.read_csv(table)
    frame["candidate"] = frame.groupby("prompt").cumcount()
    path = tmp_path / "rewards.parquet"
    frame.to_parquet(path)
    assert run(capsys, "solve", path, "--target", "humor=q70")[0] == 0


def test_help_starts_without_heavy_modules():
    code = (
        "import sys\nfrom polyalign.cli import build_parser\nbuild_parser()\n"
        "print({'torch', 'scipy', 'pandas', 'pyarrow', 'transformers'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_solve_warns_of_what_lam_cannot_change(capsys, table, ending, monkeypatch):
    """In memory, and streamed as a large table is."""
    monkeypatch.setattr(reading, "STREAM_CELLS", 0)
    frame = pd.read_csv(table).assign(flat=0.5, rare=[float(row % 10 == 0) for row in range(300)])
    path = table.with_suffix(f".{ending}")
    frame.to_csv(path, index=False) if ending == "csv" else frame.to_parquet(path)
    targets = [f"--target={name}" for name in ("humor=q70", "flat=mean", "rare=q70")]
    status, out, _ = run(capsys, "solve", path, *targets)
    assert status == 0
    flat, rare = [line for line in out.splitlines() if line.startswith("warning: ")]
    assert flat.startswith("warning: flat is 0.5 for every sample")
    assert rare.startswith("warning: rare: q70 is 0, and the base policy's mean is 0.1 already")
    _, out, _ = run(capsys, "solve", path, *targets, "--json")
    assert [f"warning: {one}" for one in json.loads(out)["warnings"]] == [flat, rare]
    status, _, err = run(capsys, "solve", path, "--target", "humor=q0.7")
    assert status == 2
    assert "write q70" in err


def test_any_locale_will_do(table):
    """Files are UTF-8 whatever the locale is, and what it cannot show is escaped."""
    frame = pd.read_csv(table).assign(flat=0.5)
    frame["prompt"] = "Grüße: " + frame["prompt"]
    frame.to_csv(table, index=False)
    code = "import sys; from polyalign.cli import main; sys.exit(main(sys.argv[1:]))"
    targets = ["--target", "humor=q60", "--target", "flat=mean"]
    done = subprocess.run(
        [sys.executable, "-c", code, "solve", table, *targets],
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": ""},
        capture_output=True, check=True,
    )  # fmt: skip
    assert rb"and its \u03bb is 0" in done.stdout


def test_without_a_command_the_help_is_printed(capsys):
    status, out, err = run(capsys)
    assert (status, err) == (0, "")
    assert out.startswith("usage: polyalign")
    assert all(name in out for name in cli.COMMANDS)


def test_every_command_is_known_and_its_help_has_an_example(capsys):
    (commands,) = [
        action.choices for action in cli.build_parser()._actions if action.dest == "COMMAND" or
        (hasattr(action, "choices") and isinstance(action.choices, dict))
    ]  # fmt: skip
    assert tuple(commands) == cli.COMMANDS
    for name, parser in commands.items():
        if name not in cli.HELPERS:
            shown = parser.format_help()
            assert f"example: polyalign {name} " in shown
            assert ("3 the palette is infeasible" in " ".join(shown.split())) == (
                name in WITH_PALETTE
            )


def test_version_and_module():
    called = [sys.executable, "-m", "polyalign", "--version"]
    done = subprocess.run(called, capture_output=True, text=True, check=True)
    assert done.stdout == f"polyalign {cli.__version__}\n"


def test_a_reader_that_stops_early_is_no_error(table):
    """As `polyalign random … | head -1`, with more output than a pipe holds."""
    called = [sys.executable, "-m", "polyalign", "random", str(table), "--count", "9999", "--json"]
    with subprocess.Popen(called, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == cli.BROKEN_PIPE


@pytest.mark.parametrize("ending", ["csv", "parquet", "json"])
def test_an_answer_is_written_to_a_file_in_full(capsys, table, tmp_path, ending):
    output = tmp_path / f"made/palettes.{ending}"
    status, out, _ = run(capsys, "random", table, "--count", "200", "-o", output)
    assert status == 0
    assert "-o FILE has all" in out
    record = json.loads(run(capsys, "random", table, "--count", "200", "--json")[1])
    if ending == "json":
        assert json.loads(output.read_text()) == record
        return
    frame = pd.read_csv(output) if ending == "csv" else pd.read_parquet(output)
    assert len(frame) == len(record["targets"]) > PRINTED_ROWS
    np.testing.assert_array_equal(frame[["humor", "helpful"]], record["targets"])
    np.testing.assert_array_equal(frame["KL"], record["kl"])


def test_a_split_that_the_table_does_not_have_is_said(capsys, table, monkeypatch, tmp_path):
    said = f"note: {table} has no column 'split'; test is one half of the prompts"
    arguments = ("--target", "humor=q60", "--split", "test")
    status, _, err = run(capsys, "solve", table, *arguments)
    assert status == 0
    assert err.startswith(said)
    assert err.count("\n") == 1
    path = tmp_path / "rewards.parquet"
    frame = pd.read_csv(table)
    frame.to_parquet(path)
    monkeypatch.setattr(reading, "STREAM_CELLS", 10)
    assert "has no column 'split'" in run(capsys, "solve", path, *arguments)[2]
    frame.assign(split="test").to_parquet(path)
    assert run(capsys, "solve", path, *arguments)[2] == ""


def test_scope_joint_carries_a_caution(capsys, table):
    targets = ("--target", "humor=q60")
    said = "caution: scope joint weighs prompts too"
    for command in (("solve", *targets), ("feasible", *targets), ("levels", "--lam", "humor=1")):
        name, *rest = command
        assert said not in run(capsys, name, table, *rest)[1]
        assert said in run(capsys, name, table, *rest, "--scope", "joint")[1]
    assert said not in run(capsys, "levels", table, "--scope", "joint")[1]


def test_a_prompt_may_be_known_by_its_id_alone(capsys, table, tmp_path):
    path = tmp_path / "ids.csv"
    pd.read_csv(table).rename(columns={"prompt": "prompt_id"}).to_csv(path, index=False)
    for arguments in (["solve", "--target", "humor=q70"], ["levels"]):
        name, *rest = arguments
        assert run(capsys, name, path, *rest) == run(capsys, name, table, *rest)


def test_row_numbers_of_pandas_are_no_value(capsys, table, tmp_path):
    path = tmp_path / "index.csv"
    pd.read_csv(table).to_csv(path)
    assert run(capsys, "levels", path) == run(capsys, "levels", table)


def test_the_name_of_a_value_may_have_an_equals_sign(capsys, table, tmp_path):
    path = tmp_path / "equals.csv"
    pd.read_csv(table).rename(columns={"humor": "a=b"}).to_csv(path, index=False)
    named = json.loads(run(capsys, "solve", path, "--target", "a=b=q70", "--json")[1])
    plain = json.loads(run(capsys, "solve", table, "--target", "humor=q70", "--json")[1])
    assert (named["values"], named["lam"]) == (["a=b"], plain["lam"])


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (12345.6, "12346"),
        (9999.4, "9999"),
        (1.23456e-7, "1.235e-07"),
        (1e12, "1e+12"),
        (1.5, "1.5"),
    ],
)
def test_large_counts_have_no_exponent(number, text):
    assert cell(number) == text


def test_words_of_targets_on_the_command_line(capsys, table, tmp_path):
    frame = pd.read_csv(table)
    frame["topic"] = np.where(frame["prompt"].str.endswith("3"), "three", "other")
    frame.to_csv(table, index=False)
    asked = {
        "humor<=mean": "humor <=", "helpful=<=mean": "helpful <=", "humor>=mean": "humor",
        "share(humor >= 0)=0.6": "share(humor >= 0)",
        "helpful[topic=three]=mean": "helpful[topic=three]",
        "share(humor > 0)[topic=three]<=0.5": "share(humor > 0)[topic=three] <=",
    }  # fmt: skip
    for word, row in asked.items():
        status, out, err = run(capsys, "solve", table, "--target", word, "--json")
        assert (status, err) == (0, "")
        assert json.loads(out)["values"] == [row]
    status, out, _ = run(
        capsys, "solve", table, "--target", "humor=between mean and q60", "--target", "helpful<=q40"
    )
    assert status == 0
    assert [line.split("  ")[0] for line in out.splitlines() if "=" in line[:11]] == [
        "humor >=", "humor <=", "helpful <="
    ]  # fmt: skip
    status, out, _ = run(
        capsys, "solve", table, "--target", "humor=maximise within 0.01 nats",
        "--target", "helpful=q75",
    )  # fmt: skip
    assert status == 3
    assert out.startswith("infeasible: the other levels alone need")
    for command in ("feasible", "quantile", "sequential", "diagnose"):
        assert (
            run(capsys, command, table, "--target", "humor<=q40", "--target", "helpful=q55")[0] == 0
        )
    for words in (("humor<=mean", "humor=q40"), ("humor=between q70 and q20",), ("humor<",)):
        arguments = [one for word in words for one in ("--target", word)]
        status, _, err = run(capsys, "solve", table, *arguments)
        assert (status, err.count("\n")) == (2, 1)
        assert "expected" in err


def test_shares_and_ceilings_are_chosen_by(capsys, table, tmp_path):
    path = tmp_path / "chosen.csv"
    targets = ("--target", "share(humor > 1)=0.4", "--target", "helpful<=mean-0.2sd")
    status, out, _ = run(capsys, "choose", table, *targets, "--answers", path, "--json")
    record = json.loads(out)
    assert status == 0
    assert record["values"] == ["share(humor > 1)", "helpful"]
    frame = pd.read_csv(table)
    assert record["expected"][0] == pytest.approx(0.4, abs=1e-6)
    helpful = frame["helpful"]
    assert record["expected"][1] == pytest.approx(
        helpful.mean() - 0.2 * helpful.std(ddof=0), abs=1e-6
    )
    assert record["lam"][1] < 0
    saved = tmp_path / "solution.json"
    run(capsys, "solve", table, *targets, "--json", "-o", saved)
    again = run(capsys, "choose", table, "--palette", saved, "--answers", path, "--json")[1]
    assert json.loads(again)["expected"] == pytest.approx(record["expected"])
