"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const tip = document.getElementById("tip");
  const said = document.getElementById("said");

  // --- What is pointed at, or has the focus, explains itself.

  const place = (x, y) => {
    const box = tip.getBoundingClientRect();
    const left = Math.min(x + 14, innerWidth - box.width - 8);
    const below = y + 18 + box.height < innerHeight;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${below ? y + 18 : Math.max(8, y - box.height - 12)}px`;
  };
  const show = (text, x, y) => {
    tip.textContent = text;
    tip.hidden = false;
    place(x, y);
  };
  const hide = () => { tip.hidden = true; };
  const told = (event) => event.target.closest?.("[data-tip]");

  document.addEventListener("pointermove", (event) => {
    const element = told(event);
    if (element) show(element.dataset.tip, event.clientX, event.clientY);
    else if (!event.target.closest?.(".grid")) hide();
  });
  document.addEventListener("focusin", (event) => {
    const element = told(event);
    if (!element || !element.matches(":focus-visible")) return;
    const box = element.getBoundingClientRect();
    show(element.dataset.tip, box.left + box.width / 2, box.bottom);
  });
  document.addEventListener("focusout", hide);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

  // --- Pageblocks.

  const size = (pages) => (pages < 256 ? `${pages * 4} KiB` : `${+(pages / 256).toFixed(1)} MiB`);

  // The run that pageblock `index` of a zone is in, or its section that is not up.
  const find = (zone, index) => {
    let low = 0, high = zone.runs.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (zone.runs[middle][0] + zone.runs[middle][1] > index) high = middle;
      else low = middle + 1;
    }
    const run = zone.runs[low];
    if (run && run[0] <= index) return { run };
    const part = zone.notUp.find(([first, count]) => first <= index && index < first + count);
    return part ? { part } : null;
  };

  const explain = (of, zone, index) => {
    const found = find(zone, index);
    if (!found) return null;
    const start = BigInt(index) * BigInt(of.pages) * 4096n;
    const lines = [`0x${start.toString(16)}, ${zone.name}`];
    if (found.part) {
      const [, , pages, free] = found.part;
      lines.push(`In a section that is not up yet: of its ${size(pages)} of RAM ${size(free)} are free`);
      return lines.join("\n");
    }
    const [, , type, free, fill] = found.run;
    lines.push(`Pageblock ${index}: ${of.types[type]}`);
    const sum = free.reduce((a, b) => a + b, 0);
    const orders = free.map((pages, order) => (pages ? `${pages >> order} of order ${order}` : "")).filter(Boolean);
    lines.push(`Free: ${sum} pages${sum ? `, in blocks: ${orders.join(", ")}` : ""}`);
    fill.forEach((pages, n) => { if (pages) lines.push(`${of.fills[n]}: ${pages} pages`); });
    return lines.join("\n");
  };

  for (const grid of all(".grid")) {
    const of = data[+grid.dataset.of], zone = of.zones[+grid.dataset.grid];
    const cursor = grid.querySelector(".cursor");
    const tops = zone.tops;
    let at = null;

    const move = (index) => {
      const text = explain(of, zone, index);
      const top = tops.find(([row]) => row === Math.floor(index / zone.columns));
      if (!text || !top) return null;
      at = index;
      cursor.setAttribute("x", zone.left + (index % zone.columns) * zone.width);
      cursor.setAttribute("y", top[1]);
      cursor.setAttribute("visibility", "visible");
      return text;
    };
    const leave = () => { cursor.setAttribute("visibility", "hidden"); hide(); };

    grid.addEventListener("pointermove", (event) => {
      const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(grid.getScreenCTM().inverse());
      const top = tops.find(([, y]) => point.y >= y && point.y < y + zone.height);
      const column = Math.floor((point.x - zone.left) / zone.width);
      const text = top && column >= 0 && column < zone.columns ? move(top[0] * zone.columns + column) : null;
      if (text) show(text, event.clientX, event.clientY);
      else leave();
    });
    grid.addEventListener("pointerleave", leave);
    grid.addEventListener("blur", leave);

    // A pageblock after `index` in steps of `by`, across what is left out.
    const seek = (index, by) => {
      const first = tops[0][0] * zone.columns, last = (tops[tops.length - 1][0] + 1) * zone.columns;
      for (let next = index + by; next >= first && next < last; next += by) if (find(zone, next)) return next;
      return index;
    };
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -zone.columns, ArrowDown: zone.columns };
    const say = (index) => {
      const text = move(index);
      if (!text) return;
      const box = cursor.getBoundingClientRect();
      show(text, box.right, box.bottom);
      said.textContent = text;
    };
    grid.addEventListener("keydown", (event) => {
      const begin = zone.runs.length ? zone.runs[0][0] : zone.notUp.length ? zone.notUp[0][0] : null;
      if (begin === null || !(event.key in steps)) return;
      event.preventDefault();
      say(at === null ? begin : seek(at, steps[event.key]));
    });
  }

  // --- Steps of the time line.

  const snapshots = all(".snapshot"), buttons = all(".step");
  const slider = document.getElementById("slider");
  let step = 0;

  const choose = (n) => {
    step = Math.max(0, Math.min(snapshots.length - 1, n));
    snapshots.forEach((snapshot, i) => { snapshot.hidden = i !== step; });
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", i === step));
    for (const multiple of all(".multiple")) {
      all("circle", multiple).forEach((dot, i) => {
        dot.classList.toggle("chosen", i === step);
        if (i === step) multiple.querySelector(".now").textContent = dot.dataset.words;
      });
    }
    slider.value = step;
    said.textContent = `Snapshot ${step + 1}: ${snapshots[step].dataset.label}`;
    hide();
  };
  if (slider) {
    slider.addEventListener("input", () => choose(+slider.value));
    document.getElementById("back").addEventListener("click", () => choose(step - 1));
    document.getElementById("next").addEventListener("click", () => choose(step + 1));
    [...buttons, ...all(".multiple circle")].forEach((element) =>
      element.addEventListener("click", () => choose(+element.dataset.step)));
    choose(0);
  }

  // --- Theme, and paper.

  const theme = document.getElementById("theme"), themes = ["auto", "light", "dark"];
  theme.addEventListener("click", () => {
    const now = document.documentElement.dataset.theme || "auto";
    const next = themes[(themes.indexOf(now) + 1) % themes.length];
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    theme.textContent = `Theme: ${next}`;
  });
  // Nothing stays folded on paper but the long lists of figures.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = all("details:not([open])").filter((details) => !details.closest(".files"));
    folded.forEach((details) => { details.open = true; });
  });
  addEventListener("afterprint", () => folded.forEach((details) => { details.open = false; }));
})();
