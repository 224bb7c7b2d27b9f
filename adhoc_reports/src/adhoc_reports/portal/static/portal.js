// Updates the pages; all of them work without it.
"use strict";

const POLL_SECONDS = 1;
const SLOWEST_SECONDS = 15;
const FAILURES_UNTIL_IT_IS_SAID = 3;
const NO_ANSWER = "The portal does not answer. This page continues when it is back.";

// Polls the state of a pending request, and replaces the page's content when it changes.
async function follow() {
  let wait = POLL_SECONDS;
  let failures = 0;
  for (;;) {
    const main = document.getElementById("main");
    if (!main.dataset.follow) return;
    await new Promise((resolve) => setTimeout(resolve, wait * 1000));
    try {
      const answer = await fetch(main.dataset.follow, { headers: { accept: "application/json" } });
      if (!answer.ok) throw new Error(answer.statusText);
      const { state, trouble } = await answer.json();
      const { dataset } = main;
      if (state !== dataset.state || trouble.join(" ") !== dataset.trouble) await renew(main);
      else if (failures >= FAILURES_UNTIL_IT_IS_SAID) say("");
      wait = document.hidden ? SLOWEST_SECONDS : POLL_SECONDS;
      failures = 0;
    } catch {
      wait = Math.min(wait * 2, SLOWEST_SECONDS); // the portal is away: retry later
      failures += 1;
      if (failures === FAILURES_UNTIL_IT_IS_SAID) say(NO_ANSWER, true);
    }
  }
}

async function renew(main) {
  const answer = await fetch(location.href);
  if (!answer.ok) throw new Error(answer.statusText);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById("main");
  const focused = main.contains(document.activeElement);
  main.replaceWith(fresh);
  if (focused) fresh.focus();
  document.title = page.title;
  say(`${fresh.dataset.words}. ${fresh.dataset.trouble}`);
  start();
}

// Read out by screen readers; visible too where the page itself does not show it.
function say(words, shown = false) {
  const live = document.getElementById("live");
  live.textContent = words;
  live.className = shown ? "notice" : "unseen";
}

// The last day cannot be before the first, and no month between them may be missing.
function keepDaysPossible() {
  const first = document.getElementById("first_day");
  const last = document.getElementById("last_day");
  if (!first) return;
  const earliest = first.min;
  const gaps = first.form.dataset.gaps.split(" ").filter(Boolean);
  const order = () => { last.min = first.value > earliest ? first.value : earliest; };
  const check = () => {
    const [from, to] = [first.value.slice(0, 7), last.value.slice(0, 7)];
    const missing = from && to ? gaps.filter((month) => from <= month && month <= to) : [];
    last.setCustomValidity(missing.length ? `There are no trips of ${missing.join(", ")}.` : "");
  };
  // Not while the last day is typed: Chromium would forget what has been typed of it.
  first.addEventListener("input", order);
  for (const field of [first, last]) field.addEventListener("input", check);
  order();
  check();
}

// Averages or totals: the page has both, and shows one of them.
function offerViews() {
  const choice = document.getElementById("views");
  if (!choice) return;
  const show = () => {
    const chosen = choice.querySelector("input:checked").value;
    for (const part of document.querySelectorAll("[data-view]")) part.hidden = part.dataset.view !== chosen;
  };
  choice.addEventListener("change", show);
  choice.hidden = false;
  show();
}

// A heat map, drawn from the cells that the page has. The number under the pointer, or where the
// arrow keys lead, is read out below it.
function drawHeatmap(map) {
  if (!window.Chart) return;
  const readout = document.getElementById(map.getAttribute("aria-describedby"));
  const [hours, ...days] = [...map.querySelectorAll(".row")].map((row) => [...row.children]);
  const dayNames = days.map(([label]) => label.textContent);
  const hourNames = hours.slice(1).map((label) => label.textContent);
  const cells = days.flatMap(([, ...row], day) => row.map((cell, hour) => ({
    day: dayNames[day], hour: hourNames[hour], says: cell.title, colour: `--${cell.className}`,
  })));
  const upright = matchMedia("(max-width: 40rem)");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const canvas = document.createElement("canvas");
  let chart;
  let here = null;

  const show = (place) => {
    here = place;
    readout.textContent = cells[place].says;
    chart.render();
  };
  const draw = () => {
    chart?.destroy();
    if (!map.isConnected) return;
    const style = getComputedStyle(map);
    const colour = (name) => style.getPropertyValue(name);
    const axis = (labels, position) => ({
      type: "category", labels, position, offset: true, reverse: false, border: { display: false }, grid: { display: false },
      ticks: {
        autoSkip: false, maxRotation: 0, padding: 2, color: colour("--quiet"),
        // A phone has no room for a weekday and its number of days side by side.
        callback: (place) => (upright.matches ? labels[place].split(" ") : labels[place]),
      },
    });
    const [across, down] = upright.matches ? ["day", "hour"] : ["hour", "day"];
    const names = { day: dayNames, hour: hourNames };
    chart = new Chart(canvas, {
      type: "matrix",
      data: { datasets: [{
        data: cells.map((cell) => ({ x: cell[across], y: cell[down] })),
        backgroundColor: ({ dataIndex }) => colour(cells[dataIndex].colour),
        borderRadius: 2,
        width: ({ chart: { chartArea } }) => (chartArea ? chartArea.width / names[across].length - 2 : 1),
        height: ({ chart: { chartArea } }) => (chartArea ? chartArea.height / names[down].length - 2 : 1),
      }] },
      options: {
        animation: false,
        maintainAspectRatio: false,
        onHover: (_, found) => { if (found.length) show(found[0].index); },
        plugins: {
          legend: { display: false },
          tooltip: { displayColors: false, callbacks: { title: () => "", label: ({ dataIndex }) => cells[dataIndex].says } },
        },
        scales: { x: axis(names[across], "top"), y: axis(names[down], "left") },
      },
      plugins: [{ id: "here", afterDatasetsDraw: () => {
        if (here === null) return;
        const { x, y, width, height } = chart.getDatasetMeta(0).data[here];
        // Two tones: one of them is seen on every colour.
        for (const [tone, line] of [["--paper", 5], ["--ink", 2.5]]) {
          chart.ctx.strokeStyle = colour(tone);
          chart.ctx.lineWidth = line;
          chart.ctx.strokeRect(x, y, width, height);
        }
      } }],
    });
  };

  const plot = document.createElement("div");
  plot.className = "plot";
  plot.append(canvas);
  map.replaceChildren(plot);
  draw();
  for (const change of [upright, dark]) change.addEventListener("change", draw);
  map.tabIndex = 0;
  map.addEventListener("focus", () => show(here ?? 0));
  map.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
    if (!step) return;
    event.preventDefault();
    const [hour, day] = upright.matches ? [step[1], step[0]] : step;
    const [h, d] = [(here ?? 0) % 24, Math.floor((here ?? 0) / 24)];
    const rows = dayNames.length;
    show(((d + day + rows) % rows) * 24 + ((h + hour + 24) % 24));
  });
}

function start() {
  keepDaysPossible();
  document.querySelectorAll(".heatmap").forEach(drawHeatmap);
  offerViews();
}

start();
follow();
