// What the parts of the page share. `page.py` makes one function of all parts.

const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const last = data.thresholds.length - 1;
const page = 10; // steps of PageUp and PageDown
const shown = 6; // pairs on each side of the cut
let chosen = data.usual; // the step that stays
let hovered = null; // the step under the pointer
let isLog = true;
let over = false; // nothing can be chosen any more

const valueOf = (step) => Number(data.labels[step]);
const clamp = (step) => Math.max(0, Math.min(last, step));

// Return the step that a threshold lies in: each holds from its own threshold up to the next.
function stepAt(threshold) {
  let from = 0;
  let to = last;
  while (from < to) {
    const middle = (from + to + 1) >> 1;
    if (data.thresholds[middle] <= threshold) from = middle;
    else to = middle - 1;
  }
  return from;
}
