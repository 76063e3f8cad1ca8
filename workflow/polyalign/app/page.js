/* What every move shows, and the moves of sliders, which go past Gradio (polyalign/app/moving.py). */
window.explorer = (() => {
  const REST = 200; // milliseconds after the last move until what takes longer is asked for
  let address = "", shows = 0, running = false, resting;
  const waiting = new Map();

  const put = (part, html) => { document.querySelector(`#${part} .pa-part`).innerHTML = html; };

  // Texts of the server are escaped there.
  const show = sent => {
    for (const [part, html] of Object.entries(sent.parts)) put(part, html);
    if (sent.query === address) return;
    address = sent.query;
    history.replaceState(null, "", "?" + address);
  };

  const ask = async () => {
    const moves = [...waiting].map(pair => ["moved", pair.join("=")]);
    waiting.clear();
    const before = shows;
    const query = [address, new URLSearchParams(moves).toString()].join("&");
    const answer = await fetch("explorer/move?" + query);
    const sent = await answer.json();
    // A button that was pressed meanwhile has shown something newer.
    if (before !== shows) return;
    if (answer.ok) show(sent); else put("given-up", sent.fault);
  };

  const move = async (value, position) => {
    waiting.set(value, position);
    clearTimeout(resting);
    if (running) return;
    running = true;
    try {
      while (waiting.size) await ask();
      resting = setTimeout(() => document.getElementById("rest").click(), REST);
    } catch (fault) {
      put("given-up", '<p class="pa-verdict pa-infeasible">The server does not answer.</p>');
    } finally {
      running = false;
    }
  };

  return {
    move,
    now: () => address,
    show: text => { shows += 1; waiting.clear(); show(JSON.parse(text)); },
    // What took longer is of a view that may have changed since.
    later: text => { const sent = JSON.parse(text); if (sent.query === address) show(sent); },
  };
})();
