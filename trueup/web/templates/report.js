"use strict";
// Sorts and filters the tables, and offers the embedded report for download. Nothing else.
for (const tools of document.querySelectorAll("[data-table]")) {
  const table = document.getElementById(tools.dataset.table);
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const text = rows.map((row) => row.cells[0].textContent.toLowerCase() + " " + row.dataset.words);
  const search = tools.querySelector("input");
  const level = tools.querySelector("select");
  const said = tools.querySelector("output");

  function filter() {
    const wanted = search.value.trim().toLowerCase();
    let shown = 0;
    rows.forEach((row, index) => {
      const keep =
        (!wanted || text[index].includes(wanted)) &&
        (!level.value || row.dataset.level === level.value);
      row.hidden = !keep;
      shown += keep ? 1 : 0;
    });
    said.textContent = shown === rows.length ? rows.length + " rows" : shown + " of " + rows.length + " rows";
  }

  function value(row, column) {
    const cell = row.cells[column];
    if (cell.dataset.v === undefined) return cell.textContent.toLowerCase();
    return cell.dataset.v === "" ? null : Number(cell.dataset.v);
  }

  function sort(header) {
    const column = header.cellIndex;
    const down = header.getAttribute("aria-sort") === "ascending";
    for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const sign = down ? -1 : 1;
    const keyed = rows.map((row, index) => ({ row, index, key: value(row, column) }));
    keyed.sort((a, b) => {
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null) || a.index - b.index;
      return a.key < b.key ? -sign : a.key > b.key ? sign : a.index - b.index;
    });
    body.append(...keyed.map((item) => item.row));
  }

  for (const header of table.tHead.rows[0].cells) {
    const label = header.textContent;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    header.replaceChildren(button);
    button.addEventListener("click", () => sort(header));
  }
  search.addEventListener("input", filter);
  level.addEventListener("change", filter);
  tools.classList.add("ready");
  filter();
}

const link = document.getElementById("download");
if (link && "DecompressionStream" in window) {
  link.addEventListener("click", async (event) => {
    event.preventDefault();
    const packed = Uint8Array.from(atob(link.href.split(",")[1]), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const json = await new Response(stream).blob();
    const anchor = document.createElement("a");
    anchor.href = URL.createObjectURL(json);
    anchor.download = "trueup-report.json";
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(anchor.href), 1000);
  });
}
