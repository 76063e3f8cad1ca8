// Browsers start no workers on pages opened from disk, and the search of this site is one. Here a
// hidden frame of the page runs the worker's script instead.
if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      const inner = frame.contentWindow
      inner.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }))
      const load = (source) =>
        new Promise((done, failed) => {
          const script = inner.document.createElement("script")
          Object.assign(script, { src: source, onload: done, onerror: failed })
          inner.document.body.append(script)
        })
      inner.importScripts = (...sources) =>
        sources.reduce((before, source) => before.then(() => load(source)), Promise.resolve())
      this.ready = load(new URL(url, location.href).href)
      this.inner = inner
    }
    postMessage(data) {
      this.ready.then(() => this.inner.dispatchEvent(new MessageEvent("message", { data })))
    }
  }
}
