"""The page of the app: its tabs, its look, and the server that shows it to this machine alone."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

# Before Gradio is imported, which reads them.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import gradio as gr
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from polyalign.app.explorer import Explorer
from polyalign.app.moving import Moves
from polyalign.app.tables import Table

LOOPBACK = ("127.0.0.1", "localhost")
"""Names of this machine for itself. A page from elsewhere that a browser shows has another one."""

SYSTEM = ("system-ui", "sans-serif")
MONO = ("ui-monospace", "monospace")
"""Fonts of the reader's system: nothing is fetched."""

POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'"
)
"""The browser itself refuses whatever would be fetched from elsewhere."""

KEPT = 3600
"""Seconds after which files for download are deleted."""


class Guard:
    """Refuses uploads, which Gradio has a route for, and forbids the browser to fetch elsewhere."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["path"].rstrip("/").endswith("/upload"):
            refusal = PlainTextResponse("this app takes no files", status_code=403)
            await refusal(scope, receive, send)
            return

        async def guarded(message):  # type: ignore[no-untyped-def]
            if message["type"] == "http.response.start":
                extra = [(b"content-security-policy", POLICY.encode())]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        await self.app(scope, receive, guarded)


def make_page(
    tables: Sequence[Table], folder: Path, more: Mapping[str, Callable[[], None]]
) -> gr.Blocks:
    """The page with its tabs.

    Args:
        tables: what the palette explorer shows.
        folder: where files for download are written.
        more: title of another tab → what makes its components, inside the page's context.
    """
    with gr.Blocks(
        analytics_enabled=False, title="Polyalign", fill_width=True, delete_cache=(KEPT, KEPT)
    ) as page:
        with gr.Tab("Palette explorer"):
            Explorer(tables, folder).fill(page)
        for title, fill in more.items():
            with gr.Tab(title):
                fill()
    return page


def start_server(page: gr.Blocks, tables: Sequence[Table], *, host: str, port: int) -> str:
    """Serve the page in threads of this process until it ends; returns the page's address.

    Args:
        page: the page, of `make_page`.
        tables: what its palette explorer shows.
        host: name or number of the address to listen on.
        port: its port.

    Raises:
        OSError: if the port is taken.
    """
    hosts = [*LOOPBACK] if host in LOOPBACK else ["*"]
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        share=False,
        prevent_thread_lock=True,
        quiet=True,
        inbrowser=False,
        show_error=True,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        enable_monitoring=False,
        theme=make_theme(),
        css_paths=[Path(__file__).with_name("page.css")],
        head=f"<script>{Path(__file__).with_name('page.js').read_text(encoding='utf-8')}</script>",
        app_kwargs={
            # Its pages of documentation would load scripts from elsewhere.
            "docs_url": None,
            "redoc_url": None,
            "openapi_url": None,
            "middleware": [
                Middleware(TrustedHostMiddleware, allowed_hosts=hosts),
                Middleware(Guard),
                Middleware(Moves, tables=tables),
            ],
        },
    )
    return str(address)


def make_theme() -> gr.themes.Base:
    """Gradio's own theme with the system's fonts, and every text dark enough to be read."""
    theme = gr.themes.Default(primary_hue="blue", font=SYSTEM, font_mono=MONO)
    pale = ("body_text_color_subdued", "block_info_text_color")
    colours = dict.fromkeys(pale, "*neutral_600")
    colours |= {f"{name}_dark": "*neutral_300" for name in pale}
    # White text on it has a contrast of 5.2; on Gradio's own blue it has 3.7.
    colours |= {
        "button_primary_background_fill": "*primary_600",
        "button_primary_background_fill_hover": "*primary_700",
    }
    return theme.set(**colours)
