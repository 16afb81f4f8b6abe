"use strict";
// Tables can be sorted by their columns, and everything folded is unfolded on paper.
(() => {
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent.trim();
  };
  const compare = (first, second, sign) => {
    if (typeof first === "number" && typeof second === "number") return sign * (first - second);
    if (typeof first === "number") return -1; // what has no number comes last, whatever the order
    if (typeof second === "number") return 1;
    return sign * first.localeCompare(second, undefined, { numeric: true });
  };
  const sortBy = (table, header, column) => {
    const descending = header.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const body = table.tBodies[0];
    const sign = descending ? -1 : 1;
    body.append(...[...body.rows].sort((a, b) => compare(valueOf(a, column), valueOf(b, column), sign)));
  };
  for (const table of document.querySelectorAll("table[data-sortable]")) {
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
      header.classList.add("sortable");
      header.setAttribute("aria-sort", "none");
      if (table.tBodies[0].rows[0].cells[column].classList.contains("number")) button.classList.add("number");
      button.addEventListener("click", () => sortBy(table, header, column));
    });
  }
  addEventListener("beforeprint", () => {
    for (const folded of document.querySelectorAll("details")) folded.open = true;
  });
})();
