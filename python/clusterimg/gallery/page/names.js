"use strict";
// Names, addresses and numbers as people read them. A file name is text: it only ever becomes a text node,
// an attribute set by a property, or a percent-encoded address.

const gallery = {};

// A name may hold bytes that are no UTF-8: they come as U+DC80..U+DCFF. Those, controls and marks that turn
// the direction of text are shown as \xNN or \uNNNN, and a backslash as \\, as in the tables.
gallery.shown = function (name) {
  return name.replace(
    /\\|[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]|[\ud800-\udbff][\udc00-\udfff]|[\ud800-\udfff]/g,
    (found) => {
      if (found === "\\") return "\\\\";
      if (found.length === 2) return found;
      const code = found.charCodeAt(0);
      if (code >= 0xdc80 && code <= 0xdcff) return "\\x" + (code - 0xdc00).toString(16);
      if (code < 256) return "\\x" + code.toString(16).padStart(2, "0");
      return "\\u" + code.toString(16);
    },
  );
};

gallery.base = (path) => path.slice(path.lastIndexOf("/") + 1);

// Percent-encode a path byte by byte; undecodable bytes are themselves.
gallery.address = function (path) {
  let text = "";
  for (const character of path) {
    const code = character.codePointAt(0);
    if (character === "/") text += "/";
    else if (code >= 0xdc80 && code <= 0xdcff) text += "%" + (code - 0xdc00).toString(16).toUpperCase();
    else if (code >= 0xd800 && code <= 0xdfff) text += "%EF%BF%BD";
    else text += encodeURIComponent(character).replace(/['()*]/g, (c) => "%" + c.charCodeAt(0).toString(16));
  }
  return text;
};

gallery.score = (value) => (value === null || value === undefined ? "–" : value.toFixed(4));
gallery.count = (value) => value.toLocaleString("en");
gallery.counted = (value, noun, nouns) => gallery.count(value) + " " + (value === 1 ? noun : nouns || noun + "s");

gallery.bytes = function (value) {
  if (value < 0) return "not found";
  const units = ["B", "kB", "MB", "GB"];
  let unit = 0;
  while (value >= 1000 && unit < 3) {
    value /= 1000;
    unit += 1;
  }
  return (unit && value < 10 ? value.toFixed(1) : Math.round(value)) + " " + units[unit];
};

// An element with properties and children; a string child becomes text, never markup.
gallery.make = function (tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (name === "class") element.className = value;
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
};
