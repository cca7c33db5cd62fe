// Where things are during a run. The main process decides; the workers inherit it through the environment.
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

export const root = resolve(import.meta.dirname, "..", "..");

/** A value that the first process makes and all others find. */
function once(name: string, make: () => string): string {
  return (process.env[name] ??= make());
}

/** Asks the system for a free port. In a process of its own, because a configuration file cannot wait. */
export function freePort(): string {
  const ask = `const s = require("net").createServer().listen(0, "127.0.0.1", () => { process.stdout.write(String(s.address().port)); s.close(); });`;
  return execFileSync(process.execPath, ["-e", ask], { encoding: "utf8" }).trim();
}

/** A server that somebody else started (BOUNCER_URL given from outside) is neither started nor stopped. */
export const external = once("BOUNCER_E2E_EXTERNAL", () => (process.env.BOUNCER_URL ? "yes" : "no")) === "yes";
export const url = once("BOUNCER_URL", () => `http://127.0.0.1:${freePort()}`);
/** Made by the global setup, and removed after the last test. */
export const work = once("BOUNCER_E2E_WORK", () => join(tmpdir(), `bouncer-end2end-${randomBytes(6).toString("hex")}`));

const target = resolve(root, process.env.CARGO_TARGET_DIR ?? "target");
export const binary = process.env.BOUNCER_BINARY ?? join(target, "debug", "bouncer");
export const site = process.env.BOUNCER_SITE ?? join(root, "target", "site-debug");

export const dataDir = join(work, "data");
export const serverLog = join(work, "server.log");
/** Signed in as the owner; written by setup.spec.ts, read by every other test. */
export const ownerState = join(work, "owner.json");
export const screenshots = join(root, "end2end", "screenshots");

export function chromium(): string | undefined {
  return ["/usr/bin/chromium", "/usr/bin/google-chrome-stable", "/usr/bin/google-chrome"].find((path) => existsSync(path));
}
