// Times in the viewer's zone and language of numbers, kept true while the page is open. The texts have the same widths as the server's, so that
// nothing moves.
"use strict";
(() => {
  const two = (n) => String(n).padStart(2, "0");
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const clock = (at) => `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  const local = (at) => `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${clock(at)}`;
  const exact = (at) => `${local(at)}.${String(at.getMilliseconds()).padStart(3, "0")} ${zone}`;

  // As duration in pages/format.go writes it.
  function duration(ms) {
    const s = Math.floor(ms / 1000);
    if (s < 60) return `${Math.max(s, 1)} s`;
    if (s < 3600) return `${Math.floor(s / 60)} m ${two(s % 60)} s`;
    return `${Math.floor(s / 3600)} h ${two(Math.floor((s % 3600) / 60))} m`;
  }

  // As ago in pages/format.go writes it.
  function ago(ms, at) {
    const s = Math.floor(ms / 1000);
    if (s < 1) return "just now";
    if (s < 60) return `${s} s ago`;
    if (s < 3600) return `${Math.floor(s / 60)} m ago`;
    if (s < 86400) return `${Math.floor(s / 3600)} h ago`;
    if (s < 30 * 86400) return `${Math.floor(s / 86400)} d ago`;
    return local(at).slice(0, 10);
  }

  function days(ms) {
    return ms < 48 * 3600e3 ? duration(ms) : `${Math.floor(ms / 86400e3)} d`;
  }

  const set = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };

  function tell(element, now) {
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime())) return;
    const title = exact(at);
    if (element.title !== title) element.title = title;
    const { dataset } = element;
    if ("exact" in dataset) set(element, local(at));
    else if ("clock" in dataset) set(element, `${clock(at)}.${String(at.getMilliseconds()).padStart(3, "0")}`);
    else if ("ago" in dataset) set(element, ago(now - at, at));
    else if ("in" in dataset) set(element, at - now >= 1000 ? `in ${days(at - now)}` : "now");
    else if ("since" in dataset) set(element, duration(now - at));
  }

  // Bars that still grow make the others shorter: the whole line is the time from the run's start until now.
  function grow(now) {
    for (const timeline of document.querySelectorAll("[data-timeline][data-open]")) {
      const scale = Math.max(now - new Date(timeline.dataset.start), Number(timeline.dataset.scale));
      for (const bar of timeline.querySelectorAll("rect[data-from]")) {
        const from = Number(bar.dataset.from);
        const to = "to" in bar.dataset ? Number(bar.dataset.to) : scale;
        const width = Math.max(((to - from) / scale) * 1000, 4);
        bar.setAttribute("x", Math.min((from / scale) * 1000, 1000 - width).toFixed(1));
        bar.setAttribute("width", width.toFixed(1));
      }
      [...timeline.querySelectorAll(".ticks span")].forEach((tick, i, all) => i && set(tick, duration((scale * i) / (all.length - 1))));
    }
  }

  function tick() {
    if (document.hidden) return;
    const now = Date.now();
    for (const element of document.querySelectorAll("time[datetime]")) tell(element, now);
    grow(now);
  }

  globalThis.tenon = { tick };
  tick();
  setInterval(tick, 1000);
  document.addEventListener("htmx:after:swap", tick);
  document.addEventListener("visibilitychange", tick);
})();
