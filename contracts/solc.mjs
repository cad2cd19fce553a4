#!/usr/bin/env node
// The committed compiler (solc-js) under the few options of the native `solc` that analysers such
// as slither use:  contracts/solc.mjs --version
//                  contracts/solc.mjs FILE.sol --combined-json … (whatever else is passed is ours)
// Settings are those of compile.mjs, so that what is analysed is what is deployed.

import { existsSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);
const solc = require("solc");
const root = dirname(dirname(fileURLToPath(import.meta.url)));

const options = process.argv.slice(2);
if (options.includes("--version")) {
  console.log(`solc, the solidity compiler commandline interface\nVersion: ${solc.version()}`);
  process.exit(0);
}
const file = options.find((option) => option.endsWith(".sol"));
if (file === undefined || !options.includes("--combined-json")) {
  console.error("usage: contracts/solc.mjs FILE.sol --combined-json WHAT");
  process.exit(2);
}
const name = relative(root, resolve(file)).split("\\").join("/");

function readImport(path) {
  const found = path.startsWith("@openzeppelin/") ? join(root, "node_modules", path) : join(root, path);
  if (!existsSync(found)) return { error: "not found" };
  return { contents: readFileSync(found, "utf8") };
}

const wanted = ["abi", "userdoc", "devdoc", "evm.bytecode.object", "evm.bytecode.sourceMap",
  "evm.deployedBytecode.object", "evm.deployedBytecode.sourceMap", "evm.methodIdentifiers"];
const output = JSON.parse(
  solc.compile(
    JSON.stringify({
      language: "Solidity",
      sources: { [name]: { content: readFileSync(file, "utf8") } },
      settings: {
        evmVersion: "paris",
        optimizer: { enabled: true, runs: 200 },
        outputSelection: { "*": { "*": wanted, "": ["ast"] } },
      },
    }),
    { import: readImport },
  ),
);
const errors = (output.errors ?? []).filter((problem) => problem.severity === "error");
for (const problem of errors) console.error(problem.formattedMessage);
if (errors.length > 0) process.exit(1);

const contracts = {};
for (const [source, inside] of Object.entries(output.contracts)) {
  for (const [contract, made] of Object.entries(inside)) {
    contracts[`${source}:${contract}`] = {
      abi: made.abi,
      bin: made.evm.bytecode.object,
      "bin-runtime": made.evm.deployedBytecode.object,
      srcmap: made.evm.bytecode.sourceMap,
      "srcmap-runtime": made.evm.deployedBytecode.sourceMap,
      hashes: made.evm.methodIdentifiers,
      userdoc: made.userdoc,
      devdoc: made.devdoc,
    };
  }
}
const sources = {};
const order = Object.entries(output.sources).sort(([, a], [, b]) => a.id - b.id);
for (const [source, made] of order) sources[source] = { AST: made.ast };
process.stdout.write(
  JSON.stringify({ contracts, sourceList: order.map(([source]) => source), sources, version: solc.version() }),
);
