// Copy and download buttons, and the endpoint's name in the commands. The result lies in the page,
// packed: as text it would be half of it.
(() => {
  "use strict";
  const unpacked = (async () => {
    const packed = Uint8Array.from(atob(document.getElementById("result").textContent), (each) =>
      each.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  })();

  const cell = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };

  // One row for each step: the load test's fields, then the step's, those inside others by dots.
  const flat = (value, name = "") =>
    value !== null && typeof value === "object" && !Array.isArray(value)
      ? Object.entries(value).flatMap(([key, each]) => flat(each, name ? `${name}.${key}` : key))
      : [[name, value]];

  const observations = (result) => {
    const rows = result.candidates.flatMap(({ instance_type: instanceType, load_tests: tests }) =>
      tests.flatMap(({ load_test_id: id, instance_count: count, purpose, observations: steps }) =>
        steps.map(({ errors, ...step }) => new Map(flat({ instance_type: instanceType,
          load_test_id: id, instance_count: count, purpose, ...step,
          errors: Object.entries(errors).map(([kind, n]) => `${kind} ${n}`).join("; ") })))));
    const names = [...new Set(rows.flatMap((row) => [...row.keys()]))];
    return [names, ...rows.map((row) => names.map((name) => row.get(name)))]
      .map((row) => row.map(cell).join(",")).join("\n") + "\n";
  };

  const files = {
    "result.json": async () => unpacked,
    "request.json": async () => JSON.stringify(JSON.parse(await unpacked).sizing.request, null, 2),
    "observations.csv": async () => observations(JSON.parse(await unpacked)),
  };

  const said = (button, text) => {
    const usual = button.textContent;
    button.textContent = text;
    setTimeout(() => { button.textContent = usual; }, 1500);
  };

  const copy = async (button, text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch { // no clipboard for a file from disk in some browsers: the old way
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    said(button, "Copied");
  };

  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.addEventListener("click", async () => {
      const what = button.dataset.copy;
      copy(button, what in files ? await files[what]() : document.getElementById(what).textContent);
    });
  }
  for (const button of document.querySelectorAll("button[data-download]")) {
    button.addEventListener("click", async () => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([await files[button.dataset.download]()]));
      link.download = button.dataset.download;
      link.click();
      URL.revokeObjectURL(link.href);
      said(button, "Saved");
    });
  }

  const field = document.getElementById("endpoint-name");
  if (field) {
    const blocks = [...document.querySelectorAll("code[data-named]")];
    const original = blocks.map((block) => block.textContent);
    field.addEventListener("input", () => blocks.forEach((block, index) => {
      block.textContent = original[index].replaceAll(field.placeholder, field.value || field.placeholder);
    }));
  }
  for (const each of document.querySelectorAll(".needs-script")) each.hidden = false;

  // On a phone a table shows its first rows: the answer's is one of them.
  const narrow = matchMedia("(max-width: 640px)");
  const rows = [...document.querySelectorAll("tr.chosen")].map((row) => [row, row.nextElementSibling]);
  const place = () => {
    for (const [row, after] of rows) {
      if (narrow.matches) {
        row.parentElement.prepend(row);
      } else {
        row.parentElement.insertBefore(row, after);
      }
    }
  };
  narrow.addEventListener("change", place);
  place();
})();
