/* The only script besides htmx. No state lives here; every page works without it. */
(() => {
  const root = document.documentElement;

  // sizes and places as data attributes, set through the CSSOM because the page's policy forbids style=
  const SET = {
    w: (e, v) => { e.style.width = v + "%" },
    left: (e, v) => { e.style.left = v + "%" },
    top: (e, v) => { e.style.top = v + "%" },
    h: (e, v) => { e.style.setProperty("--h", v) },
    hue: (e, v) => { e.style.setProperty("--hue", v) },
  };
  const lay = (from = document) => {
    for (const name in SET) {
      const at = `[data-${name}]`;
      if (from.matches?.(at)) SET[name](from, from.dataset[name]);
      for (const e of from.querySelectorAll?.(at) ?? []) SET[name](e, e.dataset[name]);
    }
  };
  lay();
  // whatever htmx swaps or morphs in
  new MutationObserver(list => {
    for (const m of list) m.type === "attributes" ? lay(m.target) : m.addedNodes.forEach(n => n.nodeType === 1 && lay(n));
  }).observe(document.body, { childList: true, subtree: true, attributes: true, attributeFilter: Object.keys(SET).map(n => "data-" + n) });

  const flip = () => {
    const dark = root.dataset.theme === "dark" || (!root.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.theme = root.dataset.theme } catch {}
  };
  const copy = b => navigator.clipboard?.writeText(b.dataset.copy ?? document.getElementById(b.dataset.copyFrom)?.textContent ?? "").then(() => {
    const word = b.lastElementChild ?? b, was = word.textContent;
    word.textContent = "Copied";
    setTimeout(() => { word.textContent = was }, 1500);
  });
  const open = id => { const d = document.getElementById(id); if (d && !d.open) { d.showModal(); return true } return !!d };

  document.addEventListener("click", e => {
    const hit = q => e.target.closest?.(q);
    let b;
    if (hit("[data-theme-toggle]")) flip();
    if ((b = hit("[data-open]")) && open(b.dataset.open)) e.preventDefault();
    if ((b = hit("[data-copy], [data-copy-from]"))) copy(b);
    if (hit("[data-print]")) { e.preventDefault(); print() }
    if ((b = hit("[data-dismiss]"))) b.closest(".toast")?.remove();
    if ((b = hit("[data-close]"))) b.closest("dialog")?.close();
    if (e.target.matches?.("dialog")) e.target.close();          // the backdrop
  });

  // a select or radio that shows its result at once, where the form works without it too
  document.addEventListener("change", e => { if (e.target.matches?.("[data-submit]")) e.target.form?.requestSubmit() });

  // Ctrl K jumps; N then B makes a new backup plan; arrows walk through what was found
  let last = "", when = 0;
  const keys = { "n b": "a[href$='/backups/new']" };
  document.addEventListener("keydown", e => {
    if ((e.metaKey || e.ctrlKey) && e.key.toLowerCase() === "k") { e.preventDefault(); open("jump"); return }
    const dialog = document.getElementById("jump");
    if (dialog?.open && (e.key === "ArrowDown" || e.key === "ArrowUp")) {
      const all = [...dialog.querySelectorAll("input, .menu a")], i = all.indexOf(document.activeElement);
      all[(i + (e.key === "ArrowDown" ? 1 : all.length - 1)) % all.length]?.focus();
      e.preventDefault();
      return;
    }
    if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest?.("input, textarea, select, dialog[open], [contenteditable]")) return;
    const pair = last + " " + e.key.toLowerCase(), now = e.timeStamp;
    if (now - when < 1200 && keys[pair]) document.querySelector(keys[pair])?.click();
    last = e.key.toLowerCase(); when = now;
  });

  // a private key stays in this browser: the field is emptied before anything of it is sent
  const PRIVATE = /PRIVATE[ _-]{0,5}KEY|PuTTY-User-Key-File|Private-(Lines|MAC|Hash)\s*:|AGE-SECRET-KEY-|b3BlbnNzaC1rZXktdj/i;
  const guard = e => {
    const field = e.target.matches?.("[data-public-only]") ? e.target : e.target.querySelector?.("[data-public-only]");
    if (!field) return;
    const bad = PRIVATE.test(field.value), note = document.getElementById(field.dataset.publicOnly);
    if (bad || field.value) note.hidden = !bad;
    if (!bad) return;
    field.value = "";
    e.preventDefault();
    e.stopImmediatePropagation();
  };
  for (const name of ["input", "submit"]) document.addEventListener(name, guard, true);

  // polled regions rest while nobody looks; an answer that was sent elsewhere (signed out) loads the page anew
  document.addEventListener("htmx:config:request", e => { if (document.hidden && e.target.matches?.("[hx-trigger^='every']")) e.preventDefault() });
  document.addEventListener("htmx:before:response", e => { if (e.detail?.ctx?.response?.raw?.redirected) { e.preventDefault(); location.reload() } });

  // one tooltip for bars and charts; never the only copy of a fact
  const tip = Object.assign(document.createElement("div"), { className: "tip", hidden: true });
  tip.setAttribute("aria-hidden", "true");
  document.body.append(tip);
  const show = (x, y, text) => {
    tip.textContent = text; tip.hidden = false;
    tip.style.left = Math.max(8, Math.min(x - tip.offsetWidth / 2, innerWidth - tip.offsetWidth - 8)) + "px";
    tip.style.top = y - tip.offsetHeight - 8 + "px";
  };
  document.addEventListener("pointermove", e => {
    const d = e.target.closest?.("[data-t]");
    if (d) { const r = d.getBoundingClientRect(); return show(r.left + r.width / 2, r.top, d.dataset.t) }
    const c = e.target.closest?.("[data-chart]");
    if (!c) { tip.hidden = true; return }
    const points = c.points ??= JSON.parse(c.dataset.chart), r = c.getBoundingClientRect(), n = points.length - 1;
    const i = Math.max(0, Math.min(n, Math.round((e.clientX - r.left) / r.width * n)));
    show(r.left + (n ? r.width * i / n : 0), r.top, points[i]);
  }, { passive: true });
})();
