// Compiles contracts/src into contracts/artifacts with solc-js standard JSON.
//   node contracts/compile.mjs            writes the artifacts
//   node contracts/compile.mjs --check    compares and exits 1 on a difference
// Fixed settings give fixed bytecode: evmVersion paris (the oldest node we run), optimizer on,
// no metadata hash (it would change with every comment).

import { readFileSync, readdirSync, writeFileSync, mkdirSync, existsSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const solc = require("solc");

const here = dirname(fileURLToPath(import.meta.url));
const root = dirname(here);
const sourceFolder = join(here, "src");
const artifactFolder = join(here, "artifacts");

function solidityFiles(folder) {
  return readdirSync(folder, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) return solidityFiles(path);
      return entry.name.endsWith(".sol") ? [path] : [];
    });
}

function readImport(path) {
  const file = join(root, "node_modules", path);
  if (!path.startsWith("@openzeppelin/") || !existsSync(file)) return { error: "not found" };
  return { contents: readFileSync(file, "utf8") };
}

const sources = {};
for (const file of solidityFiles(sourceFolder)) {
  const name = relative(root, file).split("\\").join("/");
  sources[name] = { content: readFileSync(file, "utf8") };
}

const input = {
  language: "Solidity",
  sources,
  settings: {
    evmVersion: "paris",
    optimizer: { enabled: true, runs: 200 },
    metadata: { bytecodeHash: "none", appendCBOR: false },
    outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } },
  },
};

const output = JSON.parse(solc.compile(JSON.stringify(input), { import: readImport }));
// A warning stops the build, but for those in code that is not ours and for one that is answered
// where it arises: EphemeralForwarder destroys itself in the transaction that made it (EIP-6780).
const SELFDESTRUCT_DEPRECATED = "5159";
const problems = (output.errors ?? []).filter(
  (problem) =>
    problem.severity !== "warning" ||
    !(
      problem.sourceLocation?.file.startsWith("@openzeppelin/") ||
      (problem.errorCode === SELFDESTRUCT_DEPRECATED &&
        ["contracts/src/ForwarderFactory.sol", "contracts/src/testing/InnerPayments.sol", "contracts/src/testing/HostileBalances.sol"].includes(
          problem.sourceLocation?.file,
        ))
    ),
);
for (const problem of problems) console.error(problem.formattedMessage);
if (problems.length > 0) process.exit(1);

const wanted = new Map();
for (const [name, contracts] of Object.entries(output.contracts)) {
  if (!name.startsWith("contracts/src/")) continue;
  for (const [contract, compiled] of Object.entries(contracts)) {
    if (compiled.evm.bytecode.object === "") continue; // abstract: nothing to deploy
    const artifact = {
      name: contract,
      source: name,
      compiler: solc.version(),
      evmVersion: input.settings.evmVersion,
      abi: compiled.abi,
      bytecode: "0x" + compiled.evm.bytecode.object,
    };
    const file = `${contract}.json`;
    if (wanted.has(file)) throw new Error(`two contracts are called ${contract}`);
    wanted.set(file, JSON.stringify(artifact, null, 2) + "\n");
  }
}

if (process.argv.includes("--check")) {
  const present = readdirSync(artifactFolder).filter((name) => name.endsWith(".json"));
  const differences = [
    ...present.filter((name) => !wanted.has(name)).map((name) => `${name}: has no source`),
    ...[...wanted].flatMap(([name, text]) => {
      const path = join(artifactFolder, name);
      if (!existsSync(path)) return [`${name}: missing`];
      return readFileSync(path, "utf8") === text ? [] : [`${name}: differs from its source`];
    }),
  ];
  for (const line of differences) console.error(line);
  process.exit(differences.length > 0 ? 1 : 0);
}

mkdirSync(artifactFolder, { recursive: true });
for (const [name, text] of wanted) writeFileSync(join(artifactFolder, name), text);
console.log(`${wanted.size} artifacts written`);
