"use strict";
// Skipped files, the parameters and times of the run, and the threshold curve with the cut that was chosen.

(function () {
  const { data, make, shown, count, counted } = gallery;
  const MOST = 2000; // skipped files in the table at once

  // --- tables ---

  function text(value) {
    if (value === null || value === undefined) return "–";
    if (Array.isArray(value)) return value.length ? value.map(text).join(", ") : "–";
    if (typeof value === "object") return Object.entries(value).map(([name, each]) => name + " " + text(each)).join(", ") || "–";
    if (typeof value === "boolean") return value ? "yes" : "no";
    return shown(String(value)).replaceAll("\\\\", "\\");
  }

  function table(title, object) {
    const entries = Object.entries(object || {});
    if (!entries.length) return null;
    const body = make("tbody", {});
    for (const [name, value] of entries) {
      body.append(make("tr", {}, make("th", { scope: "row" }, name.replaceAll("_", " ")), make("td", {}, text(value))));
    }
    return make("section", {}, make("h2", {}, title), make("table", {}, body));
  }

  function times(seconds) {
    const entries = Object.entries(seconds || {}).filter(([, value]) => typeof value === "number");
    if (!entries.length) return null;
    const most = Math.max(...entries.map(([, value]) => value), 1e-9);
    const body = make("tbody", {});
    for (const [name, value] of entries) {
      const meter = make("span", { class: "meter long" }, make("i", {}));
      meter.firstChild.style.width = (100 * value) / most + "%";
      body.append(make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, meter, " " + (value < 10 ? value.toFixed(3) : value.toFixed(1)) + " s")));
    }
    return make("section", {}, make("h2", {}, "Times"), make("table", {}, body));
  }

  // --- the curve ---

  const SVG = "http://www.w3.org/2000/svg";
  function draw(tag, attributes, content) {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (content !== undefined) element.textContent = content;
    return element;
  }

  function curveAt(curve, threshold) {
    let k = curve.thresholds.findIndex((each) => each > threshold);
    if (k < 0) k = curve.thresholds.length;
    return Math.max(0, k - 1);
  }

  function curveSection(curve) {
    if (!curve) return null;
    const width = Math.max(280, Math.min(760, document.getElementById("view").clientWidth - 48));
    const [height, left, bottom, top, right] = [320, 46, 42, 12, 16];
    const { thresholds, pairs, pairs_low: low, pairs_high: high } = curve;
    const from = Math.min(thresholds[0], data.threshold);
    const to = Math.max(thresholds[thresholds.length - 1], data.threshold);
    const most = Math.log10(1 + Math.max(...high, ...pairs, 1));
    const x = (value) => left + ((width - left - right) * Math.log10(1 + Math.max(0, value))) / most;
    const y = (value) => height - bottom - ((height - bottom - top) * (value - from)) / (to - from || 1);
    const svg = draw("svg", { width, height, viewBox: "0 0 " + width + " " + height, class: "curve", role: "img", "aria-label": "Expected similar pairs by threshold" });
    for (let power = 0; power <= most; power += 1) {
      const at = x(10 ** power);
      svg.append(draw("line", { x1: at, x2: at, y1: top, y2: height - bottom, class: "grid" }));
      svg.append(draw("text", { x: at, y: height - bottom + 16, "text-anchor": "middle" }, count(10 ** power)));
    }
    const step = [0.01, 0.02, 0.05, 0.1, 0.2].find((each) => (to - from) / each <= 8) || 0.5;
    for (let value = Math.ceil(from / step) * step; value <= to + 1e-9; value += step) {
      svg.append(draw("line", { x1: left, x2: width - right, y1: y(value), y2: y(value), class: "grid" }));
      svg.append(draw("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(2)));
    }
    const points = (values) => values.map((value, k) => x(value).toFixed(1) + "," + y(thresholds[k]).toFixed(1));
    svg.append(draw("polygon", { points: points(low).concat(points(high).reverse()).join(" "), class: "band" }));
    svg.append(draw("polyline", { points: points(pairs).join(" "), class: "line" }));
    const cut = y(data.threshold);
    svg.append(draw("line", { x1: left, x2: width - right, y1: cut, y2: cut, class: "cut" }));
    svg.append(draw("text", { x: width - right, y: cut - 5, "text-anchor": "end", class: "cut-label" }, "threshold " + data.threshold));
    svg.append(draw("text", { x: (left + width) / 2, y: height - 6, "text-anchor": "middle" }, "expected similar pairs"));
    const marker = draw("line", { x1: left, x2: width - right, y1: cut, y2: cut, class: "marker" });
    svg.append(marker);
    const readout = make("p", { class: "small", id: "curve-readout" });
    const tell = (threshold) => {
      const k = curveAt(curve, threshold);
      const images = Array.isArray(curve.images) ? ", " + count(Math.round(curve.images[k])) + " clustered images" : "";
      readout.textContent = "Above " + threshold.toFixed(3) + ": " + count(Math.round(pairs[k])) + " similar pairs" + (low[k] < high[k] ? " (" + count(Math.round(low[k])) + " to " + count(Math.round(high[k])) + ")" : "") + images + (low[k] < high[k] ? " expected" : "");
      marker.setAttribute("y1", y(threshold));
      marker.setAttribute("y2", y(threshold));
    };
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const at = ((event.clientY - box.top) / box.height) * height;
      tell(Math.min(to, Math.max(from, from + ((height - bottom - at) / (height - bottom - top)) * (to - from))));
    });
    svg.addEventListener("pointerleave", () => tell(data.threshold));
    tell(data.threshold);
    return make("section", { class: "whole" }, make("h2", {}, "Threshold curve"), svg, readout);
  }

  // --- what a deep run tells ---

  const CANDIDATES = 12;
  const SCORES = ["silhouette", "calinski_harabasz", "davies_bouldin", "modularity", "mean_rank", "score"];

  function modelsSection(selection) {
    const head = make("tr", {}, ...["candidate", "clusters", "outliers", ...SCORES].map((name) => make("th", {}, name.replaceAll("_", " "))));
    const body = make("tbody", {});
    for (const row of selection.candidates.slice(0, CANDIDATES)) {
      const params = Object.entries(row.params).map(([name, value]) => name + " " + value).join(", ");
      const cells = [row.n_clusters, (100 * row.outliers).toFixed(1) + " %", ...SCORES.map((name) => (typeof row[name] === "number" ? row[name].toFixed(3) : "–"))];
      body.append(make("tr", { class: row.chosen ? "chosen" : "" }, make("th", { scope: "row" }, row.model + " " + params), ...cells.map((cell) => make("td", {}, String(cell)))));
    }
    const rest = selection.candidates.length - CANDIDATES;
    const note = make("p", { class: "small" }, (selection.best || selection.note) + ", by " + selection.rule + (rest > 0 ? "; " + counted(rest, "more candidate") + " in run.json" : ""));
    const title = "Cluster models: " + selection.of.replaceAll("_", " ");
    return make("section", { class: "whole models" }, make("h2", {}, title), note, make("div", { class: "wide" }, make("table", {}, make("thead", {}, head), body)));
  }

  function plotsSection(plots) {
    if (!plots.length) return null;
    const figures = plots.map((name) => {
      const address = gallery.address(data.resultPath + "/" + name);
      const title = name.replace(/\.png$/, "").replaceAll("_", " ");
      return make("figure", {}, make("a", { href: address }, make("img", { src: address, alt: title, loading: "lazy" })), make("figcaption", {}, title));
    });
    return make("section", { class: "whole plots" }, make("h2", {}, "Pictures of the run"), ...figures);
  }

  // --- the parts ---

  gallery.showRun = function (place) {
    const run = data.run;
    const backend = run.backend || {};
    const counts = { ...run.counts };
    const sections = [
      curveSection(data.curve),
      ...(run.selections || []).map(modelsSection),
      plotsSection(data.plots || []),
      table("Counts", counts),
      table("Parameters", { folder: run.folder, ...run.parameters }),
      table("Method", { method: run.parameters.method, ...run.method_parameters }),
      table("Backend", { ...backend, plans: run.plans, merge: run.merge }),
      times(run.seconds),
      table("Images", run.image_policy),
      table("Versions", run.versions),
    ];
    place.replaceChildren(make("div", { class: "sections" }, ...sections.filter(Boolean)));
  };

  gallery.showSkipped = function (place, query) {
    const reasons = new Map();
    for (const [, reason] of data.skipped) reasons.set(reason, (reasons.get(reason) || 0) + 1);
    const wanted = gallery.reason;
    const rows = data.skipped.filter(([file, reason]) => (!query || shown(file).toLowerCase().includes(query)) && (wanted === undefined || wanted === reason));
    if (!data.skipped.length) {
      place.replaceChildren(make("p", { class: "empty" }, "No file was skipped."));
      return 0;
    }
    const chips = make("div", { class: "chips" });
    for (const [reason, n] of [...reasons].sort((one, other) => other[1] - one[1]).slice(0, 30)) {
      const chip = make("button", { type: "button", "aria-pressed": String(reason === wanted) }, reason + " ", make("b", {}, count(n)));
      chip.onclick = () => {
        gallery.reason = reason === wanted ? undefined : reason;
        gallery.refresh();
      };
      chips.append(chip);
    }
    const body = make("tbody", {});
    for (const [file, reason] of rows.slice(0, MOST)) body.append(make("tr", {}, make("th", { scope: "row" }, shown(file)), make("td", {}, reason)));
    const rest = rows.length > MOST ? make("p", { class: "note" }, "The first " + count(MOST) + " of " + counted(rows.length, "file") + ": search to see others.") : null;
    place.replaceChildren(chips, make("table", { class: "skipped" }, make("thead", {}, make("tr", {}, make("th", {}, "file"), make("th", {}, "reason"))), body), ...[rest].filter(Boolean));
    return rows.length;
  };
})();
