// The curve: axes, band, steps, the default, and the handle at the threshold that is shown.

const margin = { left: 48, right: 14, top: 22, bottom: 40 };
const box = { width: 0, height: 0 };
const peak = Math.max(data.thresholds[last], data.default);
const bottom = Math.min(lowest(), data.default);
const pad = (peak - bottom) * 0.03 || 0.05;
const low = bottom - pad;
const high = peak + pad;
const most = Math.max(1, ...data.high);
const positive = data.pairs.filter((value) => value > 0);
const least = Math.min(1, 10 ** Math.floor(Math.log10(Math.max(0.01, Math.min(1, ...positive)))));

const plotWidth = () => box.width - margin.left - margin.right;
const plotHeight = () => box.height - margin.top - margin.bottom;
const y = (threshold) => margin.top + plotHeight() * (1 - Math.max(0, threshold - low) / (high - low));
const x = (pairs) => margin.left + plotWidth() * share(pairs);

// Return where the axis starts. A first threshold far below the others, at which all are similar, would leave
// them little room: its step lies at the very bottom then.
function lowest() {
  const [first, second = first] = data.thresholds;
  const others = peak - second;
  return second - first > others / 5 ? second - others / 50 : first;
}

// On the log scale zero has a place of its own at the left, and what is below one decade lies between.
function share(pairs) {
  if (!isLog) return pairs / (most * 1.02);
  const gap = 0.07;
  if (pairs <= least) return (gap * Math.max(0, pairs)) / least;
  return gap + ((1 - gap) * Math.log(pairs / least)) / Math.log(Math.max(most * 1.15, 10 * least) / least);
}

// --- the curve ---

function make(name, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  if (text !== undefined) element.textContent = text;
  return element;
}

// The outline of steps: each number holds from its threshold up to the next.
function steps(values) {
  const points = [];
  values.forEach((value, step) => {
    const top = step < last ? data.thresholds[step + 1] : Math.max(high - pad, data.thresholds[step]);
    points.push([x(value), y(data.thresholds[step])], [x(value), y(top)]);
  });
  return points;
}

const path = (points) => "M" + points.map(([a, b]) => a.toFixed(1) + "," + b.toFixed(1)).join("L");

function niceStep(span, ticks) {
  const rough = span / Math.max(2, ticks);
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
}

function short(number) {
  const units = [[1e9, " bn"], [1e6, " M"], [1e4, "k", 1e3]];
  for (const [from, unit, divisor] of units)
    if (number >= from) return +(number / (divisor || from)).toPrecision(3) + unit;
  return number.toLocaleString("en-US");
}

function pairTicks() {
  const ticks = [0];
  if (!isLog) {
    const step = Math.max(1, niceStep(most, plotWidth() / 90));
    for (let tick = step; tick <= most; tick += step) ticks.push(tick);
    return ticks;
  }
  const decades = Math.log10(most / least);
  const skip = Math.max(1, Math.ceil((decades * 52) / plotWidth()));
  const first = Math.round(Math.log10(least));
  for (let power = first; 10 ** power <= Math.max(most * 1.15, 10 * least); power += skip) ticks.push(+(10 ** power).toPrecision(1));
  return ticks;
}

function thresholdTicks() {
  const step = niceStep(high - low, plotHeight() / 44);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const ticks = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) ticks.push((k * step).toFixed(digits));
  return ticks;
}

const svg = at("svg");
const moving = make("g");
const note = make("text", { class: "default-name", "text-anchor": "end" }, "default " + data.labels[data.usual]);

function draw() {
  const plot = at("plot");
  box.width = plot.clientWidth;
  box.height = plot.clientHeight;
  svg.setAttribute("viewBox", `0 0 ${box.width} ${box.height}`);
  const right = box.width - margin.right;
  const floor = box.height - margin.bottom;
  svg.replaceChildren();
  for (const tick of thresholdTicks()) {
    svg.append(make("line", { class: "grid", x1: margin.left, x2: right, y1: y(+tick), y2: y(+tick) }));
    svg.append(make("text", { class: "tick", x: margin.left - 8, y: y(+tick) + 4, "text-anchor": "end" }, tick));
  }
  for (const tick of pairTicks()) {
    svg.append(make("line", { class: "grid", x1: x(tick), x2: x(tick), y1: margin.top, y2: floor }));
    svg.append(make("text", { x: x(tick), y: floor + 17, "text-anchor": "middle" }, short(tick)));
  }
  svg.append(make("line", { class: "axis", x1: margin.left, x2: right, y1: floor, y2: floor }));
  if (isLog) {
    const middle = (x(0) + x(least)) / 2; // the scale is broken here: to the left of it is zero
    svg.append(make("path", { class: "break", d: `M${middle - 5},${floor + 5}l5,-10m2,10l5,-10` }));
  }
  const name = data.exact ? "similar pairs" : "expected similar pairs (band: 95 % interval)";
  svg.append(make("text", { x: right, y: floor + 34, "text-anchor": "end" }, name));
  if (!data.exact)
    svg.append(make("path", { class: "band", d: path([...steps(data.low), ...steps(data.high).reverse()]) + "Z" }));
  svg.append(make("path", { class: "curve", d: path(steps(data.pairs)) }));
  const usual = y(data.default);
  svg.append(make("line", { class: "default", x1: margin.left, x2: right, y1: usual, y2: usual }));
  svg.append(make("text", { x: 0, y: 10 }, "threshold"), note, moving);
  note.setAttribute("x", right - 4);
  Object.assign(at("slider").style, {
    left: margin.left + "px", top: margin.top + "px", width: plotWidth() + "px", height: plotHeight() + "px",
  });
  mark();
}

// The handle: a line across, the dot on the curve with its interval, and what they say.
function mark() {
  const right = box.width - margin.right;
  moving.replaceChildren();
  const lines = hovered === null || hovered === chosen ? [[chosen, "selected"]] : [[chosen, "selected"], [hovered, "hovered"]];
  for (const [step, kind] of lines) {
    const level = y(valueOf(step));
    moving.append(make("line", { class: kind, x1: margin.left, x2: right, y1: level, y2: level }));
  }
  const step = hovered ?? chosen;
  const level = y(valueOf(step));
  moving.append(make("line", { class: "whisker", x1: x(data.low[step]), x2: x(data.high[step]), y1: level, y2: level }));
  moving.append(make("circle", { class: "dot", cx: x(data.pairs[step]), cy: level, r: 6 }));
  const label = data.labels[step];
  const chip = Math.max(40, 8 + 7 * label.length);
  moving.append(make("rect", { class: "chip", x: margin.left - 4 - chip, y: level - 10, width: chip, height: 20, rx: 5 }));
  moving.append(make("text", { class: "chip-text", x: margin.left - 4 - chip / 2, y: level + 4, "text-anchor": "middle" }, label));
  tip(step, level, right);
}

// What the handle says goes to one side of its line, the name of the default to where that leaves room.
function tip(step, level, right) {
  const words = data.texts.pairs[step][0] + (data.pairs[step] === 1 && data.exact ? " pair" : " pairs");
  const text = make("text", { class: "tip-text" }, words);
  moving.append(text);
  const width = text.getComputedTextLength() + 16;
  const start = x(data.pairs[step]) + 14;
  const left = start + width <= right ? start : Math.max(margin.left + 2, x(data.pairs[step]) - 14 - width);
  const isBelow = level > y(data.default);
  const fits = isBelow ? level + 36 < box.height - margin.bottom : level - 36 > margin.top;
  const top = isBelow === fits ? level + 11 : level - 36;
  text.setAttribute("x", left + 8);
  text.setAttribute("y", top + 17);
  moving.insertBefore(make("rect", { class: "tip", x: left, y: top, width, height: 25, rx: 6 }), text);
  const usual = y(data.default);
  const isTaken = isBelow || (top < usual + 18 && top + 25 > usual + 3);
  note.setAttribute("y", usual + (isTaken ? -5 : 15));
  for (const tick of svg.querySelectorAll(".tick"))
    tick.setAttribute("visibility", Math.abs(tick.getAttribute("y") - 4 - level) < 17 ? "hidden" : "visible");
}
