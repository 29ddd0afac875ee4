// Figures are fetched when they come into sight; a picture that cannot be shown says why; arrow keys go to the neighbours.
"use strict";

async function fill(place) {
  try {
    const reply = await fetch(place.dataset.fragment);
    const text = await reply.text();
    if (reply.ok) place.innerHTML = text; // made by our own server, texts escaped
    else place.textContent = "These figures could not be counted.";
  } catch {
    place.textContent = "The server does not answer any more.";
  }
}

const sight = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    sight.unobserve(entry.target);
    fill(entry.target);
  }
}, { rootMargin: "300px" });
for (const place of document.querySelectorAll("[data-fragment]")) {
  if (place.getBoundingClientRect().top < innerHeight) fill(place); // in sight from the start
  else sight.observe(place);
}

async function explain(picture) {
  const words = document.createElement("span");
  words.className = "fault";
  words.textContent = "This picture cannot be shown.";
  picture.replaceWith(words);
  const reply = await fetch(picture.src);
  if (!reply.ok) words.textContent = await reply.text();
}

for (const picture of document.images) {
  if (picture.complete && picture.naturalWidth === 0 && picture.src) explain(picture);
  else picture.addEventListener("error", () => explain(picture));
}

document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, textarea, select") || event.altKey || event.ctrlKey || event.metaKey) return;
  const rel = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  const link = rel && document.querySelector(`a[rel=${rel}]`);
  if (link) location.href = link.href;
});

for (const mark of document.querySelectorAll("[data-mark]")) {
  const same = document.querySelectorAll(`[data-mark="${mark.dataset.mark}"]`);
  mark.addEventListener("mouseenter", () => same.forEach((one) => one.classList.add("lit")));
  mark.addEventListener("mouseleave", () => same.forEach((one) => one.classList.remove("lit")));
}
