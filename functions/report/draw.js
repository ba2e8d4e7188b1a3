// Draws the figures of figures.py as SVG, at the width there is, and lets them be read: hover, arrow
// keys, zoom by dragging, and a legend that hides. Colours are the page's, by class.
(() => {
  "use strict";
  const NS = "http://www.w3.org/2000/svg";
  const FONT = 13;
  const PANEL = 270;
  const MARGIN = { left: 62, right: 18, top: 30, bottom: 46, between: 34 };
  const PAPER = 680;
  const NEAR = 40; // pixels from which a mark is taken for the one that is pointed at
  const LEAST_DRAG = 8;

  const figures = JSON.parse(document.getElementById("figures").textContent);
  for (const { panels, shared } of Object.values(figures)) {
    for (const panel of panels) {
      panel.series = panel.series.map((each) =>
        ({ line: true, marks: [], text: [], ...shared, ...each }));
    }
  }

  const element = (name, attributes = {}, parent = null, text = null) => {
    const made = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== null) made.textContent = text;
    if (parent) parent.append(made);
    return made;
  };

  // 1, 2 or 5 times a power of ten, so that about `count` ticks fit between the two.
  const ticksOf = (low, high, count) => {
    const rough = (high - low) / Math.max(count, 1);
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
    const ticks = [];
    for (let at = Math.ceil(low / step) * step; at <= high + step / 1e6; at += step) ticks.push(at);
    return ticks;
  };

  const decades = (low, high) => {
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power += 1) {
      for (const each of [1, 2, 5]) ticks.push(each * 10 ** power);
    }
    return ticks.filter((each) => each >= low && each <= high);
  };

  const said = (value) =>
    Number(value.toPrecision(4)).toLocaleString("en-US", { maximumSignificantDigits: 4 });

  const scale = (low, high, from, to, log) => {
    const of = log ? Math.log10 : (each) => each;
    const [a, b] = [of(low), of(high)];
    return (value) => from + ((of(Math.max(value, log ? low / 10 : -Infinity)) - a) / (b - a)) * (to - from);
  };

  class Chart {
    constructor(place, figure) {
      this.place = place;
      this.figure = figure;
      this.hidden = new Set();
      this.whole = [figure.x.min, figure.x.max];
      this.range = this.whole;
      this.at = -1;
      this.note = document.createElement("div");
      this.note.className = "tip";
      this.note.setAttribute("role", "status");
      this.note.hidden = true;
      place.tabIndex = 0;
      this.controls();
      this.listen();
      this.draw();
    }

    controls() {
      const bar = document.createElement("div");
      bar.className = "legend";
      const named = new Map(); // marks, where a name has a line as well
      for (const panel of this.figure.panels) panel.series.forEach((each) => named.set(each.name, each));
      for (const each of named.values()) {
        const button = document.createElement("button");
        button.type = "button";
        button.setAttribute("aria-pressed", "true");
        const swatch = element("svg", { width: 22, height: 10, "aria-hidden": "true" });
        this.sample(swatch, each);
        button.append(swatch, each.name);
        button.addEventListener("click", () => {
          const shown = this.hidden.delete(each.name) || !this.hidden.add(each.name);
          button.setAttribute("aria-pressed", String(shown));
          this.draw();
        });
        bar.append(button);
      }
      this.reset = document.createElement("button");
      this.reset.type = "button";
      this.reset.className = "reset";
      this.reset.textContent = "Show all";
      this.reset.hidden = true;
      this.reset.addEventListener("click", () => this.zoom(this.whole));
      bar.append(this.reset);
      this.place.after(bar);
    }

    sample(parent, series) {
      const kind = `line ${series.colour} ${series.dash || ""}`;
      if (series.line) element("path", { d: "M1 5H21", class: kind }, parent);
      else this.mark(parent, 11, 5, "full", series.colour);
    }

    mark(parent, x, y, kind, colour) {
      if (kind === "cross") {
        const d = `M${x - 4} ${y - 4}l8 8m0 -8l-8 8`;
        return element("path", { d, class: `mark cross ${colour}` }, parent);
      }
      return element("circle", { cx: x, cy: y, r: 4.5, class: `mark ${kind} ${colour}` }, parent);
    }

    draw(width = this.place.clientWidth) {
      if (!width) return;
      const { panels, x } = this.figure;
      const narrow = width < 520;
      const left = MARGIN.left;
      const right = width - MARGIN.right;
      const across = scale(this.range[0], this.range[1], left, right);
      const svg = element("svg", { width, "font-size": FONT, "aria-hidden": "true" });
      this.areas = [];
      let top = MARGIN.top;
      for (const panel of panels) {
        const height = PANEL * (panel.height || 1);
        this.panel(svg, panel, { across, left, right, top, bottom: top + height, narrow });
        top += height + MARGIN.between;
      }
      const bottom = top - MARGIN.between;
      svg.setAttribute("height", bottom + MARGIN.bottom);
      for (const at of ticksOf(...this.range, narrow ? 4 : 8)) {
        const label = { x: across(at), y: bottom + 18, "text-anchor": "middle" };
        element("text", label, svg, said(at));
      }
      const title = { x: (left + right) / 2, y: bottom + 38, "text-anchor": "middle" };
      element("text", { ...title, class: "soft" }, svg, x.label);
      this.cursor = element("path", { class: "cursor" }, svg);
      this.brush = element("rect", { class: "brush", y: MARGIN.top, height: bottom - MARGIN.top }, svg);
      this.geometry = { across, left, right, top: MARGIN.top, bottom };
      this.place.replaceChildren(svg, this.note);
      this.reset.hidden = this.range === this.whole;
      this.hide();
    }

    panel(svg, panel, area) {
      const { across, left, right, top, bottom, narrow } = area;
      const up = scale(panel.min, panel.max, bottom, top, panel.log);
      const clip = `${this.place.id}-clip-${this.areas.length}`;
      element("rect", { x: left, y: top - 1, width: right - left, height: bottom - top + 2 },
        element("clipPath", { id: clip }, svg));
      const inside = { "clip-path": `url(#${clip})` };
      const back = element("g", inside, svg);
      const wide = (from, to, kind) =>
        element("rect", { x: across(from), width: Math.max(across(to) - across(from), 0),
          y: top, height: bottom - top, class: `span ${kind}` }, back);
      for (const span of this.figure.spans || []) wide(span.from, span.to, span.kind);
      for (const band of panel.bands || []) {
        element("rect", { x: left, width: right - left, y: up(band.to),
          height: up(band.from) - up(band.to), class: "band" }, back);
        element("text", { x: left + 6, y: up(band.to) - 5, class: "soft" }, svg, band.label);
      }
      const ticks = panel.log ? decades(panel.min, panel.max)
        : ticksOf(panel.min, panel.max, (bottom - top) / 50);
      for (const at of ticks) {
        element("path", { d: `M${left} ${up(at)}H${right}`, class: "grid" }, back);
        element("text", { x: left - 8, y: up(at) + 4, "text-anchor": "end" }, svg,
          said(at) + (panel.unit === " %" ? " %" : ""));
      }
      element("path", { d: `M${left} ${bottom}H${right}`, class: "axis" }, svg);
      element("text", { x: 4, y: top - 12, class: "soft" }, svg, panel.label);
      if (!this.areas.length && !narrow) {
        for (const span of this.figure.spans || []) {
          const middle = (across(span.from) + across(span.to)) / 2;
          if (!span.label || middle < left + 30 || middle > right - 10) continue;
          const place = { x: middle, y: top + 13, "text-anchor": "middle", class: "soft small" };
          element("text", place, svg, span.label);
        }
      }
      const front = element("g", inside, svg);
      for (const limit of panel.limits || []) {
        element("path", { d: `M${left} ${up(limit.y)}H${right}`, class: "limit" }, front);
        element("text", { x: left + 6, y: up(limit.y) - 5 }, svg, limit.label);
      }
      const points = [];
      for (const series of panel.series) {
        if (this.hidden.has(series.name)) continue;
        if (series.line) this.line(front, series, across, up);
        series.x.forEach((x, index) => {
          const y = series.y[index];
          if (y === null) return;
          if (series.marks.length) this.mark(front, across(x), up(y), series.marks[index], series.colour);
          if (series.text.length || !series.marks.length) points.push({ x, y, series, panel, up, index });
        });
      }
      for (const note of panel.notes || []) {
        const [x, y] = [across(note.x), up(note.y)];
        element("path", { d: `M${x + 2} ${y + 7}L${x + 16} ${y + 46}`, class: "cursor" }, front);
        const half = note.text.length * FONT * 0.3;
        const middle = Math.min(Math.max(x + 16, left + half), right - half);
        const place = { x: middle, y: y + 60, "text-anchor": "middle", class: "strong" };
        element("text", place, front, note.text);
      }
      this.areas.push({ points, top, bottom });
    }

    line(parent, series, across, up) {
      let d = "";
      let pen = "M";
      series.x.forEach((x, index) => {
        const y = series.y[index];
        if (y === null) {
          pen = "M";
          return;
        }
        d += `${pen}${across(x).toFixed(1)} ${up(y).toFixed(1)}`;
        pen = "L";
      });
      element("path", { d, class: `line ${series.colour} ${series.dash || ""}` }, parent);
    }

    // What there is to point at, from left to right: each mark, or each second with all its values.
    stops() {
      const points = this.areas.flatMap((area) => area.points)
        .filter(({ x, series }) => series.text.length || this.figure.together)
        .filter(({ x }) => x >= this.range[0] && x <= this.range[1]);
      if (!this.figure.together) return points.sort((a, b) => a.x - b.x);
      const byX = new Map();
      for (const point of points) byX.set(point.x, [...(byX.get(point.x) || []), point]);
      return [...byX.entries()].sort((a, b) => a[0] - b[0]).map(([x, all]) => ({ x, all }));
    }

    show(stop) {
      if (!stop) return;
      const { across, top, bottom } = this.geometry;
      const x = across(stop.x);
      const first = stop.all ? stop.all[0] : stop;
      const y = first.up(first.y);
      this.note.textContent = stop.all
        ? [`${said(stop.x)} s`, ...stop.all.map(({ series, y: value, panel }) =>
            `${series.name} ${said(value)}${panel.unit}`)].join("\n")
        : stop.series.text[stop.index];
      this.cursor.setAttribute("d", stop.all ? `M${x} ${top}V${bottom}`
        : `M${x - 8} ${y}a8 8 0 1 0 16 0a8 8 0 1 0 -16 0`);
      this.note.hidden = false;
      const { offsetWidth: wide, offsetHeight: high } = this.note;
      const room = this.place.clientWidth;
      this.note.style.left = `${Math.max(0, x + 14 + wide > room ? x - 14 - wide : x + 14)}px`;
      this.note.style.top = `${Math.max(0, Math.min(y - high - 10, bottom - high))}px`;
    }

    hide() {
      this.note.hidden = true;
      this.cursor.setAttribute("d", "");
    }

    zoom(range) {
      this.range = range[1] - range[0] > (this.whole[1] - this.whole[0]) / 1000 ? range : this.range;
      this.at = -1;
      this.draw();
    }

    listen() {
      const place = this.place;
      const inverse = (px) => {
        const { left, right } = this.geometry;
        const share = Math.min(Math.max((px - left) / (right - left), 0), 1);
        return this.range[0] + share * (this.range[1] - this.range[0]);
      };
      const where = (event) => {
        const box = place.getBoundingClientRect();
        return [event.clientX - box.left, event.clientY - box.top];
      };
      let from = null;
      place.addEventListener("pointerdown", (event) => {
        if (event.pointerType === "mouse" && event.button === 0) [from] = where(event);
      });
      place.addEventListener("pointermove", (event) => {
        const [px, py] = where(event);
        if (from !== null && Math.abs(px - from) > LEAST_DRAG) {
          this.brush.setAttribute("x", Math.min(px, from));
          this.brush.setAttribute("width", Math.abs(px - from));
        }
        const { across } = this.geometry;
        const away = (stop) => stop.all ? Math.abs(across(stop.x) - px)
          : Math.hypot(across(stop.x) - px, stop.up(stop.y) - py);
        const nearest = this.stops().reduce((best, stop) =>
          !best || away(stop) < away(best) ? stop : best, null);
        if (nearest && away(nearest) < NEAR) this.show(nearest);
        else this.hide();
      });
      addEventListener("pointerup", (event) => {
        if (from === null) return;
        const [px] = where(event);
        const [a, b] = [Math.min(px, from), Math.max(px, from)];
        from = null;
        this.brush.setAttribute("width", 0);
        if (b - a > LEAST_DRAG) this.zoom([inverse(a), inverse(b)]);
      });
      place.addEventListener("pointerleave", () => this.hide());
      place.addEventListener("dblclick", () => this.zoom(this.whole));
      place.addEventListener("blur", () => this.hide());
      place.addEventListener("keydown", (event) => {
        const stops = this.stops();
        const [low, high] = this.range;
        const middle = stops[this.at] ? stops[this.at].x : (low + high) / 2;
        const closer = (factor) => {
          const half = ((high - low) / 2) * factor;
          const range = [Math.max(middle - half, this.whole[0]), Math.min(middle + half, this.whole[1])];
          this.zoom(range[1] - range[0] >= this.whole[1] - this.whole[0] ? this.whole : range);
        };
        const far = Math.max(1, Math.round(stops.length / 20));
        const moves = { ArrowRight: 1, ArrowLeft: -1, PageDown: far, PageUp: -far,
          Home: -stops.length, End: stops.length };
        if (event.key in moves) {
          this.at = Math.min(Math.max(this.at + moves[event.key], 0), stops.length - 1);
          this.show(stops[this.at]);
        } else if (event.key === "+") closer(0.5);
        else if (event.key === "-") closer(2);
        else if (event.key === "Escape") this.zoom(this.whole);
        else return;
        event.preventDefault();
      });
    }
  }

  const charts = Object.entries(figures).map(([id, figure]) =>
    new Chart(document.getElementById(id), figure));
  let width = document.body.clientWidth;
  new ResizeObserver(() => {
    if (document.body.clientWidth === width) return;
    width = document.body.clientWidth;
    charts.forEach((chart) => chart.draw());
  }).observe(document.body);
  addEventListener("beforeprint", () => {
    document.documentElement.classList.add("paper");
    charts.forEach((chart) => chart.draw(PAPER));
  });
  addEventListener("afterprint", () => {
    document.documentElement.classList.remove("paper");
    charts.forEach((chart) => chart.draw());
  });
})();
