// The pairs just above and just below the cut.

const cards = new Map();

function picture(index) {
  const { name, source, reason } = data.pictures[index];
  if (source) {
    const image = document.createElement("img");
    image.src = source;
    image.alt = name;
    image.title = name;
    return image;
  }
  const box = document.createElement("div");
  box.className = "unread";
  box.textContent = reason;
  box.title = name + ": " + reason;
  return box;
}

function card(edge) {
  if (cards.has(edge)) return cards.get(edge);
  const [first, second, , score] = data.edges[edge];
  const item = document.createElement("li");
  item.className = "pair";
  const pictures = document.createElement("div");
  pictures.className = "pictures";
  pictures.append(picture(first), picture(second));
  const figure = document.createElement("div");
  figure.className = "score";
  figure.textContent = score;
  const names = document.createElement("div");
  names.className = "names";
  for (const index of [first, second]) {
    const name = document.createElement("bdi");
    name.textContent = data.pictures[index].name;
    name.title = data.pictures[index].name;
    names.append(name);
  }
  item.append(pictures, figure, names);
  cards.set(edge, item);
  return item;
}

function pairsAt(threshold) {
  let first = 0;
  while (first < data.edges.length && data.edges[first][2] <= threshold) first++;
  const above = [];
  const below = [];
  for (let k = first; k < data.edges.length && above.length < shown; k++) above.push(k);
  for (let k = first - 1; k >= 0 && below.length < shown; k--) below.push(k);
  for (const [side, edges, none] of [
    ["above", above, "None of the scored pairs shown here is above."],
    ["below", below, "None of the scored pairs shown here is at or below."],
  ]) {
    at(side).className = `pairs ${side}-cut`;
    at(side).replaceChildren(...edges.map(card));
    at(side + "-none").textContent = edges.length ? "" : none;
  }
}
