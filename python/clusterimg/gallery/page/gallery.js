"use strict";
// The page as a whole: tabs, search, filters, keys, light and dark.

(function () {
  const { data, clusters, nClusters, nClustered, state, make, shown, base, count, counted } = gallery;
  const $ = (id) => document.getElementById(id);
  const n = data.files.length;
  const list = $("list");
  const facts = $("facts");

  // --- heading and tabs ---

  const run = data.run;
  document.title = shown(data.title) + " – clusterimg";
  $("title").textContent = shown(data.title);
  $("summary").textContent =
    counted(n, "image") + ", " + counted(nClustered, "of them", "of them") + " in " + counted(nClusters, "cluster") +
    "; " + run.parameters.method + (data.grouped ? ", " + data.grouped : ", score > " + data.threshold) + ((run.backend || {}).name ? "; " + run.backend.name : "");

  const VIEWS = { clusters: nClusters, outliers: n - nClustered, skipped: data.skipped.length, run: -1 };
  const tabs = {};
  for (const [view, number] of Object.entries(VIEWS)) {
    const tab = make("button", { type: "button", role: "tab" }, view[0].toUpperCase() + view.slice(1));
    if (number >= 0) tab.append(make("span", { class: "badge" }, count(number)));
    tab.onclick = () => show(view);
    tabs[view] = tab;
    $("tabs").append(tab);
  }

  function show(view) {
    state.view = view;
    for (const [name, tab] of Object.entries(tabs)) tab.setAttribute("aria-selected", String(name === view));
    document.body.dataset.view = view;
    const isList = view === "clusters" || view === "outliers";
    list.hidden = !isList;
    facts.hidden = isList;
    window.scrollTo(0, 0);
    gallery.refresh();
    if (location.hash !== "#" + view) history.replaceState(null, "", "#" + view);
  }

  // --- search and filters ---

  let names = null; // lower case, made at the first search
  function search(query) {
    if (!query) return null;
    names = names || data.files.map((file) => shown(file).toLowerCase());
    const found = new Uint8Array(n);
    for (let k = 0; k < n; k += 1) if (names[k].includes(query)) found[k] = 1;
    return found;
  }

  const value = (pair, without) => (pair === null ? without : pair[2] === null ? -Infinity : pair[2]);
  const ORDERS = {
    size: (c) => -clusters.size[c],
    cohesion: (c) => clusters.cohesion[c],
    wide: (c) => value(clusters.wide[c], Infinity),
    weak: (c) => value(clusters.weak[c], Infinity),
    number: (c) => clusters.label[c],
  };

  function filters() {
    const least = Number($("size-min").value) || 0;
    const most = Number($("size-max").value) || Infinity;
    const cohesion = Number($("cohesion").value) / 100;
    const [chained, flagged] = [$("chained").checked, $("flagged").checked];
    const set = (least > 2) + (most < Infinity) + (cohesion < 1) + chained + flagged;
    $("cohesion-shown").textContent = $("cohesion").value + " %";
    $("filter-count").textContent = set ? " (" + set + ")" : "";
    return (c) => {
      const size = clusters.size[c];
      if (size < least || size > most || clusters.cohesion[c] > cohesion) return false;
      if (chained && !gallery.isChained(c)) return false;
      return !flagged || data.flags.slice(clusters.start[c], clusters.start[c] + size).some((flags) => flags & 3);
    };
  }

  function sorted(chosen) {
    const order = $("sort").value;
    if (order === "name") {
      const first = (c) => data.files[clusters.start[c]];
      return chosen.sort((one, other) => (first(one) < first(other) ? -1 : 1));
    }
    const keys = new Map(chosen.map((c) => [c, ORDERS[order](c)]));
    // Of equal ones the larger first, which has the lower index.
    return chosen.sort((one, other) => (keys.get(one) === keys.get(other) ? one - other : keys.get(one) - keys.get(other)));
  }

  gallery.refresh = function () {
    const query = $("query").value.trim().toLowerCase();
    if (state.view === "run") return gallery.showRun(facts);
    if (state.view === "skipped") {
      const found = gallery.showSkipped(facts, query);
      $("found").textContent = query ? counted(found, "file") : "";
      return undefined;
    }
    state.matches = search(query);
    if (state.view === "outliers") {
      state.chosen = [];
      for (let k = nClustered; k < n; k += 1) if (state.matches === null || state.matches[k]) state.chosen.push(k);
      $("found").textContent = query ? counted(state.chosen.length, "image") : "";
    } else {
      const passes = filters();
      const hit = state.matches === null ? null : new Set();
      let images = 0;
      if (hit !== null) {
        for (let k = 0; k < nClustered; k += 1) {
          if (state.matches[k]) {
            hit.add(gallery.clusterOf[k]);
            images += 1;
          }
        }
      }
      const chosen = [];
      for (let c = 0; c < nClusters; c += 1) if ((hit === null || hit.has(c)) && passes(c)) chosen.push(c);
      state.chosen = sorted(chosen);
      $("found").textContent =
        chosen.length === nClusters && hit === null ? "" : counted(chosen.length, "cluster") + (hit === null ? "" : ", " + counted(images, "match", "matches"));
    }
    gallery.layOut();
    if (!state.rows.length) list.append(make("p", { class: "empty" }, emptyText(query)));
    return undefined;
  };

  function emptyText(query) {
    const outside = nClustered < n && state.view === "clusters" ? " Outliers are in their own tab." : "";
    if (query) return "Nothing found." + outside;
    if (state.view === "outliers") return n ? "No outliers: every image is in a cluster." : "No image could be used: see the skipped files.";
    if (nClusters) return "No cluster passes the filters.";
    if (n && data.grouped) return "No cluster model found a cluster of two images.";
    return n ? "No two images have a score above " + data.threshold + ". A lower threshold finds more." : "No image could be used: see the skipped files.";
  }

  let waiting = 0;
  function refreshSoon() {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      window.scrollTo(0, 0);
      gallery.refresh();
    }, 90);
  }

  $("tools").onsubmit = (event) => event.preventDefault();
  for (const id of ["query", "size-min", "size-max", "cohesion"]) $(id).addEventListener("input", refreshSoon);
  for (const id of ["sort", "chained", "flagged"]) $(id).addEventListener("change", refreshSoon);
  $("clear").onclick = () => {
    for (const id of ["size-min", "size-max"]) $(id).value = "";
    for (const id of ["chained", "flagged"]) $(id).checked = false;
    $("cohesion").value = 100;
    refreshSoon();
  };
  $("zoom").addEventListener("input", () => {
    state.zoom = Number($("zoom").value);
    remember("zoom", state.zoom);
    gallery.layOut();
  });
  document.addEventListener("click", (event) => {
    if (!event.target.closest("#filters")) $("filters").open = false;
  });

  // --- clicks in the list ---

  list.addEventListener("click", (event) => {
    const { pair, more, image } = (event.target.closest("[data-pair],[data-more],[data-image]") || { dataset: {} }).dataset;
    if (image !== undefined) gallery.compareImage(Number(image));
    else if (pair !== undefined) {
      const c = Number(event.target.closest("[data-cluster]").dataset.cluster);
      gallery.compare(clusters[pair][c][0], clusters[pair][c][1]);
    } else if (more !== undefined) {
      const c = Number(more);
      if (!state.expanded.delete(c)) state.expanded.add(c);
      gallery.layOut();
      gallery.reveal(c);
    }
  });

  gallery.nextOutlier = function (k, by, then) {
    const place = state.chosen.indexOf(k);
    const next = state.chosen[(place + by + state.chosen.length) % state.chosen.length];
    if (next !== undefined) then(next);
  };

  // --- keys ---

  function move(by) {
    if (state.view !== "clusters" || !state.chosen.length) return;
    const place = state.chosen.indexOf(state.current);
    const next = place < 0 ? 0 : Math.min(state.chosen.length - 1, Math.max(0, place + by));
    gallery.reveal(state.chosen[next]);
  }

  const KEYS = {
    "/": () => $("query").focus(),
    j: () => move(1),
    k: () => move(-1),
    d: () => theme(),
    "?": () => $("help").showModal(),
    Enter: () => {
      const pair = state.current >= 0 && state.view === "clusters" && (clusters.wide[state.current] || clusters.weak[state.current]);
      if (pair) gallery.compare(pair[0], pair[1]);
    },
  };
  Object.keys(VIEWS).forEach((view, k) => (KEYS[k + 1] = () => show(view)));

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && event.target === $("query")) {
      $("query").value = "";
      $("query").blur();
      refreshSoon();
      return;
    }
    if ($("compare").open || $("help").open) return;
    if (event.target.closest("input, select, textarea, a")) return;
    if (event.key === "Enter" && event.target.closest("button, summary")) return;
    if (Object.hasOwn(KEYS, event.key)) {
      event.preventDefault();
      KEYS[event.key]();
    }
  });

  // --- light and dark ---

  function remember(name, value) {
    try {
      localStorage.setItem("clusterimg." + name, value);
    } catch {
      // Some browsers keep nothing for files.
    }
  }
  function remembered(name) {
    try {
      return localStorage.getItem("clusterimg." + name);
    } catch {
      return null;
    }
  }
  const isDark = () => (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  function theme() {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    remember("theme", document.documentElement.dataset.theme);
  }
  $("theme").onclick = theme;
  $("help-open").onclick = () => $("help").showModal();
  const kept = remembered("theme");
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
  const zoom = Number(remembered("zoom"));
  state.zoom = zoom >= 72 && zoom <= 320 ? zoom : window.innerWidth < 600 ? 104 : 152;
  $("zoom").value = state.zoom;

  // --- scrolling, size, paper ---

  window.addEventListener("scroll", gallery.drawSoon, { passive: true });
  let width = list.clientWidth;
  new ResizeObserver(() => {
    if (state.printing || list.hidden || list.clientWidth === width) {
      gallery.drawSoon();
      return;
    }
    width = list.clientWidth;
    gallery.layOut();
  }).observe(list);
  window.addEventListener("beforeprint", () => gallery.print(true));
  window.addEventListener("afterprint", () => gallery.print(false));
  window.addEventListener("hashchange", () => go());

  function go() {
    const hash = location.hash.slice(1);
    const label = /^cluster_(\d+)$/.exec(hash);
    if (!label) return show(Object.hasOwn(VIEWS, hash) ? hash : "clusters");
    show("clusters");
    return gallery.reveal(clusters.label.indexOf(Number(label[1])));
  }
  go();
  document.body.dataset.ready = "yes";
})();
