// What scrolls can be scrolled with the keyboard; what does not is no stop of the Tab key.
const boxes = document.querySelectorAll("pre, .table, .formula, figure");
const mark = () => {
  for (const box of boxes) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
};
mark();
addEventListener("resize", mark);
for (const folded of document.querySelectorAll("details")) {
  folded.addEventListener("toggle", mark);
}
