"""The tab of the palette explorer: Gradio's components, and which of them a move changes."""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from polyalign.app import exploring, exporting, shown
from polyalign.app.exploring import Move, Problem
from polyalign.app.moving import GIVEN_UP, as_json, parts, read_address
from polyalign.app.tables import Table, compared
from polyalign.app.view import View, find, read_query, start
from polyalign.errors import InputError

NOW = "(address, ...others) => [window.explorer.now(), ...others]"
"""Before an event reaches the server: what is looked at, which moves of sliders change."""

SHOW = "sent => { window.explorer.show(sent); return []; }"
LATER = "sent => { window.explorer.later(sent); return []; }"
COPY = "() => navigator.clipboard.writeText(document.querySelector('#yaml pre').textContent)"
OWN = "your own"


def _part(name: str) -> None:
    """A place that the page's script fills."""
    gr.HTML('<div class="pa-part"></div>', elem_id=name)


class Explorer:
    """The components of the tab, and what their events do.

    Args:
        tables: the tables that are explored; all have the same values.
        folder: where files for download are written.
    """

    def __init__(self, tables: Sequence[Table], folder: Path) -> None:
        self.tables, self.folder = tables, folder
        self.names, self.labels = tables[0].names, tables[0].labels
        self.palettes = {name: one for table in tables for name, one in table.palettes.items()}

    def fill(self, page: gr.Blocks) -> None:
        """Make the components inside the page's current context, and wire them."""
        self._make()
        self._wire(page)

    def _make(self) -> None:
        first = start(self.tables)
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=320):
                self._make_controls(first)
            with gr.Column(scale=3, min_width=320):
                _part("verdict")
                _part("numbers")
                _part(GIVEN_UP)
                self.notes = gr.HTML(elem_id="notes")
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=320):
                gr.Markdown("### Front of two values")
                pair = [*self.names, self.names[0]][:2]
                with gr.Row():
                    self.first = gr.Dropdown(self._choices(), value=pair[0], label="Across")
                    self.second = gr.Dropdown(self._choices(), value=pair[1], label="Up")
                self.front = gr.HTML(elem_id="front")
            with gr.Column(scale=3, min_width=320):
                gr.Markdown("### The same palette in each scope and on each table")
                self.compared = gr.HTML(elem_id="compared")
                gr.Markdown("### Take it along")
                _part("yaml")
                self.copy = gr.Button("Copy the palette", elem_id="copy", size="md")
                _part("command")
                self.export = gr.Button("Export CSV and PNG", elem_id="export", size="md")
                self.files = gr.File(
                    label="Files", interactive=False, visible=False, elem_id="files"
                )
        self.address, self.sent, self.late = (gr.Textbox(visible="hidden") for _ in range(3))
        self.rest = gr.Button(visible="hidden", elem_id="rest")

    def _make_controls(self, first: View) -> None:
        several = len(self.tables) > 1
        self.table = gr.Dropdown(
            [one.name for one in self.tables], value=first.table, label="Table", visible=several,
            elem_id="table",
        )  # fmt: skip
        scopes = self.tables[0].scopes
        with gr.Row():
            self.scope = gr.Radio(
                scopes, value=first.scope, label="Scope", elem_id="scope", min_width=140,
                info="prompt: for each prompt alone",
            )  # fmt: skip
            self.units = gr.Radio(
                list(exploring.UNITS), value=first.units, label="Units of the sliders",
                info="quantile: of base samples", elem_id="units", min_width=140,
            )  # fmt: skip
        self.sliders = [
            gr.Slider(
                0,
                1,
                label=self.labels.get(name, name),
                elem_id=f"level-{i}",
                buttons=[],
                elem_classes="pa-slider",
            )
            for i, name in enumerate(self.names)
        ]
        with gr.Row():
            self.reset = gr.Button("Reset to base", elem_id="reset", min_width=140, size="md")
            self.back = gr.Button(
                "Draw back", variant="primary", elem_id="back", min_width=140, size="md"
            )
        with gr.Row():
            self.value = gr.Dropdown(
                self._choices(), value=self.names[0], label="Value", scale=2, min_width=140
            )
            self.maximise = gr.Button(
                "Maximise it, hold the others", elem_id="maximise", min_width=140, size="md"
            )
        self.beyond = gr.Checkbox(label="Sliders go beyond what is feasible", elem_id="beyond")
        with gr.Accordion("Values and palettes", open=False):
            self.chosen = gr.CheckboxGroup(
                self._choices(), value=self.names, label="Values of the palette",
                info="A value that is left out may fall.", elem_id="chosen",
            )  # fmt: skip
            self.palette = gr.Dropdown(
                [OWN, *self.palettes], value=OWN, label="Palette of the study",
                visible=bool(self.palettes), elem_id="palette",
            )  # fmt: skip

    def _choices(self) -> list[tuple[str, str]]:
        return [(self.labels.get(name, name), name) for name in self.names]

    def _wire(self, page: gr.Blocks) -> None:
        settings = [self.table, self.scope, self.units, self.beyond, self.chosen]
        whole = [self.sent, *settings, *self.sliders]
        look = [self.address, self.first, self.second]

        def details(event: Any) -> None:
            event(
                self.details, look,
                [self.late, self.notes, self.compared, self.front, *self.sliders],
                js=NOW, queue=False, show_progress="hidden", trigger_mode="always_last",
                api_name="details",
            ).then(None, self.late, None, js=LATER, queue=False)  # fmt: skip

        def then_details(event: Any) -> None:
            details(event.then(None, self.sent, None, js=SHOW, queue=False).then)

        for name, slider in zip(self.names, self.sliders, strict=True):
            move = f"position => {{ window.explorer.move({json.dumps(name)}, position); }}"
            slider.input(None, slider, None, js=move, queue=False, show_progress="hidden")
        details(self.rest.click)
        changes: list[tuple[Any, Callable[..., Any], list[Any]]] = [
            (self.reset.click, self.reset_to_base, []),
            (self.back.click, self.drawn_back, []),
            (self.maximise.click, self.maximised, [self.value]),
            (self.table.input, self.with_table, [self.table]),
            (self.scope.input, self.with_scope, [self.scope]),
            (self.units.input, self.with_units, [self.units]),
            (self.beyond.input, self.with_beyond, [self.beyond]),
            (self.chosen.input, self.with_values, [self.chosen]),
            (self.palette.input, self.with_palette, [self.palette]),
        ]
        for event, change, inputs in changes:
            then_details(
                event(
                    change,
                    [self.address, *inputs],
                    whole,
                    js=NOW,
                    queue=False,
                    show_progress="hidden",
                    api_name=change.__name__,
                )
            )
        then_details(page.load(self.opened, None, whole, queue=False, api_name="opened"))
        for choice in (self.first, self.second):
            choice.input(
                self.front_alone, look, self.front, js=NOW, queue=False, show_progress="hidden",
                api_visibility="private",
            )  # fmt: skip
        self.export.click(self.exported, look, self.files, js=NOW, queue=False, api_name="export")
        self.copy.click(None, None, None, js=COPY, queue=False)

    def look(self, state: View) -> tuple[Table, Problem, Move]:
        """The table, the problem and what the palette does there."""
        table = find(self.tables, state.table)
        problem = table.problem(state.scope, list(state.levels))
        return table, problem, table.move(state.scope, state.levels)

    def whole(self, state: View, given_up: str = "") -> list[Any]:
        """What every move shows, and every control as the view has it."""
        table, problem, move = self.look(state)
        settings = [
            gr.update(value=state.table),
            gr.update(value=state.scope, choices=table.scopes),
            gr.update(value=state.units),
            gr.update(value=state.beyond),
            gr.update(value=problem.names),
        ]
        sliders = self._sliders(problem, move, state, place=True)
        return [as_json(parts(self.tables, state, given_up)), *settings, *sliders]

    def _sliders(self, problem: Problem, move: Move, state: View, *, place: bool) -> list[Any]:
        """The ends of every slider, and where it stands if `place`."""
        highest = problem.top if state.beyond else problem.highest(move)
        updates = []
        for name in self.names:
            if name not in problem.names:
                updates.append(gr.update(visible=False))
                continue
            i = problem.names.index(name)
            low, high, step = problem.ends(i, float(highest[i]), state.units)
            position = problem.position(i, move, state.units)
            fixed = bool(problem.base.fixed[i])
            update: dict[str, Any] = {
                "minimum": low,
                "maximum": max(high, position),
                "step": step,
                "info": "the same for all choices" if fixed else self._info(problem, i, highest[i]),
                "visible": True,
                "interactive": not fixed,
            }
            if place:
                update["value"] = position
            updates.append(gr.update(**update))
        return updates

    @staticmethod
    def _info(problem: Problem, i: int, highest: float) -> str:
        base, share = problem.base.center[i], 100 * problem.base_share[i]
        return f"base {shown.cell(base)} (q{share:.0f}), highest {shown.cell(highest)}"

    def details(self, address: str, first: str, second: str) -> list[Any]:
        """What takes longer than a move may: ends of sliders, front, other tables, exact slack."""
        state = read_address(self.tables, address)
        _, problem, move = self.look(state)
        infeasible = move.solution is None
        exact = exploring.why_infeasible(problem, move) if infeasible else None
        notes = exploring.warnings_of(problem, move)
        notes.append(exploring.candidates_sentence(problem, move))
        if state.scope == "joint" and len(set(problem.groups.tolist())) > 1:
            notes.append(
                "scope joint weighs prompts too: a level may be reached by another choice of "
                "prompts and not by better answers"
            )
        late = {"parts": {"verdict": shown.verdict_html(move, exact)}, "query": state.query()}
        return [
            as_json(late),
            shown.list_html(notes),
            shown.compared_html(compared(self.tables, state.levels), self.labels),
            self.front_alone(address, first, second),
            *self._sliders(problem, move, state, place=False),
        ]

    def front_alone(self, address: str, first: str, second: str) -> str:
        """The front of two values, where both are in the palette."""
        state = read_address(self.tables, address)
        _, problem, move = self.look(state)
        return shown.front_html(self._front(problem, move, first, second), self.labels)

    @staticmethod
    def _front(problem: Problem, move: Move, first: str, second: str) -> exploring.FrontView | None:
        if first not in problem.names or second not in problem.names:
            return None
        return exploring.front_of(problem, move, first, second)

    def opened(self, request: gr.Request) -> list[Any]:
        """The page is opened: its address says what is looked at."""
        try:
            state = read_query(self.tables, request.query_params.multi_items())
        except InputError as fault:
            return self.whole(start(self.tables), shown.fault_html(f"This address: {fault}"))
        return self.whole(state)

    def reset_to_base(self, address: str) -> list[Any]:
        """Every value of the palette at the base policy's mean."""
        state = read_address(self.tables, address)
        return self.whole(replace(state, levels=dict.fromkeys(state.levels, "mean")))

    def drawn_back(self, address: str) -> list[Any]:
        """The nearest supportable palette, and what it gives up."""
        state = read_address(self.tables, address)
        _, problem, move = self.look(state)
        return self._changed(
            state,
            lambda: (
                (back := problem.drawn_back(move)).levels,
                shown.drawn_back_html(back, move, self.labels),
            ),
        )

    def maximised(self, address: str, value: str) -> list[Any]:
        """One value as high as it is supported, the others held."""
        state = read_address(self.tables, address)
        if value not in state.levels:
            return self.whole(state, shown.fault_html(f"{value} is not in the palette; add it"))
        _, problem, move = self.look(state)
        return self._changed(state, lambda: (problem.maximised(move, value), ""))

    def _changed(self, state: View, change: Callable[[], tuple[dict[str, str], str]]) -> list[Any]:
        """The view with the levels that `change` returns, or with the reason why not."""
        try:
            levels, told = change()
        except InputError as fault:
            return self.whole(state, shown.fault_html(str(fault)))
        return self.whole(replace(state, levels=levels), told)

    def with_table(self, address: str, name: str) -> list[Any]:
        """The same palette on another table."""
        state = read_address(self.tables, address)
        scopes = find(self.tables, name).scopes
        scope = state.scope if state.scope in scopes else scopes[0]
        return self.whole(replace(state, table=name, scope=scope))

    def with_scope(self, address: str, scope: str) -> list[Any]:
        """The same palette in another scope."""
        state = read_address(self.tables, address)
        return self.whole(replace(state, scope=scope))

    def with_units(self, address: str, units: str) -> list[Any]:
        """The same palette on sliders of other units."""
        state = read_address(self.tables, address)
        return self.whole(replace(state, units=units))

    def with_beyond(self, address: str, beyond: bool) -> list[Any]:
        """Whether sliders go beyond what is feasible."""
        state = read_address(self.tables, address)
        return self.whole(replace(state, beyond=beyond))

    def with_values(self, address: str, chosen: list[str]) -> list[Any]:
        """The palette with other values; new ones start at the mean."""
        state = read_address(self.tables, address)
        if not chosen:
            return self.whole(state, shown.fault_html("A palette needs one value at least."))
        levels = {name: state.levels.get(name, "mean") for name in self.names if name in chosen}
        return self.whole(replace(state, levels=levels))

    def with_palette(self, address: str, name: str) -> list[Any]:
        """A palette of the study."""
        state = read_address(self.tables, address)
        levels = state.levels if name == OWN else self.palettes[name]
        return self.whole(replace(state, levels=dict(levels)))

    def exported(self, address: str, first: str, second: str) -> Any:
        """The numbers as CSV and a picture as PNG, for download."""
        state = read_address(self.tables, address)
        table, problem, move = self.look(state)
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        front = self._front(problem, move, first, second)
        paths = exporting.export(folder, table, problem, move, front)
        return gr.update(value=[str(path) for path in paths], visible=True)
