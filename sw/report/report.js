// Sorting (worst first, blanks last) and filtering of tables. Without it the page only loses these.
const blank = text => text === "" || text === "–";
const cellValue = (row, column) => row.cells[column].dataset.v ?? row.cells[column].textContent.trim();

function sort(table, column, first) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach(head => head.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", first === "high" ? "descending" : "ascending");
  const turn = first === "high" ? -1 : 1;
  body.append(...[...body.rows].sort((a, b) => {
    const x = cellValue(a, column), y = cellValue(b, column);
    if (blank(x) || blank(y)) return blank(x) - blank(y);
    const number = Number(x) - Number(y);
    return turn * (Number.isNaN(number) ? x.localeCompare(y, undefined, { numeric: true }) : number || 0) || a.dataset.i - b.dataset.i;
  }));
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  [...table.tBodies[0].rows].forEach((row, i) => { row.dataset.i = i; });
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const usual = head.dataset.first || "low", now = head.getAttribute("aria-sort");
    const turned = now === (usual === "high" ? "descending" : "ascending");
    sort(table, column, turned ? (usual === "high" ? "low" : "high") : usual);
  }));
}

for (const tools of document.querySelectorAll(".tools")) {
  const table = document.getElementById(tools.dataset.table), field = tools.querySelector("input"), count = tools.querySelector("output");
  const rows = [...table.tBodies[0].rows];
  const filter = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    rows.forEach(row => { row.hidden = !words.every(word => row.dataset.text.includes(word)); });
    const shown = rows.filter(row => !row.hidden).length;
    count.textContent = shown === rows.length ? "" : `${shown} of ${rows.length}`;
  };
  field.addEventListener("input", filter);
  for (const button of tools.querySelectorAll("button")) {
    button.addEventListener("click", () => sort(table, Number(button.dataset.column), button.dataset.first));
  }
  window.addEventListener("hashchange", () => {
    const row = document.getElementById(location.hash.slice(1));
    if (row?.hidden) { field.value = ""; filter(); row.scrollIntoView(); }
  });
  tools.hidden = false;
}
