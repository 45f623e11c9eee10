// The way out: a button that sends the choice, or the option to copy.

function offer() {
  const label = data.labels[chosen];
  if (!at("act")) {
    const button = document.createElement("button");
    button.id = "act";
    button.type = "button";
    button.addEventListener("click", data.choose ? send : copy);
    if (!data.choose) at("action").append(document.createElement("code"));
    at("action").append(button);
  }
  at("act").textContent = data.choose ? `Use ${label}` : "Copy";
  if (!data.choose) at("action").firstChild.textContent = `--threshold ${label}`;
}

async function copy() {
  const code = at("action").firstChild;
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    // A file has no clipboard of its own in some browsers: select the text and copy as people do.
    getSelection().selectAllChildren(code);
    if (!document.execCommand("copy")) return; // it is selected at least
  }
  at("act").textContent = "Copied";
}

async function post(message) {
  return fetch(data.choose, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(message),
  });
}

async function send() {
  const label = data.labels[chosen];
  end(`Sending ${label} …`);
  try {
    const answer = await post({ threshold: valueOf(chosen) });
    if (answer.ok) return end(`Threshold ${label} was chosen. clusterimg goes on in the terminal; you can close this page.`);
    if (answer.status === 409) {
      const { threshold } = await answer.json();
      return end(`Threshold ${threshold} was chosen before, on another page. You can close this one.`, "bad");
    }
    end(`The choice was refused: ${await answer.text()}`, "bad");
  } catch {
    end("No answer: a threshold was chosen on another page, or clusterimg has ended. You can close this page.", "bad");
  }
}

function end(text, kind = "") {
  over = true;
  at("act").disabled = true;
  at("outcome").textContent = text;
  at("outcome").className = kind;
  at("outcome").hidden = false;
}

// The terminal says how to go on when the last page is closed; so each says when it opens and closes.
if (data.choose && location.protocol.startsWith("http")) {
  // A tab keeps its name over a reload, and counts what it says: what comes late, or never, does no harm.
  const kept = window.sessionStorage;
  if (!kept.getItem("page")) kept.setItem("page", [...crypto.getRandomValues(new Uint32Array(2))].join("-"));
  const say = (open) => {
    kept.setItem("said", Number(kept.getItem("said")) + 1);
    const message = JSON.stringify({ page: kept.getItem("page"), open, count: Number(kept.getItem("said")) });
    if (!over) navigator.sendBeacon(data.choose, new Blob([message], { type: "application/json" }));
  };
  addEventListener("pageshow", () => say(true));
  addEventListener("pagehide", () => say(false));
}
