// Postgres goes away for a while: known keys go on working, the console says what is wrong, and all comes back by itself.
import { chmodSync, existsSync, mkdtempSync, renameSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "@playwright/test";
import { keysPath, stranger } from "../support/console";
import { owner } from "../support/people";
import { killPostgres, postgresOf, Server, sql } from "../support/server";
import * as where from "../support/where";

test("an outage of the database", async ({ browser }) => {
  test.setTimeout(120_000);
  const dir = mkdtempSync(join(where.work, "outage-"));
  // Its Postgres runs as somebody else, who has to pass through.
  chmodSync(dir, 0o711);
  const options = { url: `http://127.0.0.1:${where.freePort()}`, dataDir: join(dir, "data"), log: join(dir, "server.log") };
  const server = await Server.start(options);
  const control = join(options.dataDir, "postgres/global/pg_control");
  const context = await browser.newContext({ baseURL: options.url, storageState: { cookies: [], origins: [] } });
  const program = await stranger(options.url);
  const me = (key: string, agent = "outage/1") => program.get(`${options.url}/api/v1/me`, { headers: { authorization: `Bearer ${key}`, "user-agent": agent } });
  try {
    const page = await context.newPage();
    const form = { organization: "Outage", name: owner.name, email: owner.email, password: owner.password, repeated: owner.password };
    const json = { accept: "application/json" };
    expect((await context.request.post("/_fn/setup/create", { form, headers: json })).status()).toBeLessThan(400);
    const make = async (name: string) => {
      const answer = await context.request.post("/_fn/api_keys/create", { form: { "form[name]": name, "form[scope_group]": "full_access" }, headers: json });
      expect(answer.status(), await answer.text()).toBe(200);
      return (await answer.json()) as { id: string; key: string };
    };
    const known = await make("Known");
    const unknown = await make("Never called before");
    expect((await me(known.key)).status()).toBe(200);
    await page.goto(keysPath);
    await expect(page.locator(".keys-table tbody tr")).toHaveCount(2);
    expect((await program.get("/readyz")).status()).toBe(200);

    // The server would start its Postgres again at once: without this file it cannot.
    renameSync(control, `${control}.away`);
    await killPostgres(options.dataDir);
    for (let i = 0; i < 20; i++) expect((await me(known.key, "during-the-outage/1")).status(), "a key from the cache").toBe(200);
    const refused = await me(unknown.key);
    expect(refused.status()).toBe(503);
    expect(refused.headers()["content-type"]).toContain("application/problem+json");
    expect(Number(refused.headers()["retry-after"])).toBeGreaterThan(0);
    expect(await refused.json()).toMatchObject({ status: 503, code: "unavailable", requestId: expect.stringMatching(/^req_/) });
    // What is no key at all needs no database.
    expect((await me("bnc_live_nonsense")).status()).toBe(401);
    expect((await program.get("/readyz")).status()).toBe(503);
    expect((await program.get("/healthz")).status()).toBe(200);

    // The console says so, in words, and offers to try again; nobody is signed out.
    const answer = await page.goto(keysPath);
    expect(answer?.status()).toBe(503);
    await expect(page.getByText("Database not reachable").or(page.getByText(/database cannot be reached/i)).first()).toBeVisible();
    await expect(page.getByRole("link", { name: "Try again" }).or(page.getByRole("button", { name: "Try again" })).first()).toBeVisible();
    const changed = await context.request.post("/_fn/api_keys/change", { form: { "ids[]": known.id, what: "revoke" }, headers: json });
    expect(changed.status()).toBe(503);
    expect(await changed.text()).toContain("Unavailable");

    // The database can come back; the server sees to it by itself.
    renameSync(`${control}.away`, control);
    await expect.poll(async () => (await program.get("/readyz")).status(), { timeout: 20_000 }).toBe(200);
    await expect.poll(async () => (await me(unknown.key)).status(), { timeout: 20_000 }).toBe(200);
    await expect.poll(async () => (await page.goto(keysPath))?.status(), { timeout: 20_000 }).toBe(200);
    await expect(page.locator(".keys-table tbody tr")).toHaveCount(2);
    // Nothing of the outage was lost.
    const rows = async () => Number((await sql(options.dataDir, "select count(*) from request_log where user_agent = 'during-the-outage/1' and outcome = 'allowed'"))[0]?.[0]);
    await expect.poll(rows, { timeout: 20_000 }).toBe(20);
    // And changes are heard again.
    const disabled = await context.request.post("/_fn/api_keys/change", { form: { "ids[]": known.id, what: "disable" }, headers: json });
    expect(disabled.status()).toBe(200);
    await expect.poll(async () => (await me(known.key)).status(), { timeout: 1_000, intervals: [25] }).toBe(401);
  } finally {
    if (existsSync(`${control}.away`)) renameSync(`${control}.away`, control);
    await program.dispose();
    await context.close();
    await server.stop();
  }
  expect(postgresOf(options.dataDir), "a Postgres that was left running").toBeUndefined();
});
