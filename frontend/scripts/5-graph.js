// Pictures of tasks: drag to move, wheel or buttons to scale, a button to fit. Updates change what the boxes say and leave the view alone.
"use strict";
(() => {
  const largest = 2;
  const smallest = 0.05;
  const views = new WeakMap();

  function size(graph) {
    return { width: Number(graph.dataset.width), height: Number(graph.dataset.height), room: graph.getBoundingClientRect() };
  }

  // fit shows the whole, never larger than it is drawn, in the middle.
  function fit(graph) {
    const { width, height, room } = size(graph);
    const scale = Math.min(1, room.width / width, room.height / height);
    apply(graph, { scale, x: (room.width - width * scale) / 2, y: (room.height - height * scale) / 2 });
  }

  // Without a box of its own, a point of the picture is a pixel at scale 1.
  function apply(graph, view) {
    views.set(graph, view);
    graph.querySelector("svg").removeAttribute("viewBox");
    graph.querySelector(".canvas").setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.scale})`);
  }

  function zoom(graph, factor, px, py) {
    const view = views.get(graph);
    const scale = Math.min(Math.max(view.scale * factor, smallest), largest);
    const by = scale / view.scale;
    apply(graph, { scale, x: px - (px - view.x) * by, y: py - (py - view.y) * by });
  }

  // first shows the whole where its texts can be read, else what has failed or runs, else its left end.
  function first(graph) {
    fit(graph);
    const readable = 0.55;
    const view = views.get(graph);
    if (view.scale >= readable || graph.querySelectorAll(".node").length > 60) return;
    const { width, height, room } = size(graph);
    apply(graph, { scale: readable, x: 0, y: (room.height - height * readable) / 2 });
    const telling = graph.querySelector(".node.tone-bad") || graph.querySelector(".node.tone-busy");
    if (!telling) return;
    const box = telling.getBoundingClientRect();
    const x = room.left + room.width / 2 - (box.left + box.width / 2);
    apply(graph, { ...views.get(graph), x: Math.min(0, Math.max(x, room.width - width * readable)) });
  }

  function start(graph) {
    first(graph);
    new ResizeObserver(() => first(graph)).observe(graph);
    let from = null;
    graph.addEventListener("pointerdown", (event) => {
      if (event.button === 0 && !event.target.closest(".zoom")) from = { x: event.clientX, y: event.clientY, view: views.get(graph), moved: false };
    });
    graph.addEventListener("pointermove", (event) => {
      if (!from) return;
      const [dx, dy] = [event.clientX - from.x, event.clientY - from.y];
      if (!from.moved && Math.hypot(dx, dy) < 4) return;
      from.moved = true;
      if (!graph.hasPointerCapture(event.pointerId)) graph.setPointerCapture(event.pointerId);
      apply(graph, { ...from.view, x: from.view.x + dx, y: from.view.y + dy });
    });
    for (const end of ["pointerup", "pointercancel"]) graph.addEventListener(end, () => setTimeout(() => (from = null)));
    // A drag that ends on a box does not open it.
    graph.addEventListener("click", (event) => {
      if (from?.moved) {
        event.preventDefault();
        event.stopPropagation();
      }
    }, true);
    graph.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // a wheel alone scrolls the page
      event.preventDefault();
      const room = graph.getBoundingClientRect();
      zoom(graph, Math.exp(-event.deltaY / 300), event.clientX - room.left, event.clientY - room.top);
    }, { passive: false });
    graph.addEventListener("click", (event) => {
      const what = event.target.closest("[data-zoom]")?.dataset.zoom;
      const { room } = size(graph);
      if (what === "fit") fit(graph);
      else if (what) zoom(graph, what === "in" ? 1.3 : 1 / 1.3, room.width / 2, room.height / 2);
    });
    // A box that gets the focus by keyboard comes into view.
    graph.addEventListener("focusin", (event) => {
      const node = event.target.closest(".node");
      if (!node || !node.matches(":focus-visible")) return;
      const [box, room] = [node.getBoundingClientRect(), graph.getBoundingClientRect()];
      const view = views.get(graph);
      const dx = Math.max(room.left + 8 - box.left, 0) || Math.min(room.right - 8 - box.right, 0);
      const dy = Math.max(room.top + 8 - box.top, 0) || Math.min(room.bottom - 8 - box.bottom, 0);
      if (dx || dy) apply(graph, { ...view, x: view.x + dx, y: view.y + dy });
    });
  }

  function all() {
    for (const graph of document.querySelectorAll("[data-graph]")) if (!views.has(graph)) start(graph);
  }
  document.addEventListener("htmx:after:swap", all);
  all();
})();
