// The command palette and the keyboard: g and a letter goes to a page, j and k walk through rows, / filters, ? helps.
"use strict";
(() => {
  const palette = document.getElementById("palette");
  const help = document.getElementById("keys");
  if (!palette) return;
  const input = document.getElementById("palette-input");
  const list = document.getElementById("palette-list");
  const most = 12;
  let fetched = null;
  let shown = [];
  let chosen = 0;

  async function load() {
    const { source } = input.dataset;
    if (!source || fetched) return;
    fetched = [];
    const answer = await fetch(source, { headers: { "HX-Request": "true" } });
    if (!answer.ok || answer.redirected) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    fetched = [...page.querySelectorAll("a")].map((link) => ({ text: link.textContent, run: () => follow(link) }));
    render();
  }

  function follow(link) {
    if ("dialog" in link.dataset) tenon.openDialog(link);
    else location.assign(link.getAttribute("href"));
  }

  function commands() {
    const seen = new Set();
    const own = [...document.querySelectorAll("[data-command]")].map((element) => ({ text: element.dataset.command, run: () => element.click() }));
    return [...own, ...(fetched || [])].filter(({ text }) => !seen.has(text) && seen.add(text));
  }

  function matches() {
    const query = input.value.trim().toLowerCase();
    if (/^run_[0-9a-z]{26}$/.test(query) && input.dataset.run) {
      return [{ text: `Open ${query}`, run: () => location.assign(input.dataset.run + query) }];
    }
    const words = query.split(/\s+/);
    return commands().filter(({ text }) => words.every((word) => text.toLowerCase().includes(word))).slice(0, most);
  }

  function render() {
    shown = matches();
    chosen = Math.min(chosen, Math.max(shown.length - 1, 0));
    list.replaceChildren(...shown.map(({ text, run }, i) => {
      const item = document.createElement("li");
      item.id = `palette-${i}`;
      item.role = "option";
      item.textContent = text;
      item.ariaSelected = String(i === chosen);
      item.addEventListener("click", () => finish(run));
      return item;
    }));
    if (shown.length === 0) {
      const none = document.createElement("li");
      none.role = "option";
      none.ariaDisabled = "true";
      none.textContent = "Nothing matches";
      list.append(none);
    }
    if (shown.length > 0) input.setAttribute("aria-activedescendant", `palette-${chosen}`);
    else input.removeAttribute("aria-activedescendant");
    document.getElementById(`palette-${chosen}`)?.scrollIntoView({ block: "nearest" });
  }

  function finish(run) {
    palette.close();
    run();
  }

  function open() {
    const side = document.getElementById("side");
    if (side.matches(":popover-open")) side.hidePopover();
    input.value = "";
    chosen = 0;
    palette.showModal();
    render();
    load();
  }

  input.addEventListener("input", () => {
    chosen = 0;
    render();
  });
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      chosen = (chosen + step + shown.length) % Math.max(shown.length, 1);
      render();
    } else if (event.key === "Enter" && shown[chosen]) {
      event.preventDefault();
      finish(shown[chosen].run);
    }
  });
  palette.addEventListener("click", (event) => event.target === palette && palette.close());
  help.addEventListener("click", (event) => event.target === help && help.close());
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-palette]")) open();
    if (event.target.closest("[data-keys]")) help.showModal();
  });

  // The row that has the focus is the one that keys speak of.
  function walk(step) {
    const rows = [...document.querySelectorAll("[data-row]")];
    if (rows.length === 0) return;
    const at = rows.findIndex((row) => row === document.activeElement || row.closest("tr, li")?.contains(document.activeElement));
    const next = rows[at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + step, 0), rows.length - 1)];
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  }

  const typing = (element) => element.closest("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]");
  let going = 0;
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
      event.preventDefault();
      if (palette.open) palette.close();
      else open();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || document.querySelector("dialog[open]")) return;
    const within = Date.now() - going < 1500;
    going = 0;
    if (within) {
      const target = [...document.querySelectorAll("[data-go]")].find((link) => link.dataset.go === event.key);
      if (target) {
        event.preventDefault();
        location.assign(target.href);
        return;
      }
    }
    const acts = {
      g: () => (going = Date.now()),
      j: () => walk(1),
      k: () => walk(-1),
      x: () => document.activeElement.closest("tr")?.querySelector("input[type=checkbox]")?.click(),
      f: () => document.querySelector("[data-zoom=fit]")?.click(),
      "/": () => document.querySelector("[data-filter]")?.focus(),
      "?": () => help.showModal(),
    };
    if (acts[event.key]) {
      event.preventDefault();
      acts[event.key]();
    }
  });
})();
