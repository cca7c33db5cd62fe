// The server is killed while a thousand keys are being made. Whatever was shown must work, and nothing may be half there.
import { chmodSync, mkdtempSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type APIRequestContext, expect, test } from "@playwright/test";
import { encode, keyForm, stranger } from "../support/console";
import { owner } from "../support/people";
import { bouncer, killPostgres, postgresOf, Server, sql } from "../support/server";
import * as where from "../support/where";

const KEYS = 1_000;
const AT_ONCE = 24;
const DEATHS = 5;

test("no key that was shown is lost, and none is half there", async () => {
  test.setTimeout(240_000);
  const dir = mkdtempSync(join(where.work, "crash-"));
  // Its Postgres runs as somebody else, who has to pass through.
  chmodSync(dir, 0o711);
  const options = { url: `http://127.0.0.1:${where.freePort()}`, dataDir: join(dir, "data"), log: join(dir, "server.log") };
  let server = await Server.start(options);
  const person = await stranger(options.url);
  try {
    const form = { organization: "Crash", name: owner.name, email: owner.email, password: owner.password, repeated: owner.password };
    const setup = await person.post("/_fn/setup/create", { form, headers: { accept: "application/json" } });
    expect(setup.status(), await setup.text()).toBeLessThan(400);

    const shown = new Map<string, string>();
    let refusals = 0;
    let dying = false;
    // Each form is sent until it is answered; the number that the form carries makes sure that it makes one key.
    const make = async (by: APIRequestContext, n: number) => {
      const data = encode({ form: keyForm(`Key ${n}`) });
      for (;;) {
        const answer = await by
          .post("/_fn/api_keys/create", { data, headers: { "content-type": "application/x-www-form-urlencoded", accept: "application/json" } })
          .catch(() => undefined);
        if (answer?.status() === 200) {
          const { id, key } = (await answer.json()) as { id: string; key: string };
          shown.set(id, key);
          return;
        }
        // It was made, and the answer was lost on the way: its owner will regenerate it.
        if (answer?.status() === 409) {
          refusals++;
          return;
        }
        if (answer && answer.status() < 500) throw new Error(`key ${n}: ${answer.status()} ${await answer.text()}`);
        await sleep(50);
      }
    };
    let next = 0;
    const work = Array.from({ length: AT_ONCE }, async () => {
      while (next < KEYS) await make(person, next++);
    });
    let killing: Promise<void> | undefined;
    const killer = (async () => {
      for (let death = 1; death <= DEATHS; death++) {
        // At moments nobody chose, spread over the whole run.
        const from = (KEYS * (death - 0.5)) / (DEATHS + 0.5);
        while (shown.size < from + Math.random() * 60 && next < KEYS) await sleep(5);
        dying = true;
        await server.kill();
        // The last time the database goes with it.
        if (death === DEATHS) await killPostgres(options.dataDir);
        server = await Server.start(options);
        dying = false;
      }
    })();
    killing = killer;
    await Promise.all([...work, killing]);
    expect(dying).toBe(false);

    // As after every start: nothing in memory.
    await server.kill();
    server = await Server.start(options);
    const program = await stranger(options.url);
    const broken: string[] = [];
    const keys = [...shown];
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        for (let one = keys.pop(); one; one = keys.pop()) {
          const [id, key] = one;
          const answer = await program.get("/api/v1/me", { headers: { authorization: `Bearer ${key}` } });
          if (answer.status() !== 200 || ((await answer.json()) as { id: string }).id !== id) broken.push(id);
        }
      }),
    );
    expect(broken, "keys that were shown and do not work").toEqual([]);
    expect(shown.size).toBeGreaterThan(KEYS / 2);

    const count = async (query: string) => Number((await sql(options.dataDir, query))[0]?.[0]);
    expect(await count("select count(*) from api_keys")).toBe(KEYS);
    expect(shown.size + refusals).toBe(KEYS);
    expect(await count("select count(*) from api_key_secrets"), "one secret each").toBe(KEYS);
    expect(await count("select count(*) from api_keys k where (select count(*) from api_key_secrets s where s.key_id = k.id and s.ends_at is null) <> 1"), "half keys").toBe(0);
    expect(await count("select count(*) from audit_log where action = 'api_key.created'"), "one line of the audit log each").toBe(KEYS);
    expect(await bouncer(["audit", "verify"], options)).toContain("all as they were written");
    await program.dispose();
    await server.stop();
    expect(postgresOf(options.dataDir), "a Postgres that was left running").toBeUndefined();
  } finally {
    await person.dispose();
    await server.stop();
  }
});
