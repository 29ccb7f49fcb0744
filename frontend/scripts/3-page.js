// What pages share: dialogs, copying, menus, colours, forms that send themselves, and the selection of runs.
"use strict";
(() => {
  const dialog = document.getElementById("dialog");

  // Forms that a link leads to are shown over the page; without scripts they are pages of their own.
  async function openDialog(link) {
    try {
      const answer = await fetch(link.href, { headers: { "Tenon-Fragment": "dialog" } });
      if (!answer.ok || answer.redirected) throw new Error(answer.statusText);
      dialog.innerHTML = await answer.text();
    } catch {
      location.assign(link.href); // the page says what is wrong
      return;
    }
    if (!dialog.open) dialog.showModal();
    dialog.querySelector("[autofocus]")?.focus();
    tenon.tick();
  }
  tenon.openDialog = openDialog;

  async function copy(button) {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.classList.add("copied");
    setTimeout(() => button.classList.remove("copied"), 1500);
  }

  function theme(button) {
    const chosen = button.dataset.themeChoice;
    const secure = location.protocol === "https:" ? "; secure" : "";
    document.cookie = `tenon_theme=${chosen}; path=/; samesite=lax; max-age=${chosen ? 31536000 : 0}${secure}`;
    if (chosen) document.documentElement.dataset.theme = chosen;
    else delete document.documentElement.dataset.theme;
    for (const other of document.querySelectorAll("[data-theme-choice]")) other.setAttribute("aria-pressed", String(other === button));
  }

  // The selection is told beside the list, and survives what the list becomes.
  function count() {
    const bulk = document.querySelector("[data-bulk]");
    if (!bulk) return;
    const picked = document.querySelectorAll("input[name=run]:checked").length;
    bulk.hidden = picked === 0;
    bulk.querySelector("[data-count]").textContent = `${picked} selected`;
    const all = document.querySelectorAll("input[name=run]").length;
    const box = document.querySelector("[data-all]");
    box.checked = picked > 0 && picked === all;
    box.indeterminate = picked > 0 && picked < all;
  }
  const pick = (checked) => {
    for (const box of document.querySelectorAll("input[name=run]")) box.checked = checked;
    count();
  };

  const plain = (event) => event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
  document.addEventListener("click", (event) => {
    const on = (selector) => event.target.closest(selector);
    if (on("a[data-dialog]") && plain(event)) {
      event.preventDefault();
      openDialog(on("a[data-dialog]"));
    } else if (on("[data-copy]")) copy(on("[data-copy]"));
    else if (on("[data-theme-choice]")) theme(on("[data-theme-choice]"));
    else if (on("[data-dismiss]")) on(".toast").remove();
    else if (on("[data-clear]")) pick(false);
    for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
    if (event.target.matches("[data-all]")) pick(event.target.checked);
    if (event.target.matches("input[name=run]")) count();
  });
  document.addEventListener("htmx:after:swap", count);
  // A log that goes on after a broken connection begins a little before its end: what is there already is not shown again.
  document.addEventListener("htmx:sse:after:message", (event) => {
    const log = event.target.closest("[data-logs]");
    const shown = new Set();
    for (const line of [...(log?.children || [])]) {
      if (shown.has(line.id)) line.remove();
      shown.add(line.id);
    }
  }, true);
  dialog?.addEventListener("click", (event) => event.target === dialog && dialog.close());
  // What a browser has kept of a form is counted too.
  window.addEventListener("pageshow", count);
})();
