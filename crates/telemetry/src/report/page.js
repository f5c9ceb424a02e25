// The arrow keys, Home and End go from mark to mark of the chart that has the focus and say what it stands for; Escape leaves.
const said = document.getElementById("said");
for (const chart of document.querySelectorAll("svg[tabindex]")) {
  const marks = [...chart.querySelectorAll("[data-label]")];
  let at = -1;
  const go = (to) => {
    marks[at]?.classList.remove("now");
    at = to;
    marks[at]?.classList.add("now");
    said.textContent = marks[at]?.dataset.label ?? "";
  };
  chart.addEventListener("keydown", (event) => {
    const last = marks.length - 1;
    const to = { ArrowRight: Math.min(at + 1, last), ArrowDown: Math.min(at + 1, last), ArrowLeft: Math.max(at - 1, 0),
      ArrowUp: Math.max(at - 1, 0), Home: 0, End: last, Escape: -1 }[event.key];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    go(to);
  });
  chart.addEventListener("blur", () => go(-1));
}
