// Says whether the page follows what happens, comes back after a broken connection, and marks what the panel shows.
"use strict";
(() => {
  const live = document.getElementById("live");
  const state = document.getElementById("live-state");
  const first = 500; // milliseconds until a connection that was never made is tried again
  const longest = 15000;
  let wait = first;

  function show(text, tone) {
    if (!state || state.textContent === text) return;
    state.textContent = text;
    state.className = `status live-state status-${tone}`;
  }

  // Whoever signs out here is led on by that form.
  let leaving = false;
  document.addEventListener("submit", (event) => (leaving = leaving || (!event.defaultPrevented && event.target.method === "post")));

  function ended() {
    if (leaving) return;
    const query = new URLSearchParams({ ended: "1", next: location.pathname + location.search });
    location.assign(`/sign-in?${query}`);
  }

  // The extension reconnects what was connected; what never was is started again here.
  function retry() {
    show("Reconnecting", "warn");
    setTimeout(() => live.isConnected && htmx.trigger(live, "tenon:connect"), wait);
    wait = Math.min(wait * 2, longest);
  }

  function mark() {
    const chosen = document.getElementById("panel-body")?.dataset.chosen;
    for (const element of document.querySelectorAll("[data-task]")) {
      if (chosen && element.dataset.task === chosen) element.setAttribute("aria-current", "true");
      else element.removeAttribute("aria-current");
    }
  }

  if (live && !("still" in live.dataset)) {
    live.addEventListener("htmx:sse:after:connection", () => {
      wait = first;
      show("Live", "ok");
    });
    live.addEventListener("htmx:sse:error", (event) => {
      if (event.detail.status === 401) ended();
      else show("Reconnecting", "warn");
    });
    live.addEventListener("htmx:sse:after:message", () => htmx.trigger(document.body, "tenon:changed"));
    live.addEventListener("htmx:error", retry);
    live.addEventListener("htmx:response:error", (event) => (event.detail.ctx.response.status === 401 ? ended() : retry()));
    live.addEventListener("ended", ended);
    live.addEventListener("refused", (event) => show(event.detail?.data || "Not live", "bad"));
    live.addEventListener("htmx:sse:close", (event) => event.detail.reason === "ended" && retry());
  } else if (state) {
    show("Older runs", "idle");
  }
  document.addEventListener("htmx:after:swap", mark);
  mark();
})();
