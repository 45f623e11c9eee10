"use strict";
// Two members of a cluster, large: side by side, under a slider, blinking, or their difference.

(function () {
  const { data, clusters, clusterOf, make, shown, base, score, count, counted } = gallery;
  const MODES = ["side by side", "slider", "blink", "difference"];
  const AROUND = 12; // images of the strip on either side
  const BLINK = 600; // ms
  const dialog = document.getElementById("compare");

  const now = { a: -1, b: -1, mode: 0, share: 50, timer: 0 };

  // --- the score of a pair ---

  let pairs = null; // codes of the scores of all pairs, once pairs.js is there
  let offsets = null;

  function decode(text) {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    return new Uint16Array(bytes.buffer);
  }

  // pairs.js is as long as all the rest, and only needed here.
  function loadPairs(then) {
    if (pairs !== null) return;
    const script = document.createElement("script");
    script.src = "pairs.js";
    script.onload = () => {
      pairs = decode(window.clusterimgPairs);
      offsets = [0];
      for (const size of clusters.size) {
        const known = size <= data.allPairs ? (size * (size - 1)) / 2 : 0;
        offsets.push(offsets[offsets.length - 1] + known);
      }
      then();
    };
    document.head.append(script);
  }

  // The score of two images of a cluster, with as many digits as are known of it; null if they can't be
  // compared, undefined if it is not known.
  gallery.scoreOf = function (a, b) {
    const c = clusterOf[a];
    if (c < 0 || c !== clusterOf[b] || a === b) return undefined;
    const first = clusters.start[c];
    const size = clusters.size[c];
    const i = Math.min(a, b);
    const j = Math.max(a, b);
    if (i === first) return data.scores[j];
    if (data.parents[i] === j) return data.links[i];
    if (data.parents[j] === i) return data.links[j];
    for (const pair of [clusters.wide[c], clusters.weak[c]]) {
      if (pair && Math.min(pair[0], pair[1]) === i && Math.max(pair[0], pair[1]) === j) return pair[2];
    }
    if (pairs === null || !pairs.length || size > data.allPairs) return undefined;
    const row = i - first;
    const code = pairs[offsets[c] + (row * (2 * size - row - 1)) / 2 + (j - i - 1)];
    return code === 0 ? null : ((code - 1) / 65534) * 2 - 1;
  };

  // The way from a to b in the spanning tree: images, each similar to the next; null if there is none.
  gallery.path = function (a, b) {
    const toRoot = (k) => {
      const way = [k];
      while (data.parents[k] >= 0) way.push((k = data.parents[k]));
      return way;
    };
    const left = toRoot(a);
    const right = toRoot(b);
    if (left[left.length - 1] !== right[right.length - 1]) return null;
    while (left.length > 1 && right.length > 1 && left[left.length - 2] === right[right.length - 2]) {
      left.pop();
      right.pop();
    }
    right.pop();
    return left.concat(right.reverse());
  };

  // --- parts of the dialog ---

  // The whole file; where the browser can't show it, its thumbnail.
  function large(k, note) {
    const image = make("img", { class: "large", alt: shown(data.files[k]), draggable: false });
    const addresses = gallery.addresses(k);
    image.onload = () => {
      if (note) note.textContent = image.naturalWidth + " × " + image.naturalHeight;
    };
    image.onerror = () => {
      const next = addresses.shift();
      if (next) {
        image.src = next;
        return;
      }
      const side = Math.min(480, window.innerWidth / 2);
      const why = data.bytes[k] < 0 ? "The file was not found." : "The browser can't show this file.";
      image.replaceWith(make("span", { class: "large instead" }, gallery.picture(k, side), make("small", {}, why)));
    };
    image.src = addresses.shift();
    return image;
  }

  function caption(k, side, note) {
    const c = clusterOf[k];
    const link = make("a", { href: gallery.addresses(k)[0], target: "_blank", rel: "noopener", title: shown(data.files[k]) }, shown(data.files[k]));
    const facts = make("span", { class: "small" }, gallery.bytes(data.bytes[k]), " · ", note);
    if (data.batches.length) facts.append(" · batch " + data.batches[k]);
    if (c >= 0 && clusters.start[c] === k) facts.append(" · representative");
    if (data.flags[k] & 1) facts.append(" · featureless");
    if (data.flags[k] & 2) facts.append(" · near-flat");
    return make("figcaption", { class: side }, link, facts);
  }

  function stage() {
    const notes = [make("span", {}), make("span", {})];
    const pictures = [large(now.a, notes[0])];
    if (now.b >= 0) pictures.push(large(now.b, notes[1]));
    const captions = make("div", { class: "captions" }, caption(now.a, "left", notes[0]), now.b >= 0 ? caption(now.b, "right", notes[1]) : null);
    const box = make("div", { class: "stage " + (now.b < 0 ? "alone" : ["beside", "over", "over", "over difference"][now.mode]) });
    box.append(...pictures.map((picture) => make("div", { class: "pane" }, picture)));
    if (now.b >= 0 && now.mode === 1) {
      const cut = () => {
        box.lastChild.previousSibling.style.clipPath = "inset(0 0 0 " + now.share + "%)";
        line.style.left = now.share + "%";
      };
      const line = make("span", { class: "line" });
      const slider = make("input", { type: "range", min: 0, max: 100, step: 0.5, value: now.share, class: "cut", "aria-label": "Share of the left image" });
      slider.oninput = () => {
        now.share = Number(slider.value);
        cut();
      };
      box.append(make("span", { class: "over-all" }, line, slider));
      cut();
    }
    if (now.b >= 0 && now.mode === 2) {
      const tick = () => box.classList.toggle("second");
      now.timer = setInterval(tick, BLINK);
    }
    return [box, captions];
  }

  function small(k, className, label) {
    const button = make("button", { type: "button", class: "mini " + className, title: shown(data.files[k]) }, make("span", { class: "frame" }, gallery.picture(k, 62)), make("span", {}, label));
    button.dataset.image = k;
    return button;
  }

  // How the two hang together, where they are not similar themselves.
  function chain() {
    const value = gallery.scoreOf(now.a, now.b);
    const way = gallery.path(now.a, now.b);
    if (way === null) return make("p", { class: "small note" }, "No listed pairs join these two: an earlier merge or a given list did.");
    if (way.length < 3 || (typeof value === "number" && value > data.threshold)) return null;
    const hop = (k) => (data.parents[way[k]] === way[k + 1] ? data.links[way[k]] : data.links[way[k + 1]]);
    let weakest = 0;
    for (let k = 1; k < way.length - 1; k += 1) if (hop(k) < hop(weakest)) weakest = k;
    const strip = make("div", { class: "chain-strip" });
    way.forEach((image, k) => {
      strip.append(small(image, "", ""));
      if (k < way.length - 1) strip.append(make("span", { class: k === weakest ? "hop weakest" : "hop" }, score(hop(k))));
    });
    const text = "Joined through " + counted(way.length - 2, "image") + ": each is similar to the next";
    return make("div", { class: "joined" }, make("p", { class: "small" }, text), strip);
  }

  function strip() {
    const c = clusterOf[now.a];
    if (c < 0) return null;
    const from = clusters.start[c];
    const end = from + clusters.size[c];
    const middle = now.b >= 0 ? now.b : now.a;
    const first = Math.max(from, Math.min(middle - AROUND, end - 2 * AROUND - 1));
    const last = Math.min(end, first + 2 * AROUND + 1);
    const element = make("div", { class: "strip-of-all", "aria-label": "Images of the cluster" });
    for (let k = first; k < last; k += 1) {
      const state = k === now.a ? "left" : k === now.b ? "right" : "";
      element.append(small(k, state, k === now.a ? "left" : k === now.b ? "right" : k === from ? "repr." : score(data.scores[k])));
    }
    const hint = count(end - from) > count(last - first) ? counted(end - from, "image") + ": " + (first - from + 1) + " to " + (last - from) : "Click: right image. Shift-click: left image.";
    return make("div", { class: "of-cluster" }, make("p", { class: "small" }, hint), element);
  }

  function headline() {
    const c = clusterOf[now.a];
    const title = make("h2", {}, c < 0 ? "outlier" : "cluster " + clusters.label[c]);
    const value = now.b < 0 ? undefined : gallery.scoreOf(now.a, now.b);
    const result = make("p", { class: "verdict" });
    if (now.b >= 0) {
      const isKnown = typeof value === "number";
      result.append(make("b", { id: "pair-score", class: isKnown && !(value > data.threshold) ? "apart" : "" }, isKnown ? value.toFixed(4) : value === null ? "not comparable" : "not scored"));
      const sign = data.grouped ? "grouped by " : isKnown ? (value > data.threshold ? "> " : "≤ ") : "threshold ";
      const why = value === undefined ? (data.whyNoPairs || "all pairs are scored up to " + data.allPairs + " images a cluster") : sign + (data.grouped || data.threshold);
      result.append(make("span", { class: "small" }, why));
    }
    const modes = make("div", { class: "modes", role: "group", "aria-label": "How to compare" });
    if (now.b >= 0) {
      MODES.forEach((mode, k) => {
        const button = make("button", { type: "button", "aria-pressed": String(k === now.mode), title: mode + " (" + (k + 1) + ")" }, mode);
        button.dataset.mode = k;
        button.onclick = () => change({ mode: k });
        modes.append(button);
      });
    }
    const close = make("button", { type: "button", class: "close", "aria-label": "Close", title: "Close (Esc)" }, "×");
    close.onclick = () => dialog.close();
    return make("header", {}, title, result, modes, close);
  }

  // What finds the element again among those that replace it.
  function selectorOf(element) {
    const { mode, image } = element.dataset;
    if (mode !== undefined) return '[data-mode="' + mode + '"]';
    if (image !== undefined) return '.strip-of-all [data-image="' + image + '"]';
    return ["cut", "close"].filter((name) => element.classList.contains(name)).map((name) => "." + name)[0] || "";
  }

  function render() {
    clearInterval(now.timer);
    const scrolled = dialog.querySelector(".strip-of-all");
    const left = scrolled ? scrolled.scrollLeft : 0;
    const focused = dialog.contains(document.activeElement) ? selectorOf(document.activeElement) : "";
    dialog.replaceChildren(headline(), ...stage(), ...[now.b >= 0 ? chain() : null, strip()].filter(Boolean));
    const all = dialog.querySelector(".strip-of-all");
    if (all) {
      all.scrollLeft = left;
      const chosen = all.querySelector(".right");
      if (chosen && (chosen.offsetLeft < all.scrollLeft || chosen.offsetLeft + chosen.offsetWidth > all.scrollLeft + all.clientWidth)) {
        all.scrollLeft = chosen.offsetLeft - all.clientWidth / 2;
      }
    }
    ((focused && dialog.querySelector(focused)) || dialog).focus(); // else keys would go nowhere
  }

  function change(to) {
    Object.assign(now, to);
    render();
  }

  function step(which, by) {
    const c = clusterOf[now.a];
    if (c < 0) return gallery.nextOutlier(now.a, by, (k) => change({ a: k }));
    const from = clusters.start[c];
    const size = clusters.size[c];
    const other = which === "a" ? now.b : now.a;
    let k = now[which];
    do k = from + ((k - from + by + size) % size);
    while (k === other);
    return change({ [which]: k });
  }

  gallery.compare = function (a, b) {
    Object.assign(now, { a, b: b === undefined ? -1 : b });
    if (!dialog.open) dialog.showModal();
    if (b !== undefined && !data.whyNoPairs) loadPairs(() => dialog.open && render());
    render();
  };

  // An image with the representative; the representative with the next.
  gallery.compareImage = function (k) {
    const c = clusterOf[k];
    if (c < 0) return gallery.compare(k);
    const first = clusters.start[c];
    return k === first ? gallery.compare(k, k + 1) : gallery.compare(first, k);
  };

  dialog.addEventListener("close", () => {
    clearInterval(now.timer);
    dialog.replaceChildren();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
    const button = event.target.closest("[data-image]");
    if (!button) return;
    const k = Number(button.dataset.image);
    if (k === now.a || k === now.b) return;
    change(event.shiftKey ? { a: k } : { b: k });
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const inSlider = event.target.classList.contains("cut");
    const steps = { ArrowRight: ["b", 1], ArrowLeft: ["b", -1], ArrowDown: ["a", 1], ArrowUp: ["a", -1] };
    if (event.key in steps && !inSlider) {
      event.preventDefault();
      step(...steps[event.key]);
    } else if (/^[1-4]$/.test(event.key) && now.b >= 0) change({ mode: Number(event.key) - 1 });
    else if (event.key === "x" && now.b >= 0) change({ a: now.b, b: now.a });
    else return;
    event.stopPropagation();
  });
})();
