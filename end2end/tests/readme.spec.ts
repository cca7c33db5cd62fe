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
async function type(block: string, known: Record<string, string> = {}): Promise<string> {
  const env = environment({ url: where.url, dataDir: where.dataDir });
  const { stdout } = await promisify(execFile)("bash", ["-euo", "pipefail", "-c", block], {
    cwd: where.work,
    env: { ...env, PATH: `${dirname(where.binary)}:${env.PATH}`, BOUNCER_URL: where.url, ...known },
  });
  return stdout;
}

test("the README's lines make a key, call with it, send a message that is read, and verify the key", async () => {
  expect(blocks, "blocks marked as tested").toHaveLength(6);
  const [create, call, instance, send, look, verify] = blocks as [string, string, string, string, string, string];

  const made = JSON.parse(await type(create)) as { id: string; key: string };
  expect(made.id).toMatch(/^key_/);
  expect(made.key).toMatch(/^bnc_test_[0-9A-Za-z]{38}$/);

  const known: Record<string, string> = { BOUNCER_KEY: made.key };
  const me = JSON.parse(await type(call, known));
  expect(me).toMatchObject({ name: "Order robot", environment: "test", scopes: expect.arrayContaining(["message:send", "key:verify"]) });

  known.BOUNCER_INSTANCE = (JSON.parse(await type(instance, known)) as { id: string }).id;
  const accepted = JSON.parse(await type(send, known)) as { id: string; status: string; to: string };
  expect(accepted).toMatchObject({ status: "queued", to: "+60123450001", environment: "test" });
  // The answer got lost, and the call is made again.
  expect(JSON.parse(await type(send, known))).toEqual(accepted);
  known.BOUNCER_MESSAGE = accepted.id;
  const message = async () => JSON.parse(await type(look, known)) as { status: string; timeline: { status: string }[] };
  await expect.poll(async () => (await message()).status, { timeout: 20_000 }).toBe("read");
  expect((await message()).timeline.map((step) => step.status)).toEqual(["queued", "sending", "sent", "delivered", "read"]);

  const verdict = JSON.parse(await type(verify, known));
  expect(verdict).toMatchObject({ valid: true, keyId: made.id, name: "Order robot" });
});
