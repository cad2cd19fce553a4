"use strict";
/* Wallets of this browser: found by EIP-6963 (window.ethereum where none announces itself), spoken
   to by EIP-1193. Nothing here asks a wallet for anything before somebody pressed a button. */

window.BifoldWallet = (() => {
  const found = new Map(); // uuid -> { id, name, icon, provider }
  const watchers = new Set();
  const ICON = /^data:image\/(png|jpeg|gif|webp|svg\+xml)[;,]/;

  function announced(event) {
    const { info, provider } = event.detail ?? {};
    if (typeof provider?.request !== "function" || typeof info?.uuid !== "string") return;
    if (found.has(info.uuid)) return;
    const icon = typeof info.icon === "string" && info.icon.length < 200000 && ICON.test(info.icon);
    found.set(info.uuid, {
      id: typeof info.rdns === "string" ? info.rdns : info.uuid,
      name: String(info.name ?? "").slice(0, 40),
      icon: icon ? info.icon : "",
      provider,
    });
    tell();
  }
  function tell() { for (const watcher of watchers) watcher(); }
  function look() { window.dispatchEvent(new Event("eip6963:requestProvider")); }

  /* All wallets, in the order of their announcements. */
  function wallets() {
    if (found.size > 0) return [...found.values()];
    const old = window.ethereum;
    if (typeof old?.request !== "function") return [];
    return [{ id: "window.ethereum", name: "", icon: "", provider: old }];
  }

  /* What went wrong, by a name that a page has words for. */
  class WalletTrouble extends Error {
    constructor(kind, values = {}) {
      super(kind);
      this.kind = kind;
      this.values = values;
    }
  }
  const KINDS = new Map([
    [4001, "rejected"], [4100, "unauthorised"], [4200, "unsupported"], [-32601, "unsupported"],
    [4900, "disconnected"], [4901, "disconnected"], [4902, "unknown_chain"], [-32002, "pending"],
  ]);
  function codesOf(error) {
    return [error?.code, error?.data?.originalError?.code, error?.cause?.code, error?.data?.cause?.code];
  }
  function trouble(error) {
    if (error instanceof WalletTrouble) return error;
    for (const code of codesOf(error)) {
      if (KINDS.has(code)) return new WalletTrouble(KINDS.get(code));
    }
    if (error === "ACTION_REJECTED" || error?.code === "ACTION_REJECTED") return new WalletTrouble("rejected");
    const said = String(error?.message ?? error ?? "").slice(0, 200);
    if (/insufficient funds/i.test(said)) return new WalletTrouble("poor");
    return new WalletTrouble("failed", { said: said || "?" });
  }

  async function request(wallet, method, params = []) {
    try {
      return await wallet.provider.request({ method, params });
    } catch (error) {
      throw trouble(error);
    }
  }

  /* The account the person lets us see. Raises WalletTrouble. */
  async function connect(wallet) {
    const accounts = await request(wallet, "eth_requestAccounts");
    const account = Array.isArray(accounts) ? accounts[0] : null;
    if (typeof account !== "string" || !/^0x[0-9a-fA-F]{40}$/.test(account)) throw new WalletTrouble("no_account");
    return account;
  }

  async function chainOf(wallet) {
    const answer = await request(wallet, "eth_chainId");
    const id = typeof answer === "number" ? answer : Number.parseInt(String(answer), String(answer).startsWith("0x") ? 16 : 10);
    return Number.isSafeInteger(id) ? id : 0;
  }

  /* Bring the wallet to `chain` ({ id, name, native, rpc }), adding it where we can say how.
     Raises WalletTrouble; in the end the wallet itself has to say that it is there. */
  async function toChain(wallet, chain) {
    if (await chainOf(wallet) === chain.id) return;
    const chainId = "0x" + chain.id.toString(16);
    const values = { network: chain.name, chain: String(chain.id) };
    try {
      await request(wallet, "wallet_switchEthereumChain", [{ chainId }]);
    } catch (error) {
      if (error.kind === "unsupported") throw new WalletTrouble("wrong_chain", values);
      if (error.kind !== "unknown_chain") throw error;
      if (chain.rpc.length === 0) throw new WalletTrouble("unknown_chain", values);
      await request(wallet, "wallet_addEthereumChain", [{
        chainId,
        chainName: `Bifold ${chain.name}`,
        rpcUrls: chain.rpc,
        nativeCurrency: { name: chain.native, symbol: chain.native, decimals: 18 },
      }]);
      if (await chainOf(wallet) !== chain.id) await request(wallet, "wallet_switchEthereumChain", [{ chainId }]);
    }
    if (await chainOf(wallet) !== chain.id) throw new WalletTrouble("wrong_chain", values);
  }

  function hexOf(text) {
    return "0x" + [...new TextEncoder().encode(text)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  }
  /* The signature over `message` (personal_sign). */
  async function sign(wallet, account, message) {
    const signature = await request(wallet, "personal_sign", [hexOf(message), account]);
    if (typeof signature !== "string" || !/^0x[0-9a-fA-F]*$/.test(signature)) throw new WalletTrouble("failed", { said: "personal_sign" });
    return signature;
  }

  window.addEventListener("eip6963:announceProvider", announced);
  window.addEventListener("ethereum#initialized", tell);
  look();
  return {
    WalletTrouble, wallets, look, request, connect, chainOf, toChain, sign, trouble,
    watch(watcher) { watchers.add(watcher); },
  };
})();
