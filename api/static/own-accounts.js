// Seals a person's words, key file and passphrases for the signer (X25519, HKDF-SHA256, AES-256-GCM) before
// anything leaves this page. Fields with data-secret have no name: they are never submitted.
(() => {
  "use strict";
  const LABEL = "bifold self-custody 1";
  const bytes = (hex) => Uint8Array.from(hex.match(/../g) || [], (pair) => parseInt(pair, 16));
  const hex = (data) => Array.from(new Uint8Array(data), (b) => b.toString(16).padStart(2, "0")).join("");
  const text = new TextEncoder();
  const subtle = window.crypto && window.crypto.subtle;

  const associated = (context) => text.encode(JSON.stringify([LABEL, ...context]));

  async function derived(shared, sender, receiver, part, use) {
    const key = await subtle.importKey("raw", shared, "HKDF", false, ["deriveKey"]);
    const salt = new Uint8Array([...sender, ...receiver]);
    const info = text.encode(`${LABEL}|${part}`);
    return subtle.deriveKey({ name: "HKDF", hash: "SHA-256", salt, info }, key, { name: "AES-GCM", length: 256 }, false, [use]);
  }

  async function seal(signerKey, context, document) {
    const pair = await subtle.generateKey({ name: "X25519" }, false, ["deriveBits"]);
    const sender = new Uint8Array(await subtle.exportKey("raw", pair.publicKey));
    const receiver = bytes(signerKey);
    const theirs = await subtle.importKey("raw", receiver, { name: "X25519" }, false, []);
    const shared = await subtle.deriveBits({ name: "X25519", public: theirs }, pair.privateKey, 256);
    const nonce = crypto.getRandomValues(new Uint8Array(12));
    const key = await derived(shared, sender, receiver, "box", "encrypt");
    const sealed = await subtle.encrypt({ name: "AES-GCM", iv: nonce, additionalData: associated(context) }, key, text.encode(JSON.stringify(document)));
    const read = async (reply) => {
      const back = await derived(shared, sender, receiver, "reply", "decrypt");
      const plain = await subtle.decrypt({ name: "AES-GCM", iv: bytes(reply.nonce), additionalData: associated(context) }, back, bytes(reply.box));
      return JSON.parse(new TextDecoder().decode(plain));
    };
    return { box: { key: hex(sender), nonce: hex(nonce), box: hex(sealed) }, read };
  }

  // An exact decimal string in the smallest unit; no number ever passes through a float.
  function minor(amount, scale) {
    const found = /^(\d{1,40})(?:\.(\d{1,18}))?$/.exec(amount.trim());
    if (!found || (found[2] || "").length > scale) return null;
    return BigInt(found[1] + (found[2] || "").padEnd(scale, "0")).toString();
  }

  const MAX_FILE_BYTES = 6000; // what fits into a box

  async function secrets(form) {
    const asked = {};
    for (const field of form.querySelectorAll("[data-file]")) {
      if (field.closest("[data-only]").hidden) continue;
      const [file] = field.files;
      asked[field.dataset.file] = file && file.size <= MAX_FILE_BYTES ? await file.text() : "";
    }
    for (const field of form.querySelectorAll("[data-secret]")) {
      const room = field.closest("[data-only]");
      if (room && room.hidden) continue;
      asked[field.dataset.secret] = field.value;
    }
    if ("words" in asked) asked.words = Number(asked.words);
    if ("index" in asked) asked.index = /^\d{1,2}$/.test(asked.index) ? Number(asked.index) : -1;
    return asked;
  }

  async function post(path, fields) {
    const answer = await fetch(path, {
      method: "POST", body: new URLSearchParams(fields), redirect: "error", credentials: "same-origin",
    });
    return answer.json();
  }

  async function settled(id) {
    for (let turn = 0; turn < 60; turn += 1) {
      await new Promise((done) => setTimeout(done, 400));
      const state = await (await fetch(`/own-accounts/requests/${id}`, { credentials: "same-origin" })).json();
      if (state.state !== "queued") return state;
    }
    return null;
  }

  function start(room) {
    const words = room.dataset;
    const networks = JSON.parse(words.networks);
    const say = (form, message) => {
      const line = form.querySelector(".own-status");
      line.textContent = message;
      line.classList.toggle("refused", message !== words.sealing);
    };
    const reasons = JSON.parse(words.reasons);
    const why = (state) => `${words.refused} ${reasons[state.reason] || state.reason}`;
    const failed = (form, error) => say(form, error.name === "NotSupportedError" ? words.old : words.lost);
    const emptied = (form) => {
      for (const field of form.querySelectorAll("[data-secret], [data-file]")) if (field.tagName !== "SELECT") field.value = "";
    };
    const fresh = () => hex(crypto.getRandomValues(new Uint8Array(16)));

    const ask = room.querySelector('form[data-own="ask"]');
    ask.purpose.addEventListener("change", () => {
      for (const only of ask.querySelectorAll("[data-only]")) only.hidden = !only.dataset.only.split(" ").includes(ask.purpose.value);
    });
    ask.addEventListener("submit", async (event) => {
      event.preventDefault();
      say(ask, words.sealing);
      const purpose = ask.purpose.value === "create" ? "create" : "import", nonce = fresh();
      try {
        const asked = await secrets(ask);
        if (asked.keystore === "") return say(ask, words.nofile);
        const { box, read } = await seal(words.key, [purpose, words.person, nonce], asked);
        const made = await post("/own-accounts", { csrf: ask.csrf.value, purpose, label: ask.label.value, nonce, box: JSON.stringify(box) });
        if (made.error) return say(ask, made.error);
        const state = await settled(made.request);
        if (!state) return say(ask, words.lost);
        if (state.state === "refused") return say(ask, why(state));
        emptied(ask);
        if (!state.reply) return window.location.assign("/own-accounts");
        const told = await read(state.reply);
        const shown = document.getElementById("own-words");
        shown.querySelector("[data-words]").textContent = told.mnemonic;
        shown.hidden = false;
        ask.hidden = true;
        shown.scrollIntoView();
      } catch (error) {
        failed(ask, error);
      }
    });

    const send = room.querySelector('form[data-own="send"]');
    if (!send) return;
    send.addEventListener("submit", async (event) => {
      event.preventDefault();
      say(send, words.sealing);
      const network = networks[send.network.value], nonce = fresh(), asset = send.asset.value;
      const amount = minor(send.amount.value, network.scales[asset] ?? 0);
      const fee = minor(send.max_fee.value, network.scales[network.native]);
      try {
        const { box } = await seal(words.key, ["grant", words.person, nonce], {
          ...(await secrets(send)), address: send.account.selectedOptions[0].dataset.address,
          chain_id: network.chain_id, to: send.to.value.trim(),
          asset: asset === network.native ? "native" : network.tokens[asset] || "",
          amount: amount || "0", max_fee_wei: fee || "0",
        });
        const made = await post("/own-accounts/sends", {
          csrf: send.csrf.value, account: send.account.value, network: send.network.value, asset,
          amount: send.amount.value, to: send.to.value.trim(), max_fee: send.max_fee.value, nonce, box: JSON.stringify(box),
        });
        emptied(send);
        if (made.error) return say(send, made.error);
        window.location.assign("/own-accounts");
      } catch (error) {
        failed(send, error);
      }
    });

    const out = room.querySelector('form[data-own="export"]');
    out.addEventListener("submit", async (event) => {
      event.preventDefault();
      say(out, words.sealing);
      const address = out.account.selectedOptions[0].dataset.address, nonce = fresh();
      try {
        const { box, read } = await seal(words.key, ["export", words.person, nonce], { ...(await secrets(out)), address });
        const made = await post(`/own-accounts/${out.account.value}/export`, { csrf: out.csrf.value, nonce, box: JSON.stringify(box) });
        if (made.error) return say(out, made.error);
        const state = await settled(made.request);
        if (!state) return say(out, words.lost);
        if (state.state === "refused") return say(out, why(state));
        const told = await read(state.reply);
        emptied(out);
        say(out, "");
        const shown = document.getElementById("own-file"), link = shown.querySelector("a");
        link.href = URL.createObjectURL(new Blob([told.keystore], { type: "application/json" }));
        link.download = `UTC--${new Date().toISOString().replace(/:/g, "-")}--${address.slice(2).toLowerCase()}.json`;
        shown.hidden = false;
        shown.scrollIntoView({ block: "nearest" });
      } catch (error) {
        failed(out, error);
      }
    });
  }

  document.addEventListener("DOMContentLoaded", () => {
    const room = document.getElementById("own");
    if (room) start(room);
  });
})();
