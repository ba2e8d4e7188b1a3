// Draws the plots in the colours of the page: light, dark, or for paper.
(() => {
  "use strict";
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const root = document.documentElement;
  const config = { responsive: true, displaylogo: false, displayModeBar: false };
  const printWidth = 680;

  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  const themed = (layout, width) => {
    const copy = structuredClone(layout);
    const ink = colour("--ink");
    copy.font = { family: getComputedStyle(document.body).fontFamily, size: 13, color: ink };
    copy.hoverlabel = {
      ...copy.hoverlabel,
      bgcolor: colour("--surface"),
      bordercolor: colour("--line"),
      font: { color: ink },
    };
    for (const key of Object.keys(copy)) {
      if (/^[xy]axis\d*$/.test(key)) {
        copy[key].gridcolor = colour("--grid");
        copy[key].linecolor = colour("--line");
      }
    }
    for (const note of copy.annotations || []) {
      note.font = { color: ink, ...note.font };
      note.arrowcolor = ink;
    }
    copy.autosize = !width;
    if (width) copy.width = width;
    return copy;
  };

  const draw = (width) => {
    for (const [id, figure] of Object.entries(figures)) {
      Plotly.react(id, structuredClone(figure.data), themed(figure.layout, width), config);
    }
  };

  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());
  addEventListener("beforeprint", () => {
    root.classList.add("paper");
    draw(printWidth);
  });
  addEventListener("afterprint", () => {
    root.classList.remove("paper");
    draw();
  });
})();
