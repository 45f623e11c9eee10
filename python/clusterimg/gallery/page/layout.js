"use strict";
// What is seen of a hundred thousand images: rows of known height, of which only those on the screen exist.

(function () {
  const { make, shown, base, score, count, counted } = gallery;
  const GAP = 10;
  const HEAD = 48;
  const CAPTION = 36;
  const BETWEEN = 18; // below the images of a cluster
  const COLLAPSED = 2; // rows of a large cluster
  const OVERSCAN = 700;
  const PRINTED = 300; // rows

  const data = window.clusterimgReport;
  const clusters = data.clusters;
  const list = document.getElementById("list");

  // --- columns of the data, filled up ---

  const nClusters = clusters.size.length;
  clusters.start = [];
  let nClustered = 0;
  for (const size of clusters.size) {
    clusters.start.push(nClustered);
    nClustered += size;
  }
  const clusterOf = new Int32Array(data.files.length).fill(-1);
  for (let c = 0; c < nClusters; c += 1) {
    clusterOf.fill(c, clusters.start[c], clusters.start[c] + clusters.size[c]);
  }
  clusters.cohesion = clusters.similar.map((similar, c) => similar / clusters.scored[c]);

  const state = {
    view: "clusters",
    chosen: [], // clusters or outliers that pass the filters, sorted
    matches: null, // images that the search finds, as bytes 0 and 1
    expanded: new Set(),
    zoom: 152,
    rows: [],
    tops: [],
    columns: 1,
    cell: 152,
    current: -1,
    printing: false,
  };
  Object.assign(gallery, { data, clusters, clusterOf, nClusters, nClustered, state });

  gallery.folderOf = (c) => (c < 0 ? "outliers" : "cluster_" + clusters.label[c]);
  gallery.isChained = (c) => clusters.wide[c] !== null && !(clusters.wide[c][2] > data.threshold);

  // --- where the files are ---

  gallery.addresses = function (k) {
    const found = [];
    const file = data.files[k];
    const target = data.targets[k] ?? "result/" + gallery.folderOf(clusterOf[k]) + "/" + base(file);
    if (target) found.push(gallery.address(data.resultPath + "/" + target));
    const source = data.sources[k] ?? file;
    const path = source.startsWith("/") ? source : data.folder + "/" + source;
    found.push("file://" + gallery.address(path));
    return found;
  };

  // --- one thumbnail ---

  // A picture of image k that fits into a square: a part of a sprite, or the file itself.
  gallery.picture = function (k, side) {
    const made = data.thumbnails;
    if (made === null) {
      const image = make("img", { class: "picture", alt: "", loading: "lazy", decoding: "async", draggable: false });
      const addresses = gallery.addresses(k);
      image.onerror = () => {
        const next = addresses.shift();
        if (next) image.src = next;
        else image.replaceWith(make("span", { class: "no-picture" }, "can't be shown"));
      };
      image.src = addresses.shift();
      return image;
    }
    const width = made.widths[k];
    const height = made.heights[k];
    if (!width) return make("span", { class: "no-picture" }, made.reasons[k] || "no thumbnail");
    const scale = Math.min(side / Math.max(width, height), 2);
    const place = k % made.perSprite;
    const number = (k - place) / made.perSprite;
    const total = Math.min(made.perSprite, data.files.length - number * made.perSprite);
    const across = total > made.perRow ? made.perRow : total;
    const picture = make("span", { class: "picture" });
    const style = picture.style;
    style.width = width * scale + "px";
    style.height = height * scale + "px";
    style.backgroundImage = 'url("thumbs/' + String(number).padStart(5, "0") + '.jpg")';
    style.backgroundSize = across * made.cell * scale + "px auto";
    style.backgroundPosition =
      -(place % made.perRow) * made.cell * scale + "px " +
      -Math.floor(place / made.perRow) * made.cell * scale + "px";
    return picture;
  };

  function thumbnail(k, side) {
    const c = clusterOf[k];
    const isFirst = c >= 0 && clusters.start[c] === k;
    const name = shown(data.files[k]);
    const flags = data.flags[k];
    const caption = make("span", { class: "caption" });
    if (c >= 0) {
      const text = isFirst ? "representative" : score(data.scores[k]);
      caption.append(make("span", { class: flags & 4 ? "score apart" : "score" }, text));
    }
    if (flags & 1) caption.append(make("span", { class: "flag", title: "Only copies of it count as similar" }, "featureless"));
    if (flags & 2) caption.append(make("span", { class: "flag", title: "Hardly any contrast" }, "near-flat"));
    const isMatch = state.matches !== null && state.matches[k] === 1;
    const button = make(
      "button",
      { type: "button", class: isMatch ? "image match" : "image", title: name },
      make("span", { class: "frame" }, gallery.picture(k, side - 2)),
      caption,
      make("span", { class: "name" }, shown(base(data.files[k]))),
    );
    button.dataset.image = k;
    button.style.width = side + "px";
    button.firstChild.style.height = side + "px";
    return button;
  }

  // --- heads of clusters ---

  function percent(share) {
    return (share === 1 ? 100 : Math.min(99, Math.round(share * 100))) + " %";
  }

  function pairButton(c, kind, text, title) {
    const pair = clusters[kind][c];
    const button = make("button", { type: "button", class: "pair", title }, make("span", { class: "long" }, text[0]), text[1] + " ", make("span", { class: "long" }, text[2] || ""));
    button.append(make("b", {}, score(pair[2])));
    button.dataset.pair = kind;
    return button;
  }

  function head(c, isLarge) {
    const size = clusters.size[c];
    const first = make("div", { class: "first" }, make("h2", {}, "cluster " + clusters.label[c]), make("span", { class: "size" }, counted(size, "image")));
    if (gallery.isChained(c)) {
      first.append(make("span", { class: "chain", title: "Some pair of its images is not similar: they hang together through others" }, "chain"));
    }
    if (isLarge) {
      const text = state.expanded.has(c) ? "show less" : "show all";
      const more = make("button", { type: "button", class: "more" }, text);
      more.dataset.more = c;
      first.append(more);
    }
    const second = make("div", { class: "second" });
    const weak = clusters.weak[c];
    const wide = clusters.wide[c];
    if (size === 2) {
      if (wide !== null) second.append(pairButton(c, "wide", ["", "score"], "Compare the two"));
    } else {
      const share = clusters.cohesion[c];
      const sign = data.whyNoPairs ? "≥ " : size > data.allPairs ? "≈ " : "";
      const meter = make("span", { class: "meter" }, make("i", {}));
      meter.firstChild.style.width = share * 100 + "%";
      const title = count(clusters.similar[c]) + " of " + counted(clusters.scored[c], "pair") + " are similar";
      if (!data.grouped) second.append(make("span", { class: "cohesion", title }, meter, make("span", { class: "long" }, "cohesion "), sign + percent(share)));
      if (weak !== null) second.append(pairButton(c, "weak", ["weakest ", "link"], "At a threshold of this score the cluster falls apart"));
      const from = data.whyNoPairs
        ? "The least score with the representative: " + data.whyNoPairs
        : size > data.allPairs ? "The lowest score found in a sample of its pairs" : "The lowest score of its pairs";
      if (wide !== null) second.append(pairButton(c, "wide", ["", "widest", "pair "], from));
    }
    if (clusters.parts[c] > 1 && !data.grouped) {
      second.append(make("span", { class: "note", title: "Images may belong together by an earlier merge or a given list; the pairs that say so are not in this result" }, clusters.parts[c] + " parts joined by no listed pair"));
    }
    return make("header", {}, first, second);
  }

  // --- rows ---

  function members(c) {
    const from = clusters.start[c];
    const all = Array.from({ length: clusters.size[c] }, (_, k) => from + k);
    if (state.matches === null) return all;
    return all.filter((k) => state.matches[k]).concat(all.filter((k) => !state.matches[k])); // found ones first
  }

  gallery.layOut = function (width) {
    const available = width || list.clientWidth;
    state.columns = Math.max(2, Math.floor((available + GAP) / (state.zoom + GAP)));
    state.cell = Math.min(Math.floor((available - GAP * (state.columns - 1)) / state.columns), 420);
    const { columns, rows } = { columns: state.columns, rows: [] };
    const images = state.cell + CAPTION + GAP;
    if (state.view === "outliers") {
      for (let from = 0; from < state.chosen.length; from += columns) {
        rows.push({ kind: "outliers", from, height: images });
      }
    } else {
      let cards = null;
      for (const c of state.chosen) {
        const size = clusters.size[c];
        if (size <= columns) {
          const span = Math.max(2, size);
          if (cards === null || cards.used + span > columns) {
            cards = { kind: "cards", clusters: [], used: 0, height: HEAD + images + BETWEEN };
            rows.push(cards);
          }
          cards.clusters.push(c);
          cards.used += span;
          continue;
        }
        cards = null;
        const needed = Math.ceil(size / columns);
        const seen = state.expanded.has(c) ? needed : Math.min(needed, COLLAPSED);
        rows.push({ kind: "head", cluster: c, isLarge: needed > COLLAPSED, height: HEAD });
        for (let row = 0; row < seen; row += 1) {
          const last = row === seen - 1;
          rows.push({ kind: "members", cluster: c, row, height: images + (last ? BETWEEN : 0), last: last && seen < needed });
        }
      }
    }
    state.rows = rows;
    state.tops = new Float64Array(rows.length + 1);
    rows.forEach((row, k) => (state.tops[k + 1] = state.tops[k] + row.height));
    list.style.height = state.tops[rows.length] + "px";
    list.replaceChildren();
    drawn.clear();
    gallery.draw();
  };

  function cluster(element, c) {
    element.dataset.cluster = c;
    if (c === state.current) element.classList.add("current");
    return element;
  }

  function build(row) {
    const strip = (images) => {
      const element = make("div", { class: "strip" });
      for (const k of images) element.append(thumbnail(k, state.cell));
      return element;
    };
    if (row.kind === "outliers") return make("div", { class: "row" }, strip(state.chosen.slice(row.from, row.from + state.columns)));
    if (row.kind === "cards") {
      const element = make("div", { class: "row cards" });
      for (const c of row.clusters) {
        const card = cluster(make("section", { class: "card" }, head(c, false), strip(members(c))), c);
        const span = Math.max(2, clusters.size[c]);
        card.style.width = span * state.cell + (span - 1) * GAP + "px";
        element.append(card);
      }
      return element;
    }
    const c = row.cluster;
    if (row.kind === "head") return cluster(make("div", { class: "row card" }, head(c, row.isLarge)), c);
    const from = row.row * state.columns;
    const element = cluster(make("div", { class: "row" }, strip(members(c).slice(from, from + state.columns))), c);
    const hidden = clusters.size[c] - from - state.columns;
    if (row.last && hidden > 0) {
      const more = make("button", { type: "button", class: "rest" }, "+ " + count(hidden) + " more");
      more.dataset.more = c;
      element.append(more);
    }
    return element;
  }

  // --- what is on the screen ---

  const drawn = new Map();

  function rowAt(y) {
    let low = 0;
    let high = state.rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (state.tops[middle + 1] <= y) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  gallery.draw = function () {
    if (state.printing) return;
    const offset = window.scrollY - list.offsetTop;
    const first = rowAt(offset - OVERSCAN);
    const last = Math.min(state.rows.length, rowAt(offset + window.innerHeight + OVERSCAN) + 1);
    for (const [k, element] of drawn) {
      if (k < first || k >= last) {
        element.remove();
        drawn.delete(k);
      }
    }
    for (let k = first; k < last; k += 1) {
      if (drawn.has(k)) continue;
      const element = build(state.rows[k]);
      element.style.top = state.tops[k] + "px";
      drawn.set(k, element);
      // In the order of the rows, so that the tab key goes downwards.
      let next = k + 1;
      while (next < last && !drawn.has(next)) next += 1;
      list.insertBefore(element, drawn.get(next) || null);
    }
  };

  let asked = false;
  gallery.drawSoon = function () {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      gallery.draw();
    });
  };

  gallery.reveal = function (c) {
    const k = state.rows.findIndex((row) => row.cluster === c || (row.clusters && row.clusters.includes(c)));
    if (k < 0) return false;
    state.current = c;
    const bar = document.getElementById("bar").offsetHeight;
    const top = list.offsetTop + state.tops[k];
    if (top - bar < window.scrollY || top + state.rows[k].height > window.scrollY + window.innerHeight) {
      window.scrollTo(0, top - bar - 8);
    }
    gallery.draw();
    for (const element of list.querySelectorAll("[data-cluster]")) {
      element.classList.toggle("current", Number(element.dataset.cluster) === c);
    }
    return true;
  };

  // --- on paper ---

  gallery.print = function (on) {
    if (state.view !== "clusters" && state.view !== "outliers") return;
    state.printing = on;
    document.body.classList.toggle("printing", on);
    if (!on) {
      gallery.layOut();
      return;
    }
    gallery.layOut(680);
    for (const row of state.rows.slice(0, PRINTED)) {
      const element = build(row);
      element.style.height = row.height + "px";
      list.append(element);
    }
    if (state.rows.length > PRINTED) {
      list.append(make("p", { class: "note" }, "The first " + PRINTED + " of " + count(state.rows.length) + " rows: filter to print others."));
    }
  };
})();
