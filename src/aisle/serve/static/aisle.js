// The page works without this file.  With it: results while typing, no reloads, suggestions, the side panel, the banner.
"use strict";

const $ = (selector, root = document) => root.querySelector(selector);
const main = $("#main");
const box = $("#q");
const live = $("#live");
const panel = $("#panel");
let flight = null;

// -- results in place: fetch the page of an address, take its <main> ---------------------------------------------------

const isResults = (url) => url.origin === location.origin && url.pathname === "/";

async function show(url, { push = true, top = false, keepFocus = true } = {}) {
  if (flight) flight.abort();
  const mine = (flight = new AbortController());
  const held = keepFocus ? focusMark() : null;
  const filtersOpen = $("#show-filters")?.checked;
  const openFacets = new Map([...document.querySelectorAll(".facet")].map((f) => [f.dataset.field, [f.open, f.classList.contains("all")]]));
  $(".page")?.classList.add("busy");
  let text;
  try {
    const answer = await fetch(url, { signal: mine.signal, headers: { Accept: "text/html" } });
    text = await answer.text();
  } catch (error) {
    if (error.name !== "AbortError") {
      $(".page")?.classList.remove("busy");
      live.textContent = "The shop does not answer. Try again in a moment.";
      notice("The shop does not answer. Try again in a moment.");
    }
    return;
  }
  if (mine.signal.aborted) return;
  flight = null;
  const fresh = new DOMParser().parseFromString(text, "text/html");
  if (push) history.pushState({}, "", url);
  document.title = fresh.title;
  main.replaceChildren(...$("#main", fresh).childNodes);
  if ($("#show-filters")) $("#show-filters").checked = Boolean(filtersOpen);
  for (const facet of document.querySelectorAll(".facet")) {
    const was = openFacets.get(facet.dataset.field);
    if (was) [facet.open] = was;
    facet.classList.toggle("all", Boolean(was && was[1]));
    hideMoreButton(facet);
  }
  restoreFocus(held);
  if (document.activeElement !== box) box.value = new URL(url, location).searchParams.get("q") || "";
  live.textContent = $("#count-line")?.textContent || fresh.title;
  pictures();
  if (top) window.scrollTo({ top: 0 });
}

function focusMark() {
  const at = document.activeElement;
  if (!at || !main.contains(at)) return null;
  if (at.id) return `#${CSS.escape(at.id)}`;
  if (at.name) return `[name="${CSS.escape(at.name)}"]` + (at.type === "checkbox" ? `[value="${CSS.escape(at.value)}"]` : "");
  return at.closest(".chips") ? ".chips a, #main" : null;
}

function restoreFocus(mark) {
  if (mark) ($(mark) || main).focus({ preventScroll: true });
}

function notice(text) {
  const line = Object.assign(document.createElement("p"), { className: "notice", textContent: text });
  $(".results")?.prepend(line);
}

function formAddress(form) {
  // What was typed a moment ago counts too; its own search is not needed any more.
  clearTimeout(typed);
  const q = box.value.trim();
  const rest = [...new FormData(form)].filter(([name, value]) => value !== "" && name !== "q");
  const query = new URLSearchParams([...(q ? [["q", q]] : []), ...rest]).toString();
  return query ? `/?${query}` : "/";
}

document.addEventListener("click", (event) => {
  const why = event.target.closest("a[data-why]");
  const plainClick = !event.defaultPrevented && event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (why && plainClick) {
    event.preventDefault();
    explain(why);
    return;
  }
  if (event.target.closest("[data-close]")) panel.close();
  const more = event.target.closest("[data-more]");
  if (more) {
    more.closest(".facet").classList.add("all");
    hideMoreButton(more.closest(".facet"));
  }
  const link = event.target.closest("#main a[href]");
  const card = event.target.closest(".card");
  if (card && link && !why) clicked(card);
  if (link && plainClick && $(".page") && isResults(new URL(link.href.baseVal ?? link.href, location))) {
    event.preventDefault();
    const pager = Boolean(link.closest(".pager"));
    show(link.href.baseVal ?? link.href, { top: pager, keepFocus: !pager });
  }
});

function hideMoreButton(facet) {
  const button = $("[data-more]", facet);
  if (button) button.hidden = facet.classList.contains("all");
}

document.addEventListener("change", (event) => {
  const form = event.target.closest("#filters, .sort");
  if (form && event.target.id !== "show-filters") show(formAddress(form));
});

document.addEventListener("submit", (event) => {
  const form = event.target.closest("#filters, .sort");
  if (!form) return;
  event.preventDefault();
  show(formAddress(form));
});

window.addEventListener("popstate", () => {
  if (isResults(new URL(location)) && $(".page")) show(location.href, { push: false });
  else location.reload();
});

// -- search box: results and suggestions while typing ------------------------------------------------------------------

const list = $("#suggestions");
let typed = 0;
let chosen = -1;
let asked = 0;

box.setAttribute("role", "combobox");
box.setAttribute("aria-autocomplete", "list");
box.setAttribute("aria-controls", "suggestions");
box.setAttribute("aria-expanded", "false");

function closeList() {
  list.hidden = true;
  chosen = -1;
  box.setAttribute("aria-expanded", "false");
  box.removeAttribute("aria-activedescendant");
}

async function suggest(prefix) {
  const mine = ++asked;
  let found = [];
  try {
    const answer = await fetch(`/api/suggest?q=${encodeURIComponent(prefix)}`);
    if (answer.ok) found = (await answer.json()).suggestions;
  } catch { /* suggestions are a courtesy */ }
  if (mine !== asked || document.activeElement !== box || box.value !== prefix) return;
  list.replaceChildren(...found.map((one, n) => {
    const row = document.createElement("li");
    row.id = `suggestion-${n}`;
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", "false");
    row.dataset.text = one.text;
    row.append(one.text, Object.assign(document.createElement("small"), { textContent: one.kind === "words" ? "" : one.kind }));
    return row;
  }));
  chosen = -1;
  list.hidden = found.length === 0;
  box.setAttribute("aria-expanded", String(!list.hidden));
}

function search(q, push) {
  const url = q ? `/?${new URLSearchParams({ q })}` : "/";
  if ($(".page")) show(url, { push, keepFocus: false });
  else location.href = url;
}

box.addEventListener("input", () => {
  clearTimeout(typed);
  const q = box.value;
  if (!q.trim()) closeList();
  typed = setTimeout(() => {
    if (q.trim()) suggest(q);
    if ($(".page")) {
      // One entry in the history for a burst of typing: only its first letter adds one.
      const push = !history.state?.typing;
      search(q.trim(), false);
      const url = q.trim() ? `/?${new URLSearchParams({ q: q.trim() })}` : "/";
      history[push ? "pushState" : "replaceState"]({ typing: true }, "", url);
    }
  }, 160);
});

box.addEventListener("keydown", (event) => {
  const rows = [...list.children];
  if (event.key === "Escape" && !list.hidden) {
    // A browser's own Escape would empty the box, and with it the results.
    event.preventDefault();
    return closeList();
  }
  if (list.hidden || !["ArrowDown", "ArrowUp"].includes(event.key)) return;
  event.preventDefault();
  chosen = (chosen + (event.key === "ArrowDown" ? 1 : -1) + rows.length + 1) % (rows.length + 1);
  rows.forEach((row, n) => row.setAttribute("aria-selected", String(n === chosen)));
  if (chosen < rows.length) box.setAttribute("aria-activedescendant", rows[chosen].id);
  else box.removeAttribute("aria-activedescendant");
});

box.addEventListener("blur", () => setTimeout(closeList, 150));
list.addEventListener("mousedown", (event) => {
  event.preventDefault();
  const row = event.target.closest("li");
  if (row) take(row.dataset.text);
});

function take(text) {
  clearTimeout(typed);
  asked += 1;
  box.value = text;
  closeList();
  search(text.trim(), true);
}

$("#search").addEventListener("submit", (event) => {
  event.preventDefault();
  const row = list.hidden ? null : list.children[chosen];
  take(row ? row.dataset.text : box.value);
  if (matchMedia("(max-width: 560px)").matches) box.blur();
});

// -- why this order ----------------------------------------------------------------------------------------------------

async function explain(link) {
  const body = $("#panel-body");
  body.replaceChildren(Object.assign(document.createElement("p"), { className: "muted", textContent: "Looking it up…" }));
  panel.showModal();
  try {
    const answer = await fetch(link.href);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    body.replaceChildren(...($("#why", fresh) ? [$("#why", fresh)] : $("#main", fresh).childNodes));
  } catch {
    body.textContent = "The shop does not answer. Try again in a moment.";
  }
}

panel.addEventListener("click", (event) => {
  if (event.target === panel) panel.close();
});

// -- pictures from elsewhere appear over the drawn ones once they are there --------------------------------------------

function pictures() {
  for (const image of document.querySelectorAll("img.remote")) {
    const there = () => image.classList.add("there");
    if (image.complete && image.naturalWidth) there();
    else {
      image.addEventListener("load", there, { once: true });
      image.addEventListener("error", () => image.remove(), { once: true });
    }
  }
}

// -- clicks are the shop's own log -------------------------------------------------------------------------------------

function session() {
  try {
    if (!sessionStorage.aisle) sessionStorage.aisle = crypto.randomUUID?.() || String(Math.random()).slice(2);
    return sessionStorage.aisle;
  } catch {
    return "";
  }
}

function clicked(card) {
  const similar = Boolean(card.closest(".similar"));
  const q = similar ? "" : new URL(location).searchParams.get("q") || "";
  const event = {
    action: "click", item_id: card.dataset.id, position: Number(card.dataset.position), request_id: card.dataset.request,
    session_id: session(), query: q, scene: similar ? "similar" : q ? "search" : "feed",
  };
  navigator.sendBeacon?.("/api/events", new Blob([JSON.stringify({ events: [event] })], { type: "application/json" }));
}

// -- banner ------------------------------------------------------------------------------------------------------------

const banner = $("#banner");

async function watch() {
  let status;
  try {
    status = await (await fetch("/ready")).json();
  } catch {
    return void setTimeout(watch, 4000);
  }
  const { state, done, total, seconds_left: left } = status.encoding;
  if (status.plan && banner.dataset.plan && status.plan !== banner.dataset.plan) {
    banner.hidden = false;
    banner.classList.add("fresh");
    const link = Object.assign(document.createElement("a"), { href: location.href, textContent: "Show the new order" });
    $("#banner-text").replaceChildren("Search by meaning is ready. ", link);
    return;
  }
  if (!["encoding", "fitting", "waiting"].includes(state)) {
    banner.hidden = true;
    return;
  }
  banner.hidden = false;
  const rest = left > 90 ? `, about ${Math.round(left / 60)} min left` : left > 1 ? `, about ${Math.round(left)} s left` : "";
  $("#banner-text").textContent = state === "encoding"
    ? `Searching by words. Learning what products mean: ${done.toLocaleString("en")} of ${total.toLocaleString("en")}${rest}`
    : "Searching by words. Getting search by meaning ready…";
  $("#banner-progress").max = total || 1;
  $("#banner-progress").value = done;
  setTimeout(watch, 1000);
}

pictures();
if (!banner.hidden) setTimeout(watch, 600);
