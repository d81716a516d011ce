"use strict";
{
  // The filter of the register.
  const form = document.getElementById("filter");
  const rows = [...document.querySelectorAll("table.register tbody tr")];
  const words = rows.map((row) => row.textContent.toLowerCase());
  const filter = () => {
    const wanted = form.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const verdict = form.elements.verdict.value;
    const section = form.elements.section.value;
    let shown = 0;
    rows.forEach((row, place) => {
      const fits = (!verdict || row.dataset.verdict.split(" ").includes(verdict)) && (!section || row.dataset.section === section) &&
        wanted.every((word) => words[place].includes(word));
      row.hidden = !fits;
      shown += fits ? 1 : 0;
    });
    form.elements.shown.value = `${shown} of ${rows.length} shown`;
  };
  form.hidden = false;
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  for (const count of document.querySelectorAll("a[data-show]")) {
    count.addEventListener("click", () => {
      form.reset();
      form.elements.verdict.value = count.dataset.show;
      setTimeout(filter);
    });
  }
  filter();

  // A link to something that is folded away opens it.
  const open = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let part = target; part; part = part.parentElement) {
      if (part.tagName === "DETAILS") part.open = true;
    }
    target.scrollIntoView();
  };
  addEventListener("hashchange", open);
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (link && link.getAttribute("href") === location.hash) setTimeout(open);
  });
  open();

  // On paper nothing can be opened: every claim is, and is as it was afterwards.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details.claim:not([open])")];
    folded.forEach((part) => { part.open = true; });
  });
  addEventListener("afterprint", () => folded.forEach((part) => { part.open = false; }));
}
