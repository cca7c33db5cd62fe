// Names the files of a split browser half anew, then compresses everything that is served.
//
//   node tools/fingerprint.mjs SITE HASH_FILE
//
// cargo-leptos names each file after its content, and only then writes the names of the others into it. A file whose
// content differs in nothing but those names keeps its own, and a browser that has the old one for a year asks for
// files that are no more. Here all of them get names that depend on the content of all.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const [site, hashFile] = process.argv.slice(2);
if (!site || !hashFile) throw new Error("usage: node tools/fingerprint.mjs SITE HASH_FILE");

// 16 bytes in base64url: as cargo-leptos writes them, so that lengths inside the WASM stay true.
const NAME = /\.([A-Za-z0-9_-]{22})\.(js|wasm|json)$/;
const short = (...parts) => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part).update("\0");
  return hash.digest().subarray(0, 16).toString("base64url");
};

const pkg = join(site, "pkg");
const files = readdirSync(pkg)
  .filter((name) => NAME.test(name))
  .sort()
  .map((name) => ({ name, old: NAME.exec(name)[1], content: readFileSync(join(pkg, name)) }));
if (!files.some(({ name }) => name.startsWith("__wasm_split."))) throw new Error(`${pkg} holds no split build`);

const build = short(...files.flatMap(({ name, content }) => [name, content]));
for (const file of files) file.fresh = short(build, file.name);

const replaceAll = (content) => {
  // Byte for byte: every name is ASCII, and the new one is as long as the old one.
  let text = content.toString("latin1");
  for (const { old, fresh } of files) text = text.replaceAll(old, fresh);
  return Buffer.from(text, "latin1");
};
for (const { name, old, fresh, content } of files) {
  writeFileSync(join(pkg, name), replaceAll(content));
  renameSync(join(pkg, name), join(pkg, name.replace(old, fresh)));
}
writeFileSync(hashFile, replaceAll(readFileSync(hashFile)));

const compress = (folder) => {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      compress(path);
    } else if (path.endsWith(".ts")) {
      // Nobody's types.
      rmSync(path);
    } else if (!/\.(br|gz)$/.test(path)) {
      const content = readFileSync(path);
      const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: content.length };
      writeFileSync(`${path}.br`, brotliCompressSync(content, { params }));
      writeFileSync(`${path}.gz`, gzipSync(content, { level: 9 }));
    }
  }
};
compress(site);

// What a page loads at first: the main file and its JavaScript, compressed.
const size = (name) => statSync(join(pkg, `${name}.br`)).size;
const names = readdirSync(pkg);
const first = names.filter((name) => /^(bouncer|__wasm_split)\..*\.(js|wasm)$/.test(name)).reduce((sum, name) => sum + size(name), 0);
const all = names.filter((name) => /\.(js|wasm)$/.test(name)).reduce((sum, name) => sum + size(name), 0);
const kB = (bytes) => `${(bytes / 1000).toFixed(0)} kB`;
console.log(`The console opens with ${kB(first)} of WASM and JavaScript (brotli); all of it is ${kB(all)}`);
const LIMIT = 350_000;
if (first > LIMIT) {
  console.error(`error: more than ${kB(LIMIT)}. Move what the first page does not need into a file of its own: app/src/later.rs says how`);
  process.exit(1);
}
