// Many readers at once, some of whom leave before their page is finished: nobody gets what is another's, and the
// server ends cleanly afterwards.
import { chmodSync, mkdtempSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "@playwright/test";
import { keysPath } from "../support/console";
import { owner } from "../support/people";
import { Server } from "../support/server";
import * as where from "../support/where";

test("pages, files and readers who leave do not disturb each other", async ({ request }) => {
  test.setTimeout(180_000);
  const dir = mkdtempSync(join(where.work, "load-"));
  // Its Postgres runs as somebody else, who has to pass through.
  chmodSync(dir, 0o711);
  const url = `http://127.0.0.1:${where.freePort()}`;
  const server = await Server.start({ url, dataDir: join(dir, "data"), log: join(dir, "server.log") });
  let over = false;
  const background: Promise<void>[] = [];
  try {
    const form = { organization: "Load", name: owner.name, email: owner.email, password: owner.password, repeated: owner.password };
    const made = await request.post(`${url}/_fn/setup/create`, { form, headers: { accept: "application/json" } });
    expect(made.status()).toBeLessThan(400);
    const cookie = made.headers()["set-cookie"]!.split(";")[0]!;
    const html = { cookie, accept: "text/html" };
    const scripts = (answer: Response) => (answer.headers.get("content-security-policy") ?? "").includes("script-src");

    const files = { seen: 0, withPolicyOfAPage: 0 };
    const lists = { seen: 0, wrong: 0 };
    let aborted = 0;
    const meanwhile = (what: () => Promise<void>) => {
      for (let i = 0; i < 2; i++) {
        background.push((async () => {
          while (!over) await what();
        })());
      }
    };
    meanwhile(async () => {
      const answer = await fetch(`${url}/favicon.svg`, { headers: { cookie } });
      await answer.arrayBuffer();
      files.seen++;
      if (scripts(answer)) files.withPolicyOfAPage++;
    });
    meanwhile(async () => {
      const answer = await fetch(`${url}/_fn/api_keys/list`, {
        method: "POST",
        headers: { cookie, accept: "application/json", "content-type": "application/json" },
        body: JSON.stringify({ filter: {} }),
      });
      await answer.text();
      lists.seen++;
      if (scripts(answer) || answer.status >= 500) lists.wrong++;
    });
    meanwhile(async () => {
      const leave = new AbortController();
      const timer = setTimeout(() => leave.abort(), Math.random() * 30);
      try {
        await (await fetch(url + keysPath, { headers: html, signal: leave.signal })).text();
      } catch {
        aborted++;
      }
      clearTimeout(timer);
    });

    const paths = [`${keysPath}?panel=new`, "/dashboard/settings/members"];
    let begun = 0;
    const wrong: string[] = [];
    await Promise.all(
      [1, 2, 3].map(async () => {
        while (begun < 200) {
          const path = paths[begun++ % paths.length]!;
          const answer = await fetch(url + path, { headers: html, redirect: "manual" });
          const text = await answer.text();
          const nonce = /script-src [^;]*'nonce-([^']+)'/.exec(answer.headers.get("content-security-policy") ?? "")?.[1];
          if (answer.status !== 200 || nonce === undefined || !text.includes(`nonce="${nonce}"`) || !text.includes("</html>")) {
            wrong.push(`${path}: ${answer.status}, nonce ${nonce}`);
          }
        }
      }),
    );
    over = true;
    await Promise.all(background);
    expect(wrong).toEqual([]);
    expect(files.withPolicyOfAPage, `of ${files.seen} files`).toBe(0);
    expect(lists.wrong, `of ${lists.seen} lists`).toBe(0);
    expect(files.seen).toBeGreaterThan(50);
    expect(aborted).toBeGreaterThan(20);
    expect(server.tail(200)).not.toMatch(/panicked|ERROR/);
  } finally {
    over = true;
    await Promise.allSettled(background);
    // Insists on an end by itself, with status 0.
    await server.stop();
  }
});
