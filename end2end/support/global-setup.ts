// Starts the real binary before the first test, and stops it after the last; nothing may stay behind, and no secret may
// have come into a log.
import { readdirSync, readFileSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { postgresOf, Server } from "./server";
import * as where from "./where";

/** Whole keys, API secrets and signing secrets. Hints are shorter. */
const secrets = /_(live|test)_[0-9A-Za-z]{38}|_secret_[0-9A-Za-z]{20,}|whsec_[0-9A-Za-z+/]{20,}/g;

/** Looks into what every server of the run has logged. */
function checkLogs(): void {
  const logs = readdirSync(where.work, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".log"));
  if (!readFileSync(where.serverLog, "utf8").includes("Bouncer listens on")) throw new Error(`${where.serverLog} is not the server's log`);
  const found = logs.flatMap((name) =>
    readFileSync(join(where.work, name), "utf8")
      .split("\n")
      .filter((line) => line.search(secrets) >= 0)
      // What complains about secrets in a log does not print them into another.
      .map((line) => `${name}: ${line.replaceAll(secrets, "[secret]")}`),
  );
  if (found.length > 0) throw new Error(`Secrets are in the logs:\n${found.join("\n")}`);
}

export default async function globalSetup(): Promise<() => Promise<void>> {
  // Others may pass through but not look around: started by root, Bouncer runs its Postgres as somebody else.
  await mkdir(where.work, { mode: 0o711 });
  if (where.external) return () => rm(where.work, { recursive: true, force: true });
  const started = Date.now();
  const server = await Server.start({ url: where.url, dataDir: where.dataDir, log: where.serverLog });
  console.log(`Bouncer is ready on ${where.url} after ${((Date.now() - started) / 1000).toFixed(1)} s (log: ${where.serverLog})`);

  return async () => {
    await server.stop();
    const left = postgresOf(where.dataDir);
    if (left !== undefined) {
      process.kill(left, "SIGQUIT");
      throw new Error(`Bouncer ended and left its Postgres (process ${left}) running`);
    }
    checkLogs();
    if (!process.env.BOUNCER_E2E_KEEP) await rm(where.work, { recursive: true, force: true });
  };
}
