// Shows times in the viewer's zone and keeps the list of runs up to date. Without it every page works, by loading it again.
"use strict";
(() => {
  const period = 2000; // milliseconds between two updates
  const longest = 30000; // and at most, while the server does not answer
  const two = (n) => String(n).padStart(2, "0");
  const clock = (at) => `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

  // The local text has as many characters as the UTC text that it replaces, so that nothing moves.
  function localise(root) {
    for (const element of root.querySelectorAll("time[datetime]")) {
      const at = new Date(element.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      const text = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${clock(at)}`;
      if (element.classList.contains("clock")) element.textContent = text;
      else element.title = `${text} ${zone}`;
    }
    for (const element of root.querySelectorAll(".zone")) element.textContent = zone;
  }

  // patch makes old like fresh and touches only what differs: focus, selection and opened details stay. Children with an id are matched by it.
  function patch(old, fresh) {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !(name === "open" && old.localName === "details")) old.removeAttribute(name);
    }
    let at = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      let match = at;
      if (child.id) for (match = at; match && match.id !== child.id; ) match = match.nextSibling;
      if (!match || match.nodeName !== child.nodeName || (match.id || "") !== (child.id || "")) {
        old.insertBefore(child, at);
        continue;
      }
      // Runs keep their order, so what stands before the match is gone from the list.
      for (; at !== match; ) at = drop(at);
      patch(match, child);
      at = match.nextSibling;
    }
    while (at) at = drop(at);
  }

  function drop(node) {
    const next = node.nextSibling;
    node.remove();
    return next;
  }

  function keepUpToDate(state, toggle) {
    let paused = sessionStorage.getItem("tenon-updates") === "paused";
    let wait = period;
    let timer = 0;
    let asked = new AbortController();
    let since = new Date();

    function plan() {
      clearTimeout(timer);
      if (!paused && !document.hidden) timer = setTimeout(update, wait);
    }

    // An address without a tenant means the one looked at last, which another tab may change.
    function here() {
      const address = new URL(location.href);
      if (!address.searchParams.has("tenant")) address.searchParams.set("tenant", document.getElementById("live").dataset.tenant);
      return address;
    }

    async function update() {
      clearTimeout(timer);
      asked.abort();
      const mine = (asked = new AbortController());
      try {
        const signal = AbortSignal.any([mine.signal, AbortSignal.timeout(longest)]);
        const answer = await fetch(here(), { headers: { "Tenon-Fragment": "runs" }, signal });
        if (answer.redirected) return leave(answer.url);
        if (answer.status >= 500 || answer.status === 429) throw new Error(answer.statusText);
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
        if (!answer.ok || !fresh) return location.reload();
        if (mine.signal.aborted) return;
        localise(fresh);
        patch(document.getElementById("live"), fresh);
        wait = period;
        since = new Date();
        show();
      } catch {
        if (mine.signal.aborted) return;
        wait = Math.min(2 * wait, longest);
        show(`Not updated since ${clock(since)}`);
      }
      plan();
    }

    // Whoever is led away from here was signed in until now.
    function leave(address) {
      const target = new URL(address);
      target.searchParams.set("ended", "1");
      location.assign(target);
    }

    function show(trouble) {
      const text = trouble || (paused ? `Paused at ${clock(since)}` : "Live");
      if (state.textContent !== text) state.textContent = text;
      state.classList.toggle("status-ok", text === "Live");
      state.classList.toggle("status-warn", text !== "Live");
      toggle.textContent = paused ? "Resume" : "Pause";
    }

    toggle.addEventListener("click", () => {
      paused = !paused;
      sessionStorage.setItem("tenon-updates", paused ? "paused" : "");
      show();
      if (paused) clearTimeout(timer);
      else update();
    });
    document.addEventListener("visibilitychange", () => (document.hidden || paused ? clearTimeout(timer) : update()));
    // Opening a run is an address of its own, shown without loading the page again.
    document.addEventListener("click", (event) => {
      const link = event.target.closest("a.toggle");
      if (!link || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
      event.preventDefault();
      history.pushState(null, "", link.href.replace(/#.*/, ""));
      update();
    });
    window.addEventListener("popstate", update);
    show();
    plan();
  }

  localise(document);
  const state = document.getElementById("live-state");
  const toggle = document.getElementById("live-toggle");
  if (state && toggle) keepUpToDate(state, toggle);
})();
