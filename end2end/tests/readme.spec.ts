// The lines that the README tells people to type, run as they stand there.
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "../support/fixtures";
import { environment } from "../support/server";
import * as where from "../support/where";

const blocks = [...readFileSync(join(where.root, "README.md"), "utf8").matchAll(/<!-- tested -->\s*```sh\n([\s\S]*?)```/g)].map((found) => found[1]!);

/** Types a block into a shell that knows the command, the address and the key, and nothing else. */
async function type(block: string, key?: string): Promise<string> {
  const env = environment({ url: where.url, dataDir: where.dataDir });
  const { stdout } = await promisify(execFile)("bash", ["-euo", "pipefail", "-c", block], {
    cwd: where.work,
    env: { ...env, PATH: `${dirname(where.binary)}:${env.PATH}`, BOUNCER_URL: where.url, ...(key ? { BOUNCER_KEY: key } : {}) },
  });
  return stdout;
}

test("the README's lines make a key, call with it, and verify it", async () => {
  expect(blocks, "blocks marked as tested").toHaveLength(3);
  const [create, call, verify] = blocks as [string, string, string];

  const made = JSON.parse(await type(create)) as { id: string; key: string };
  expect(made.id).toMatch(/^key_/);
  expect(made.key).toMatch(/^bnc_test_[0-9A-Za-z]{38}$/);

  const me = JSON.parse(await type(call, made.key));
  expect(me).toMatchObject({ name: "Order robot", environment: "test", scopes: expect.arrayContaining(["message:send", "key:verify"]) });

  const verdict = JSON.parse(await type(verify, made.key));
  expect(verdict).toMatchObject({ valid: true, keyId: made.id, name: "Order robot" });
});
