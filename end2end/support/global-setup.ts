// Starts the real binary before the first test, and stops it after the last; nothing may stay behind.
import { mkdir, rm } from "node:fs/promises";
import { postgresOf, Server } from "./server";
import * as where from "./where";

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
    if (!process.env.BOUNCER_E2E_KEEP) await rm(where.work, { recursive: true, force: true });
  };
}
