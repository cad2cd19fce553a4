"use strict";
/* The rooms where a browser wallet is used: sign in, link, pay. Each is a `data-wallet` element that
   is hidden until this script runs; its words and figures come from the server in data attributes. */

(() => {
  const { WalletTrouble } = BifoldWallet;
  const BUSY = "aria-busy";

  function fill(words, values = {}) {
    return words.replace(/%\((\w+)\)s/g, (whole, name) => values[name] ?? whole);
  }

  /* One room: its buttons (one for each wallet), its status line, its problem. */
  class Room {
    constructor(root) {
      this.root = root;
      this.words = JSON.parse(root.dataset.words);
      this.form = root.querySelector("form");
      this.buttons = root.querySelector("[data-wallet-buttons]");
      this.status = root.querySelector("[data-wallet-status]");
      this.problem = root.querySelector("[data-wallet-problem]");
      this.busy = false;
      this.act = async () => {};
      this.form.addEventListener("submit", (event) => {
        event.preventDefault();
        this.press(event.submitter ?? this.buttons.querySelector("button"));
      });
      BifoldWallet.watch(() => this.draw());
      this.draw();
      root.hidden = false;
    }

    draw() {
      if (this.busy) return;
      const held = document.activeElement?.dataset?.walletId;
      const known = BifoldWallet.wallets();
      const entries = known.length > 0 ? known : [{ id: "", name: "", icon: "" }];
      this.buttons.replaceChildren(...entries.map((wallet) => this.button(wallet)));
      if (held !== undefined) this.buttons.querySelector(`button[data-wallet-id="${CSS.escape(held)}"]`)?.focus();
    }

    button(wallet) {
      const button = document.createElement("button");
      button.type = "submit";
      button.className = this.root.dataset.look ?? "quiet";
      button.dataset.walletId = wallet.id;
      if (wallet.icon) {
        const image = new Image(24, 24);
        image.src = wallet.icon;
        image.alt = "";
        button.append(image);
      }
      const words = wallet.name ? fill(this.root.dataset.with, { wallet: wallet.name }) : this.root.dataset.plain;
      button.append(words);
      return button;
    }

    say(text) { this.status.textContent = text; }
    complain(text) {
      this.problem.querySelector("p").textContent = text;
      this.problem.hidden = text === "";
    }
    told(kind, values) { return fill(this.words[kind] ?? this.words.failed, { said: kind, ...values }); }

    async press(button) {
      if (this.busy) return;
      this.complain("");
      BifoldWallet.look();
      const wallet = BifoldWallet.wallets().find((one) => one.id === button.dataset.walletId) ?? BifoldWallet.wallets()[0];
      this.busy = true;
      for (const one of this.buttons.querySelectorAll("button")) one.setAttribute("aria-disabled", "true");
      button.setAttribute(BUSY, "true");
      let leaving = false;
      try {
        if (!wallet) throw new WalletTrouble("none");
        leaving = await this.act(wallet);
      } catch (error) {
        const what = error instanceof Refusal ? error : BifoldWallet.trouble(error);
        this.complain(what instanceof Refusal ? what.message : this.told(what.kind, what.values));
      }
      if (leaving) return;
      this.busy = false;
      button.removeAttribute(BUSY);
      for (const one of this.buttons.querySelectorAll("button")) one.removeAttribute("aria-disabled");
      this.say("");
    }

    /* Ask the server. Raises Refusal in the server's words, in the person's language. */
    async ask(path, fields) {
      const body = new URLSearchParams({ ...fields, csrf: this.form.elements.csrf.value });
      let answer;
      try {
        answer = await fetch(path, { method: "POST", body, headers: { Accept: "application/json" } });
      } catch {
        throw new WalletTrouble("lost");
      }
      if (answer.redirected) { window.location.assign(answer.url); throw new WalletTrouble("session"); }
      const told = await answer.json().catch(() => null);
      if (answer.ok && told) return told;
      throw told?.detail ? new Refusal(told.detail) : new WalletTrouble("lost");
    }

    /* Account, message, signature: the same for signing in and for linking. */
    async prove(wallet, path) {
      this.say(this.words.look);
      const account = await BifoldWallet.connect(wallet);
      const chain = await BifoldWallet.chainOf(wallet).catch(() => 0);
      const { message } = await this.ask(path, { address: account, chain_id: String(chain) });
      this.say(this.words.sign);
      const signature = await BifoldWallet.sign(wallet, account, message);
      this.say(this.words.checking);
      return { message, signature };
    }
  }
  class Refusal extends Error {}

  /* --- sign in, link ------------------------------------------------------------------------ */
  function signIn(root) {
    const room = new Room(root);
    room.act = async (wallet) => {
      const proof = await room.prove(wallet, "/sign-in/wallet/message");
      const { go } = await room.ask("/sign-in/wallet", { ...proof, next: root.dataset.next });
      window.location.assign(go);
      return true;
    };
  }

  function link(root) {
    const room = new Room(root);
    const password = room.form.elements.password;
    room.act = async (wallet) => {
      if (password.value === "") { password.focus(); throw new WalletTrouble("password"); }
      const proof = await room.prove(wallet, "/settings/wallets/message");
      const { go } = await room.ask("/settings/wallets", { ...proof, password: password.value });
      window.location.assign(go);
      return true;
    };
  }

  /* --- pay ---------------------------------------------------------------------------------- */
  const TRANSFER = "0xa9059cbb", BALANCE_OF = "0x70a08231";
  const word = (hex) => hex.replace(/^0x/, "").toLowerCase().padStart(64, "0");

  /* Digits as the smallest unit, exactly. */
  function minor(text, decimals) {
    const parts = /^(\d{1,40})(?:\.(\d{1,40}))?$/.exec(text.trim());
    if (!parts) throw new WalletTrouble("amount");
    const fraction = (parts[2] ?? "").replace(/0+$/, "");
    if (fraction.length > decimals) throw new WalletTrouble("precision");
    const units = BigInt(parts[1] + fraction.padEnd(decimals, "0"));
    if (units === 0n) throw new WalletTrouble("nothing");
    if (units >= 2n ** 128n) throw new WalletTrouble("poor");
    return units;
  }

  function pay(root) {
    const room = new Room(root);
    const { amount, asset } = room.form.elements;
    const chain = JSON.parse(root.dataset.chain);
    const to = root.dataset.to;
    const sentence = root.querySelector("[data-wallet-sentence]");
    const chosen = () => {
      const option = asset.selectedOptions[0];
      return { code: option.value, decimals: Number(option.dataset.decimals), contract: option.dataset.contract ?? "" };
    };
    function preview() {
      const coin = chosen();
      let ready = true;
      try { minor(amount.value, coin.decimals); } catch { ready = false; }
      sentence.hidden = !ready;
      sentence.textContent = ready
        ? fill(room.words.sentence, { amount: amount.value.trim(), asset: coin.code, address: to, network: chain.name }) : "";
      amount.removeAttribute("aria-invalid");
    }
    amount.addEventListener("input", preview);
    asset.addEventListener("change", preview);
    preview();

    async function balance(wallet, account, coin) {
      const answer = coin.contract
        ? await BifoldWallet.request(wallet, "eth_call", [{ to: coin.contract, data: BALANCE_OF + word(account) }, "latest"])
        : await BifoldWallet.request(wallet, "eth_getBalance", [account, "latest"]);
      return /^0x[0-9a-fA-F]{1,64}$/.test(answer) ? BigInt(answer) : null;
    }

    room.act = async (wallet) => {
      const coin = chosen();
      let units;
      try {
        units = minor(amount.value, coin.decimals);
      } catch (error) {
        amount.setAttribute("aria-invalid", "true");
        amount.focus();
        throw error;
      }
      room.say(room.words.look);
      const account = await BifoldWallet.connect(wallet);
      if (account.toLowerCase() === to.toLowerCase()) throw new WalletTrouble("same");
      await BifoldWallet.toChain(wallet, chain);
      const held = await balance(wallet, account, coin).catch(() => null);
      if (held !== null && held < units) throw new WalletTrouble("poor");
      room.say(room.words.confirm);
      const value = "0x" + units.toString(16);
      const call = coin.contract
        ? { to: coin.contract, value: "0x0", data: TRANSFER + word(to) + word(value) }
        : { to, value };
      const chainId = "0x" + chain.id.toString(16);
      const hash = await BifoldWallet.request(wallet, "eth_sendTransaction", [{ from: account, chainId, ...call }]);
      if (typeof hash !== "string" || !/^0x[0-9a-fA-F]{64}$/.test(hash)) throw new WalletTrouble("no_hash");
      try { sessionStorage.setItem("bifold-wallet", wallet.id); } catch { /* only asked for an undone payment */ }
      const query = new URLSearchParams({ network: root.dataset.network, tx: hash.toLowerCase() });
      window.location.assign(`/receive?${query}`);
      return true;
    };
  }

  /* The page shows what arrives; that the network undid the payment only the wallet's node can tell. */
  function follow(root) {
    const words = JSON.parse(root.dataset.words);
    let wanted = "";
    try { wanted = sessionStorage.getItem("bifold-wallet") ?? ""; } catch { return; }
    const ends = Date.now() + 10 * 60 * 1000;
    async function look() {
      if (Date.now() > ends) return;
      const wallet = BifoldWallet.wallets().find((one) => one.id === wanted);
      const receipt = wallet ? await BifoldWallet.request(wallet, "eth_getTransactionReceipt", [root.dataset.walletTx]).catch(() => null) : null;
      if (receipt?.status === "0x0") {
        const problem = root.querySelector("[data-wallet-problem]");
        problem.querySelector("p").textContent = words.undone;
        problem.hidden = false;
      }
      if (!receipt) setTimeout(look, 3000);
    }
    look();
  }

  const rooms = { "sign-in": signIn, link, pay };
  for (const root of document.querySelectorAll("[data-wallet]")) rooms[root.dataset.wallet](root);
  for (const root of document.querySelectorAll("[data-wallet-tx]")) follow(root);
})();
