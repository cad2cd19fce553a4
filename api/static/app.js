"use strict";
/* Small behaviour on top of pages that work without it: live refresh, local time, copying, counting
   down, keeping a form from being sent twice. No inline code anywhere: the CSP forbids it. */

document.addEventListener("alpine:init", () => {
  /* A button that copies `data-copy` and says so. */
  Alpine.data("copy", () => ({
    done: false,
    async copy() {
      const text = this.$root.dataset.copy;
      try {
        await navigator.clipboard.writeText(text);
      } catch {
        const area = document.createElement("textarea");
        area.value = text;
        area.className = "visually-hidden";
        document.body.append(area);
        area.select();
        document.execCommand("copy");
        area.remove();
      }
      this.done = true;
      setTimeout(() => { this.done = false; }, 2000);
    },
    get idle() { return !this.done; },
  }));

  /* How long a price stays locked: `data-until` is the moment, by the server's clock. */
  Alpine.data("countdown", () => ({
    left: 1,
    timer: 0,
    init() {
      const skew = Date.now() - Date.parse(this.$root.dataset.now);
      this.ends = Date.parse(this.$root.dataset.until) + skew;
      this.tick();
      this.timer = setInterval(() => this.tick(), 250);
    },
    destroy() { clearInterval(this.timer); },
    tick() { this.left = Math.max(0, Math.ceil((this.ends - Date.now()) / 1000)); },
    get clock() {
      const minutes = Math.floor(this.left / 60);
      return `${minutes}:${String(this.left % 60).padStart(2, "0")}`;
    },
    get open() { return this.left > 0; },
    get over() { return this.left <= 0; },
  }));

  /* "All of it": puts the available amount of the chosen asset into the field. */
  Alpine.data("amount", () => ({
    shown: "",
    init() { this.choose(); },
    choose() { this.shown = this.$root.querySelector("select")?.selectedOptions[0]?.dataset.shown ?? ""; },
    get known() { return this.shown !== ""; },
    get unknown() { return this.shown === ""; },
    all() {
      const field = this.$root.querySelector("input");
      const most = this.$root.querySelector("select")?.selectedOptions[0]?.dataset.available;
      if (most) { field.value = most; field.focus(); }
    },
  }));

  /* A form that takes no secret: what looks like one is taken out again before it can be sent. The
     server refuses it as well. */
  Alpine.data("nosecret", () => ({
    found: false,
    look(event) {
      const field = event.target;
      const text = field.value.normalize("NFKC");
      const squeezed = text.replace(/\s/g, "");
      const secret = /(^|[^1-9A-HJ-NP-Za-km-z])[a-z]prv[1-9A-HJ-NP-Za-km-z]{20}/i.test(squeezed)
        || /(^|[^0-9a-f])(0x)?[0-9a-f]{64}([^0-9a-f]|$)/i.test(squeezed)
        || (field.name === "source" && text.trim().split(/[\s,;]+/).length >= 10);
      if (!secret) return;
      field.value = "";
      this.found = true;
    },
  }));
});

(() => {
  const language = document.documentElement.lang || "en";
  const hour = language.startsWith("en") ? "numeric" : "2-digit"; /* 3:04 AM, 03:04 */
  const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" });
  const exact = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" });
  const sameYear = new Intl.DateTimeFormat(language, { day: "numeric", month: "short", hour, minute: "2-digit" });
  const clock = new Intl.DateTimeFormat(language, { hour, minute: "2-digit" });
  const full = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });

  function said(moment) {
    const seconds = (moment - Date.now()) / 1000;
    const size = Math.abs(seconds);
    if (size < 45) return relative.format(0, "second");
    if (size < 3600) return relative.format(Math.round(seconds / 60), "minute");
    if (size < 79200) return relative.format(Math.round(seconds / 3600), "hour");
    return (moment.getFullYear() === new Date().getFullYear() ? sameYear : full).format(moment);
  }
  function times() {
    for (const element of document.querySelectorAll("time[datetime]")) {
      const moment = new Date(element.getAttribute("datetime"));
      if (Number.isNaN(moment.getTime())) continue;
      const text = element.hasAttribute("data-exact") ? exact.format(moment)
        : element.hasAttribute("data-clock") ? clock.format(moment) : said(moment);
      if (element.textContent !== text) element.textContent = text;
      element.title = exact.format(moment);
    }
  }
  times();
  setInterval(times, 15000);
  document.addEventListener("htmx:after:swap", times);

  /* A form that moves something goes out once; its button says that it is under way. */
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post") return;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "yes";
    const button = event.submitter ?? form.querySelector("button[type=submit]");
    if (button) button.setAttribute("aria-busy", "true");
  });
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) {
      delete form.dataset.sent;
      form.querySelector("[aria-busy]")?.removeAttribute("aria-busy");
    }
  });

  /* --- live -------------------------------------------------------------------------------- */
  if (!document.querySelector("[data-live]") || !window.EventSource) return;
  const lost = document.getElementById("lost");
  let source = null;
  let lostTimer = 0;
  let pollTimer = 0;
  let lastId = document.body.dataset.seq ?? "";
  let lastOk = new Date();

  function refresh() { htmx.trigger(document.body, "bifold:changed"); }
  function well() {
    clearTimeout(lostTimer);
    lostTimer = 0;
    lastOk = new Date();
    if (lost) lost.hidden = true;
  }
  function ill() {
    if (lostTimer || !lost) return;
    lostTimer = setTimeout(() => {
      const time = lost.querySelector("time");
      if (time) time.setAttribute("datetime", lastOk.toISOString());
      lost.hidden = false;
      times();
    }, 3000);
  }
  function poll() {
    if (!pollTimer) pollTimer = setInterval(refresh, 10000);
  }
  function close() { source?.close(); source = null; }
  function open() {
    if (source) return;
    const from = lastId ? `?after=${encodeURIComponent(lastId)}` : "";
    source = new EventSource(`/live${from}`);
    source.addEventListener("open", well);
    source.addEventListener("change", (event) => { lastId = event.lastEventId; refresh(); });
    source.addEventListener("ended", () => { close(); window.location.assign("/sign-in"); });
    source.addEventListener("error", () => {
      ill();
      /* CLOSED: the server refused (too many live pages): ask every ten seconds instead. */
      if (source?.readyState === EventSource.CLOSED) { close(); poll(); }
    });
  }
  window.addEventListener("offline", () => { close(); ill(); });
  window.addEventListener("online", () => { if (!pollTimer) open(); refresh(); });
  document.addEventListener("htmx:error", ill);
  document.addEventListener("htmx:after:swap", () => {
    lastOk = new Date();
    if (pollTimer && lost && !lost.hidden) well();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { close(); } else { if (!pollTimer) open(); refresh(); }
  });
  window.addEventListener("pagehide", close);
  open();
})();
