"""The answers of all policies to the same test prompts, to search and to sort on the page."""

import json
from collections.abc import Mapping
from html import escape
from typing import Any

import pandas as pd

from polyalign.data.chats import shown
from polyalign.errors import InputError
from polyalign.evaluate.clusters import check_columns, judged_rows
from polyalign.families import BASE
from polyalign.report.text import answer, visible

MOST_LETTERS = 2_500_000
"""Letters of prompts and answers on a page, which must stay small enough to be sent."""

SCRIPT = """
const field = document.getElementById("answers"), data = JSON.parse(
  document.getElementById("answers-data").textContent);
const find = name => field.querySelector(`[name=${name}]`), AT_ONCE = 3;
const make = (tag, text, kind) => {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (kind) { made.className = kind; if (kind.includes("user")) made.dir = "auto"; }
  return made;
};
const number = x => x === null ? "\\u2013" : String(+x.toPrecision(3)).replace("-", "\\u2212");
const base = Math.max(0, data.policies.indexOf(data.base));
const ranked = data.values.map((_, v) => data.prompts.map(one => one.answers[base][1][v])
  .filter(x => x !== null).sort((a, b) => a - b));
const ground = (x, v) => {  // blue above, brown below the middle of the base model's answers
  const all = ranked[v], below = all.filter(one => one < x).length;
  const share = (below + all.filter(one => one === x).length / 2) / all.length - 0.5;
  return `rgba(${share > 0 ? "31, 78, 121" : "127, 74, 30"}, ${0.6 * Math.abs(share)})`;
};
data.prompts.forEach(one => {
  one.text = [one.prompt, ...one.texts].join("\\n").toLowerCase();
});
data.policies.forEach(name => find("policy").append(make("option", name)));
data.values.forEach(name => find("value").append(make("option", name)));
find("policy").selectedIndex = base === 0 && data.policies.length > 1 ? 1 : 0;
let shown = [], at = 0;
const gain = one => {
  const value = find("value").selectedIndex;
  return one.answers[find("policy").selectedIndex][1][value] - one.answers[base][1][value];
};
const draw = () => {
  const list = find("list");
  list.replaceChildren();
  for (const one of shown.slice(at, at + AT_ONCE)) {
    list.append(make("h3", "Prompt"), make("div", one.prompt, "prompt user"));
    const box = make("div", undefined, "wide"), table = make("table"), head = make("tr");
    box.tabIndex = 0;
    ["Policy", "Answer", ...data.values].forEach(title => head.append(make("th", title)));
    table.append(make("thead"), make("tbody"));
    table.tHead.append(head);
    const first = new Map();
    one.answers.forEach(([text, rewards], i) => {
      const row = make("tr"), cell = make("td", one.texts[text], "answer user");
      if (first.has(text)) {
        cell.className = "answer same";
        cell.textContent = `the same answer as ${first.get(text)}`;
      } else first.set(text, data.policies[i]);
      row.append(make("td", data.policies[i], "name"), cell);
      rewards.forEach((x, v) => {
        const reward = make("td", number(x), "number");
        if (x !== null) reward.style.background = ground(x, v);
        row.append(reward);
      });
      table.tBodies[0].append(row);
    });
    box.append(table);
    list.append(box);
  }
  const last = Math.min(at + AT_ONCE, shown.length);
  find("found").textContent = shown.length
    ? `prompts ${at + 1} to ${last} of ${shown.length}` : "no prompt has these words";
  find("before").disabled = at === 0;
  find("after").disabled = last === shown.length;
};
const order = () => {
  const wanted = words(find("words").value), by = find("order").value;
  shown = data.prompts.filter(one => has(one.text, wanted));
  if (by !== "identifier") {
    const sign = by === "gains" ? -1 : 1;
    const key = one => { const x = sign * gain(one); return isNaN(x) ? Infinity : x; };
    shown.sort((a, b) => key(a) - key(b));
  }
  at = 0;
  draw();
};
// A policy's name in a table leads to its answers, largest gains first.
for (const cell of document.querySelectorAll("td.name")) {
  const place = data.policies.indexOf(cell.textContent);
  if (place < 0 || field.contains(cell)) continue;
  const link = make("a", cell.textContent);
  link.href = "#answers";
  link.addEventListener("click", () => {
    find("policy").selectedIndex = place;
    find("order").value = "gains";
    order();
  });
  cell.replaceChildren(link);
}
["words", "order", "policy", "value"].forEach(name => find(name).addEventListener("input", order));
find("before").addEventListener("click", () => { at -= AT_ONCE; draw(); });
find("after").addEventListener("click", () => { at += AT_ONCE; draw(); });
order();
"""


def answers_data(
    frames: Mapping[str, pd.DataFrame], labels: Mapping[str, str], *, most: int = MOST_LETTERS
) -> dict[str, Any]:
    """Answers of all policies to the same test prompts, JSON-ready.

    The answer of a policy is the one with the lowest `candidate`. Prompts are in the order of
    `prompt_id`, a hash of the text, so that nobody picked them.

    Args:
        frames: policy → rewards table, in the order of the answers.
        labels: value → its name, of the values whose rewards are shown.
        most: letters, after which no further prompt is taken.

    Returns:
        `values` (names), `policies`, `base` (the policy that gains are counted from), `of` (how
        many prompts there are), and `prompts`: each with `prompt` (all its turns), `texts`
        (different answers) and `answers` (by policy: the index of its text, and its rewards; None
        for one that is missing).

    Raises:
        InputError: if a table has no test row, lacks a value, or the policies share no prompt.
    """
    values = list(labels)
    first = {}
    for policy, frame in frames.items():
        rows = judged_rows(frame)
        check_columns(rows, values, f"the rewards table of {policy}")
        rows = rows.sort_values(["prompt_id", "candidate"], kind="stable")
        first[policy] = rows.drop_duplicates("prompt_id").set_index("prompt_id")
    shared = set.intersection(*(set(rows.index) for rows in first.values()))
    if not shared:
        raise InputError(
            "the policies have no test prompt in common; expected all of them to answer the same "
            "prompts: generate their samples again"
        )
    order = sorted(shared)
    asked = next(iter(first.values())).loc[order, "prompt"].astype(str).tolist()
    texts, scores = [], []
    for rows in (table.loc[order] for table in first.values()):
        said = rows["response"].tolist() if "response" in rows else [None] * len(order)
        texts.append([answer(None if one is None else str(one)) for one in said])
        scores.append(rows[values].to_numpy(dtype=float).tolist())
    prompts: list[dict[str, Any]] = []
    letters = 0
    for place, prompt in enumerate(asked):
        known: dict[str, int] = {}
        answers = [
            [
                known.setdefault(column[place], len(known)),
                [float(f"{one:.4g}") if one == one else None for one in rewards[place]],
            ]
            for column, rewards in zip(texts, scores, strict=True)
        ]
        asked_text = shown(prompt)
        letters += len(asked_text) + sum(map(len, known))
        if prompts and letters > most:
            break
        prompts.append({"prompt": visible(asked_text), "texts": list(known), "answers": answers})
    return {
        "values": list(labels.values()),
        "policies": list(frames),
        "base": BASE.name,
        "of": len(order),
        "prompts": prompts,
    }


def answers_html(data: Mapping[str, Any]) -> list[str]:
    """The part of the page that shows `answers_data`; it needs the script of `html_tables.page`."""
    # In a script only `<` could end it; the rest of the text is data.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    number = len(data["prompts"])
    rest = "" if number == data["of"] else f" The first {number} of {data['of']} are on this page."
    return [
        "<p>All test prompts with the first answer of each policy, and its rewards: blue where "
        "they are high among the base model's answers, brown where they are low. Nobody picked "
        "them: the order is that of a hash of the text. Gains and losses are those of one policy "
        f"against {escape(data['base'])}, in one value.{rest}</p>",
        '<div id="answers"><div class="pages">'
        '<input name="words" type="search" placeholder="words, in any order" '
        'aria-label="show the prompts with these words in the prompt or an answer">'
        '<label>order <select name="order"><option value="identifier">as drawn</option>'
        '<option value="gains">largest gains first</option>'
        '<option value="losses">largest losses first</option></select></label>'
        '<label>of <select name="policy"></select></label>'
        '<label>in <select name="value"></select></label>'
        '<button type="button" name="before">previous</button>'
        '<button type="button" name="after">next</button></div>'
        '<output name="found" class="note"></output>'
        '<div name="list"></div></div>'
        "<noscript><p>The answers need JavaScript.</p></noscript>",
        f'<script type="application/json" id="answers-data">{text}</script>',
    ]
