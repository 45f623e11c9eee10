// What is said of one threshold, and moving to another: mouse, touch and keys.

function figure(id, text) {
  const [, about, number] = /^(about )?(.*)$/.exec(text);
  const small = document.createElement("small");
  small.textContent = about ?? "";
  at(id).replaceChildren(small, number);
}

function tell() {
  const step = hovered ?? chosen;
  const texts = data.texts;
  at("threshold").textContent = data.labels[step];
  const isPreview = hovered !== null && hovered !== chosen;
  at("badge").textContent = isPreview ? "click to select" : step === data.usual ? "default" : "";
  figure("pairs", texts.pairs[step][0]);
  at("pairs-range").textContent = texts.pairs[step][1];
  figure("images", texts.images[step][0]);
  at("images-range").textContent = [texts.images[step][1], texts.share[step]].filter(Boolean).join(" \u00b7 ");
  at("clusters").textContent = data.clusters[step].toLocaleString("en-US");
  at("largest").textContent = data.largest[step].toLocaleString("en-US");
  at("largest-unit").textContent = data.largest[step] === 1 ? "image" : "images";
  at("cut").textContent = "threshold " + data.labels[step];
  const [from, middle, to] = data.shares[step].map((value) => 100 * value);
  at("share").replaceChildren(
    make("rect", { class: "all", width: 100, height: 4 }),
    make("rect", { class: "band", x: from, width: Math.max(0, to - from), height: 4 }),
    make("rect", { class: "sure", width: middle, height: 4 }),
  );
  at("share").setAttribute("aria-label", `${texts.share[step]} of all images`);
  pairsAt(valueOf(step));
  mark();
}

function spoken(step) {
  const [pairs, interval] = data.texts.pairs[step];
  return `${data.labels[step]}: ${pairs}${interval && ` (${interval})`} similar pairs`;
}

function select(step) {
  chosen = clamp(step);
  hovered = null;
  const slider = at("slider");
  slider.setAttribute("aria-valuenow", data.labels[chosen]);
  slider.setAttribute("aria-valuetext", spoken(chosen));
  if (!over) offer();
  tell();
}

// --- mouse, touch and keys ---

const slider = at("slider");
let dragging = false;
let waiting = 0; // the next frame, in which the pointer's step is shown
let pointer = 0;

function stepUnder(event) {
  const fromTop = event.clientY - slider.getBoundingClientRect().top;
  return stepAt(high - ((high - low) * fromTop) / plotHeight());
}

slider.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  slider.setPointerCapture(event.pointerId);
  dragging = true;
  select(stepUnder(event));
});
slider.addEventListener("pointermove", (event) => {
  pointer = stepUnder(event);
  waiting ||= requestAnimationFrame(() => {
    waiting = 0;
    if (dragging) select(pointer);
    else {
      hovered = pointer;
      tell();
    }
  });
});
function leave() {
  cancelAnimationFrame(waiting);
  waiting = 0;
  if (dragging) select(pointer);
  dragging = false;
  hovered = null;
  tell();
}
slider.addEventListener("pointerup", (event) => {
  pointer = stepUnder(event);
  if (dragging) select(pointer);
  dragging = false;
});
slider.addEventListener("pointercancel", leave);
slider.addEventListener("pointerleave", () => dragging || leave());

const moves = {
  ArrowUp: () => chosen + 1, ArrowRight: () => chosen + 1, ArrowDown: () => chosen - 1, ArrowLeft: () => chosen - 1,
  PageUp: () => chosen + page, PageDown: () => chosen - page, Home: () => 0, End: () => last,
};
slider.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key === "Enter") {
    event.preventDefault();
    select(hovered ?? chosen);
    at("act")?.focus();
  } else if (event.key === "Escape" && hovered !== null) {
    hovered = null;
    tell();
  } else if (Object.hasOwn(moves, event.key)) {
    event.preventDefault();
    select(moves[event.key]());
  }
});

at("scale").addEventListener("change", (event) => {
  isLog = event.target.value === "log";
  draw();
});
