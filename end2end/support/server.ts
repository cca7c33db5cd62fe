// The real binary, with a data directory (and so a Postgres) of its own.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { existsSync, openSync, readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import * as where from "./where";

export interface Options {
  /** The public address; its port is the one that is listened on. */
  url: string;
  dataDir: string;
  log: string;
  env?: Record<string, string>;
}

/** What the binary is told through its environment, for serving as for its other commands. */
export function environment({ url, dataDir, env }: Pick<Options, "url" | "dataDir" | "env">): NodeJS.ProcessEnv {
  return {
    ...process.env,
    BOUNCER_ADDR: new URL(url).host,
    BOUNCER_PUBLIC_URL: url,
    BOUNCER_DATA_DIR: dataDir,
    // Several servers run here at once, and their figures interest nobody.
    BOUNCER_METRICS_ADDR: "off",
    // Real hashes take a good part of a second in a debug build, on purpose.
    BOUNCER_CHEAP_PASSWORDS: "true",
    // Receivers and providers of the tests run beside them.
    BOUNCER_ALLOW_PRIVATE_WEBHOOKS: "127.0.0.0/8",
    BOUNCER_ALLOW_PRIVATE_PROVIDERS: "127.0.0.0/8",
    LEPTOS_OUTPUT_NAME: "bouncer",
    LEPTOS_SITE_ROOT: where.site,
    LEPTOS_SITE_PKG_DIR: "pkg",
    LEPTOS_HASH_FILES: "true",
    LEPTOS_ENV: "PROD",
    RUST_BACKTRACE: "1",
    ...env,
  };
}

export class Server {
  private constructor(
    readonly options: Options,
    readonly child: ChildProcess,
  ) {}

  /** Starts it and waits until it is ready for work. */
  static async start(options: Options, patience = 90_000): Promise<Server> {
    if (!existsSync(where.binary)) {
      throw new Error(`${where.binary} is not there. Build it with: LEPTOS_SITE_ROOT=target/site-debug cargo leptos build --split`);
    }
    const log = openSync(options.log, "a");
    const child = spawn(where.binary, ["serve"], { cwd: where.work, env: environment(options), stdio: ["ignore", log, log] });
    const server = new Server(options, child);
    const deadline = Date.now() + patience;
    while (!(await server.ready())) {
      if (child.exitCode !== null || child.signalCode !== null) throw new Error(`Bouncer ended before it was ready:\n${server.tail()}`);
      if (Date.now() > deadline) {
        await server.stop();
        throw new Error(`Bouncer was not ready after ${patience / 1000} s:\n${server.tail()}`);
      }
      await sleep(100);
    }
    return server;
  }

  async ready(): Promise<boolean> {
    try {
      return (await fetch(`${this.options.url}/readyz`, { signal: AbortSignal.timeout(2_000) })).ok;
    } catch {
      return false;
    }
  }

  /** Asks it to end, as an operator would, and insists that it does so by itself, with status 0. */
  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = new Promise<void>((done) => this.child.once("exit", () => done()));
    this.child.kill("SIGTERM");
    const inTime = await Promise.race([ended.then(() => true), sleep(30_000).then(() => false)]);
    if (!inTime) {
      this.child.kill("SIGKILL");
      await ended;
      throw new Error(`Bouncer did not end within 30 s of SIGTERM:\n${this.tail()}`);
    }
    if (this.child.exitCode !== 0) {
      throw new Error(`Bouncer ended with ${this.child.exitCode ?? this.child.signalCode} after SIGTERM:\n${this.tail()}`);
    }
  }

  /** No warning, no farewell: what a power cut does to it. */
  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = new Promise<void>((done) => this.child.once("exit", () => done()));
    this.child.kill("SIGKILL");
    await ended;
  }

  tail(lines = 40): string {
    return readFileSync(this.options.log, "utf8").trimEnd().split("\n").slice(-lines).join("\n");
  }
}

const run = promisify(execFile);

/** Runs `bouncer …` beside the server, and answers with what it printed. */
export async function bouncer(args: string[], options?: Partial<Pick<Options, "url" | "dataDir" | "env">>, input?: string): Promise<string> {
  const env = environment({ url: where.url, dataDir: where.dataDir, ...options });
  const pending = run(where.binary, args, { cwd: where.work, env, maxBuffer: 64 * 1024 * 1024 });
  pending.child.stdin?.end(input);
  return (await pending).stdout;
}

/** The process that keeps a private Postgres, if one still runs in this data directory. */
export function postgresOf(dataDir: string): number | undefined {
  for (const folder of ["postgres", "pg", "pgdata", "data", "."]) {
    const file = `${dataDir}/${folder}/postmaster.pid`;
    if (!existsSync(file)) continue;
    const pid = Number(readFileSync(file, "utf8").split("\n")[0]);
    try {
      process.kill(pid, 0);
      return pid;
    } catch {
      return undefined;
    }
  }
  return undefined;
}

/** Asks a private Postgres directly, as its owner, for what no page shows. Answers with the rows, columns split by tabs. */
export async function sql(dataDir: string, query: string): Promise<string[][]> {
  const newest = existsSync("/usr/lib/postgresql") ? readdirSync("/usr/lib/postgresql").sort((a, b) => Number(b) - Number(a))[0] : undefined;
  const psql = newest ? `/usr/lib/postgresql/${newest}/bin/psql` : "psql";
  const socket = readFileSync(`${dataDir}/postgres/postmaster.pid`, "utf8").split("\n")[4]!.trim();
  const args = ["--host", socket, "--username", "bouncer", "--dbname", "bouncer", "--no-psqlrc", "--tuples-only", "--no-align", "--field-separator", "\t", "--set", "ON_ERROR_STOP=1", "--quiet"];
  const pending = run(psql, args, { maxBuffer: 64 * 1024 * 1024 });
  pending.child.stdin?.end(query);
  return (await pending).stdout.split("\n").filter((row) => row !== "").map((row) => row.split("\t"));
}

/** Takes a private Postgres away as a crash would; the next one that needs it starts it again. */
export async function killPostgres(dataDir: string): Promise<void> {
  const pid = postgresOf(dataDir);
  if (pid === undefined) throw new Error(`no Postgres runs in ${dataDir}`);
  // Postgres calls this an immediate shutdown: no checkpoint, no farewell to its clients.
  process.kill(pid, "SIGQUIT");
  while (postgresOf(dataDir) !== undefined) await sleep(20);
}
