// Makes the pages live; all of them work without it.
"use strict";

const POLL_SECONDS = 1;
const SLOWEST_SECONDS = 15;

// A request on its way: its state is asked for, and the page's content is replaced when it changes.
async function follow() {
  let wait = POLL_SECONDS;
  for (;;) {
    const main = document.getElementById("main");
    if (!main.dataset.follow) return;
    await new Promise((resolve) => setTimeout(resolve, wait * 1000));
    try {
      const answer = await fetch(main.dataset.follow, { headers: { accept: "application/json" } });
      if (!answer.ok) throw new Error(answer.statusText);
      const { state } = await answer.json();
      wait = document.hidden ? SLOWEST_SECONDS : POLL_SECONDS;
      if (state !== main.dataset.state) await renew(main);
    } catch {
      wait = Math.min(wait * 2, SLOWEST_SECONDS); // the portal is away: it is asked again, later
    }
  }
}

async function renew(main) {
  const answer = await fetch(location.href);
  if (!answer.ok) throw new Error(answer.statusText);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById("main");
  // The status stays in the page and only its content changes: that is read out.
  const status = document.getElementById("progress");
  status.replaceChildren(...fresh.querySelector("#progress").childNodes);
  fresh.querySelector("#progress").replaceWith(status);
  const focused = main.contains(document.activeElement);
  main.replaceWith(fresh);
  if (focused) fresh.focus();
  document.title = page.title;
  start();
}

// The last day cannot be before the first.
function keepDaysInOrder() {
  const first = document.getElementById("first_day");
  const last = document.getElementById("last_day");
  if (!first) return;
  const earliest = first.min;
  const order = () => { last.min = first.value > earliest ? first.value : earliest; };
  first.addEventListener("input", order);
  order();
}

// The heat map: what is under the pointer, or where the arrow keys lead, is said below it.
function readHeatmap() {
  const map = document.getElementById("heatmap");
  if (!map) return;
  const rows = [...map.querySelectorAll(".row")].slice(1).map((row) => [...row.querySelectorAll("i")]);
  const readout = document.getElementById("readout");
  let [day, hour] = [0, 0];
  const show = (d, h) => {
    rows[day][hour].classList.remove("here");
    [day, hour] = [d, h];
    rows[day][hour].classList.add("here");
    readout.textContent = rows[day][hour].title;
  };
  map.tabIndex = 0;
  map.addEventListener("focus", () => show(day, hour));
  map.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    show((day + step[0] + 7) % 7, (hour + step[1] + 24) % 24);
  });
  rows.forEach((cells, d) => cells.forEach((cell, h) => {
    cell.addEventListener("pointerenter", () => show(d, h));
  }));
}

function start() {
  keepDaysInOrder();
  readHeatmap();
}

start();
follow();
