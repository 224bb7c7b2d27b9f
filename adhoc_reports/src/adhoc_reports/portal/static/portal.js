// Updates the pages. Every page works without it.
"use strict";

// The portal answers once the state has changed, or after five seconds.
const POLL_SECONDS = 0.1;
const RETRY_SECONDS = 1;
const MAX_POLL_SECONDS = 15;
const FAILURES_BEFORE_NOTICE = 3;
const UNREACHABLE = "The portal cannot be reached. This page updates when it is back.";

// Polls the state of a pending request, and replaces the page's content when it changes.
async function poll() {
  let wait = POLL_SECONDS;
  let failures = 0;
  for (;;) {
    const main = document.getElementById("main");
    if (!main.dataset.follow) return;
    await new Promise((resolve) => setTimeout(resolve, wait * 1000));
    try {
      const url = `${main.dataset.follow}?known=${main.dataset.state}`;
      const answer = await fetch(url, { headers: { accept: "application/json" } });
      if (!answer.ok) throw new Error(answer.statusText);
      const { state, trouble } = await answer.json();
      const { dataset } = main;
      if (state !== dataset.state || trouble.join(" ") !== dataset.trouble) await reload(main);
      else if (failures >= FAILURES_BEFORE_NOTICE) announce("");
      wait = document.hidden ? MAX_POLL_SECONDS : POLL_SECONDS;
      failures = 0;
    } catch {
      wait = Math.min(Math.max(wait, RETRY_SECONDS) * 2, MAX_POLL_SECONDS); // the portal cannot be reached: retry later
      failures += 1;
      if (failures === FAILURES_BEFORE_NOTICE) announce(UNREACHABLE, true);
    }
  }
}

async function reload(main) {
  const answer = await fetch(location.href);
  if (!answer.ok) throw new Error(answer.statusText);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById("main");
  const focused = main.contains(document.activeElement);
  main.replaceWith(fresh);
  if (focused) fresh.focus();
  document.title = page.title;
  announce(`${fresh.dataset.label}. ${fresh.dataset.trouble}`);
  start();
}

// Screen readers read it out. It is visible only where the page does not show it anyway.
function announce(words, isVisible = false) {
  const live = document.getElementById("live");
  live.textContent = words;
  live.className = isVisible ? "notice" : "visually-hidden";
}

// 2023-01 for people, as the server writes it: January 2023.
function monthInWords(month) {
  return new Date(`${month}-01`).toLocaleDateString("en-GB", { month: "long", year: "numeric", timeZone: "UTC" });
}

// The browser refuses a last day before the first, and days that the chosen service has no data of.
function validateDays() {
  const first = document.getElementById("first_day");
  const last = document.getElementById("last_day");
  if (!first) return;
  const { form } = first;
  const service = document.getElementById("service");
  const services = [...form.querySelectorAll("[data-service]")];
  const showsGaps = "showsGaps" in form.dataset;
  let earliest = first.min;
  let gaps = [];
  const setMinimum = () => { last.min = first.value > earliest ? first.value : earliest; };
  const check = () => {
    const [from, to] = [first.value.slice(0, 7), last.value.slice(0, 7)];
    // A kind that shows gaps needs data of the first and the last day only.
    const isMissing = showsGaps ? (month) => month === from || month === to : (month) => from <= month && month <= to;
    const missing = from && to ? gaps.filter(isMissing) : [];
    last.setCustomValidity(missing.length ? `Not loaded: ${missing.map(monthInWords).join(", ")}. Choose other days.` : "");
  };
  const setService = () => {
    const chosen = services.find((each) => each.dataset.service === service.value);
    if (!chosen) return; // no month of it is loaded, which the server says
    for (const each of services) each.hidden = each !== chosen;
    earliest = chosen.dataset.first;
    gaps = chosen.dataset.gaps.split(" ").filter(Boolean);
    for (const field of form.querySelectorAll("[type=date]")) [field.min, field.max] = [earliest, chosen.dataset.last];
    setMinimum();
    check();
  };
  // Not on input of the last day: Chromium would clear the part that has been typed.
  first.addEventListener("input", setMinimum);
  for (const field of [first, last]) field.addEventListener("input", check);
  service.addEventListener("change", setService);
  setService();
}

// The page holds averages and totals, and shows one of them.
function setUpViews() {
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

// Draws a heat map from the cells in the page. The text below it describes the cell under the
// pointer, or the one selected by the arrow keys.
function drawHeatmap(map) {
  if (!window.Chart) return;
  const readout = document.getElementById(map.getAttribute("aria-describedby"));
  const [hours, ...days] = [...map.querySelectorAll(".row")].map((row) => [...row.children]);
  const dayNames = days.map(([label]) => label.textContent);
  const hourNames = hours.slice(1).map((label) => label.textContent);
  const cells = days.flatMap(([, ...row], day) => row.map((cell, hour) => ({
    day: dayNames[day], hour: hourNames[hour], description: cell.title, colour: `--${cell.className}`,
  })));
  const portrait = matchMedia("(max-width: 40rem)");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const canvas = document.createElement("canvas");
  let chart;
  let selected = null;

  const show = (cell) => {
    selected = cell;
    readout.textContent = cells[cell].description;
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
        callback: (index) => (portrait.matches ? labels[index].split(" ") : labels[index]),
      },
    });
    const [across, down] = portrait.matches ? ["day", "hour"] : ["hour", "day"];
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
          tooltip: { displayColors: false, callbacks: { title: () => "", label: ({ dataIndex }) => cells[dataIndex].description } },
        },
        scales: { x: axis(names[across], "top"), y: axis(names[down], "left") },
      },
      plugins: [{ id: "selection", afterDatasetsDraw: () => {
        if (selected === null) return;
        const { x, y, width, height } = chart.getDatasetMeta(0).data[selected];
        // Two tones: one of them is visible on every colour.
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
  for (const change of [portrait, dark]) change.addEventListener("change", draw);
  map.tabIndex = 0;
  map.addEventListener("focus", () => show(selected ?? 0));
  map.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
    if (!step) return;
    event.preventDefault();
    const [hour, day] = portrait.matches ? [step[1], step[0]] : step;
    const [h, d] = [(selected ?? 0) % 24, Math.floor((selected ?? 0) / 24)];
    const rows = dayNames.length;
    show(((d + day + rows) % rows) * 24 + ((h + hour + 24) % 24));
  });
}

// A preset fills in its days, which the server computes from the whole form. Without script the
// same button loads the page with them.
function setUpPresets() {
  for (const preset of document.querySelectorAll("[name=preset]")) {
    preset.addEventListener("click", async (event) => {
      event.preventDefault();
      const { form } = preset;
      const query = new URLSearchParams(new FormData(form));
      query.set(preset.name, preset.value);
      try {
        const answer = await fetch(`${form.action}?${query}`);
        if (!answer.ok) throw new Error(answer.statusText);
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        for (const field of form.querySelectorAll("[type=date]")) {
          field.value = page.getElementById(field.id).value;
          field.dispatchEvent(new Event("input"));
        }
        announce(`${preset.textContent} is filled in.`);
      } catch {
        announce("The portal cannot be reached. Fill in the days, or try again.", true);
      }
    });
  }
}

function setUpCopy() {
  const button = document.getElementById("copy");
  if (!button || !navigator.clipboard) return;
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(button.dataset.link);
      button.textContent = "Link copied";
      announce("Link copied.");
    } catch {
      announce("The browser did not allow it. The link is at the end of this page.", true);
    }
  });
}

function start() {
  validateDays();
  setUpPresets();
  setUpCopy();
  document.querySelectorAll(".heatmap").forEach(drawHeatmap);
  setUpViews();
}

start();
poll();
