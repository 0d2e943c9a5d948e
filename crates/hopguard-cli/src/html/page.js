"use strict";
// Shows and hides what is there already; it makes nothing out of text, so nothing in a log can become code.
(() => {
  const id = (name) => document.getElementById(name);
  const rows = [...document.querySelectorAll("#events tbody tr")];
  const marks = new Map([...document.querySelectorAll("svg a")].map((a) => [a.dataset.event, a]));
  const lower = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const filter = () => {
    const text = id("text").value.trim().toLowerCase();
    const [service, decision, odd] = [id("service").value, id("decision").value, id("odd").checked];
    let shown = 0;
    for (const row of rows) {
      const on = lower.get(row).includes(text)
        && (service === "" || row.dataset.service === service)
        && (decision === "" || row.dataset.decision === decision)
        && (!odd || "suspect" in row.dataset);
      row.hidden = !on;
      shown += on ? 1 : 0;
      const mark = marks.get(row.dataset.event);
      if (mark) mark.style.display = on ? "" : "none";
    }
    id("shown").textContent = `${shown} of ${rows.length} events`;
  };
  for (const name of ["text", "service", "decision", "odd"]) {
    id(name).addEventListener("input", filter);
    id(name).addEventListener("change", filter);
  }
  const open = (on) => () => document.querySelectorAll("#tree details").forEach((one) => { one.open = on; });
  id("expand").addEventListener("click", open(true));
  id("collapse").addEventListener("click", open(false));
  id("filters").hidden = false;
  filter();
})();
