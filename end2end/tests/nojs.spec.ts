// With JavaScript off: everything is a link or a form.
import type { Locator, Page } from "@playwright/test";
import { card, choose, integrationsPath, keysPath, listOf, rowOf, signInByHand, statusOf, step, stranger, wholeKey } from "../support/console";
import { expect, test, unique } from "../support/fixtures";
import { owner } from "../support/people";

/** Signs in by the page; each test has a session of its own. */
async function enter(page: Page, path = keysPath): Promise<void> {
  await page.goto(path);
  await expect(page).toHaveURL(/\/sign-in\?next=/);
  await signInByHand(page);
  await expect(page).not.toHaveURL(/\/sign-in/);
}

/** Makes a key by the dialog, and reads it off the card. */
async function create(page: Page, name: string): Promise<string> {
  await page.goto(`${keysPath}?panel=new`);
  const dialog = page.locator("#create-key-dialog");
  await dialog.getByLabel("Key Name").fill(name);
  await step(dialog, "Permissions");
  await dialog.getByRole("button", { name: "Create API Key" }).click();
  return readKey(page);
}

async function readKey(page: Page): Promise<string> {
  await expect(page).toHaveURL(/panel=created&key=key_/);
  const key = (await page.locator("#revealed-key").innerText()).trim();
  expect(key).toMatch(wholeKey);
  return key;
}

const main = (page: Page): Locator => page.locator("#main");

test("signing in, and out", async ({ page }) => {
  await page.goto("/");
  await expect(page).toHaveURL(/\/sign-in/);
  await page.getByLabel("E-mail address").fill(owner.email);
  await page.getByLabel("Password", { exact: true }).fill("not the password at all");
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page.getByText("The e-mail address or the password is not right.")).toBeVisible();
  await expect(page.getByLabel("E-mail address")).toHaveValue(owner.email);
  await expect(page.getByLabel("Password", { exact: true })).toHaveValue("");
  await page.getByLabel("Password", { exact: true }).fill(owner.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page).toHaveURL(new RegExp(`${keysPath}$`));
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Developer");

  await page.getByRole("button", { name: "Sign out" }).click();
  await expect(page).toHaveURL(/\/sign-in/);
  await page.goto("/dashboard/settings/audit");
  await expect(page).toHaveURL(/\/sign-in\?next=/);
});

test("creating a key: a mistake loses nothing, and the key is shown once", async ({ page }) => {
  const program = await stranger();
  const name = unique("Plain");
  await enter(page);
  await page.getByRole("link", { name: "Create API Key" }).click();
  const dialog = page.locator("#create-key-dialog");
  await expect(dialog).toBeVisible();
  // Two mistakes on two steps.
  await dialog.getByLabel("Description").fill("Für die Filiale in Graz & <Wien>");
  await card(dialog, "Test Key");
  await step(dialog, "Anti-Ban");
  await card(dialog, "Random Delay");
  await dialog.getByLabel("Min Delay").fill("9");
  await dialog.getByLabel("Max Delay").fill("4");
  await step(dialog, "Permissions");
  await dialog.getByLabel("Scope group").selectOption("read_only");
  await dialog.getByRole("button", { name: "Create API Key" }).click();

  await expect(page).toHaveURL(/panel=new/);
  await expect(dialog.locator("#key-name-note")).toContainText("Give the key a name");
  await expect(dialog.getByLabel("Description")).toHaveValue("Für die Filiale in Graz & <Wien>");
  await expect(dialog.getByRole("radio", { name: /^Test Key/ })).toBeChecked();
  await dialog.getByLabel("Key Name").fill(name);
  await step(dialog, "Anti-Ban");
  await expect(dialog.locator("#key-max-delay-note")).toContainText("cannot be shorter");
  await expect(dialog.getByLabel("Min Delay")).toHaveValue("9");
  await dialog.getByLabel("Max Delay").fill("12");
  await step(dialog, "Permissions");
  await expect(dialog.getByLabel("Scope group")).toHaveValue("read_only");
  const pending = page.waitForResponse((answer) => answer.url().includes("panel=created"));
  await dialog.getByRole("button", { name: "Create API Key" }).click();
  const answer = await pending;
  const key = await readKey(page);
  expect(answer.headers()["cache-control"]).toContain("no-store");
  expect(key).toMatch(/^bnc_test_/);
  await expect(page.locator("#reveal-dialog")).toContainText("This is the only time you’ll see the full API key.");
  expect(await statusOf(program, key)).toBe(200);

  // Shown once.
  await page.reload();
  await expect(page.locator("#gone-dialog")).toContainText("was shown once and is stored nowhere");
  expect(await page.content()).not.toContain(key.slice(13, -4));

  await page.goto(listOf(name));
  const row = rowOf(page, name);
  await expect(row.locator(".c-name")).toContainText("Für die Filiale in Graz & <Wien>");
  await expect(row.locator(".c-name")).toContainText("Read Only");
  await expect(row.locator(".c-limits .limit", { hasText: "Random delay" })).toHaveAttribute("title", /^9 s to 12 s apart/);
  await program.dispose();
});

test("disabling, enabling, editing, regenerating and revoking", async ({ page }) => {
  const program = await stranger();
  const name = unique("Plain life");
  await enter(page, `${keysPath}?panel=new`);
  const first = await create(page, name);
  expect(await statusOf(program, first)).toBe(200);

  await page.goto(listOf(name));
  await choose(page, name, "Disable");
  await expect(main(page)).toContainText("Key disabled");
  await expect(page).toHaveURL(/q=/);
  await expect(rowOf(page, name).locator(".c-status")).toContainText("Disabled");
  await expect.poll(() => statusOf(program, first)).toBe(401);
  // Said once.
  await page.reload();
  await expect(main(page)).not.toContainText("Key disabled");

  await choose(page, name, "Enable");
  await expect(main(page)).toContainText("Key enabled");
  await expect.poll(() => statusOf(program, first)).toBe(200);

  await choose(page, name, "Edit");
  const edit = page.locator("#edit-key-dialog");
  await edit.getByLabel("Description").fill("edited without script");
  await step(edit, "Permissions");
  await edit.getByText("Advanced settings").click();
  await edit.getByLabel("Rate Limit per hour").fill("many");
  await edit.getByRole("button", { name: "Save changes" }).click();
  await expect(edit.locator("#key-rate-limit-note")).toContainText("A whole number of calls");
  await expect(edit.getByLabel("Rate Limit per hour")).toHaveValue("many");
  await edit.getByLabel("Rate Limit per hour").fill("55");
  await edit.getByRole("button", { name: "Save changes" }).click();
  await expect(main(page)).toContainText("Key saved");
  await expect(rowOf(page, name).locator(".c-limits")).toContainText("55/h");
  await expect(rowOf(page, name).locator(".c-name")).toContainText("edited without script");

  await choose(page, name, "Regenerate");
  await page.locator("#regenerate-dialog").getByRole("button", { name: "Regenerate key" }).click();
  const second = await readKey(page);
  expect(second).not.toBe(first);
  await expect.poll(() => statusOf(program, first)).toBe(401);
  expect(await statusOf(program, second)).toBe(200);
  await page.getByRole("link", { name: "I’ve Saved My Key" }).click();
  await expect(page).not.toHaveURL(/panel=/);

  await choose(page, name, "Revoke");
  const question = page.locator("#revoke-dialog");
  await expect(question).toContainText(`Revoke ${name}?`);
  await question.getByRole("button", { name: "Revoke key" }).click();
  await expect(main(page)).toContainText("Key revoked");
  await expect(rowOf(page, name)).toHaveCount(0);
  await expect.poll(() => statusOf(program, second)).toBe(401);
  await page.goto(listOf(name, "&status=revoked"));
  await expect(rowOf(page, name)).toHaveCount(1);
  await program.dispose();
});

test("several keys at once, search and pages", async ({ page }) => {
  const name = unique("Plain bulk");
  await enter(page);
  for (const one of ["one", "two"]) await create(page, `${name} ${one}`);
  await page.goto(keysPath);
  await page.getByRole("searchbox").fill(name);
  await page.getByRole("searchbox").press("Enter");
  const rows = page.locator(".keys-table tbody tr");
  await expect(rows).toHaveCount(2);
  await page.getByRole("checkbox", { name: `Select ${name} one`, exact: true }).check();
  await page.getByRole("checkbox", { name: `Select ${name} two`, exact: true }).check();
  const bar = page.getByRole("region", { name: "Selected keys" });
  await bar.getByRole("button", { name: "Disable" }).click();
  await expect(main(page)).toContainText("2 keys disabled");
  await expect(page.locator(".c-status", { hasText: "Disabled" })).toHaveCount(2);

  await page.getByRole("checkbox", { name: `Select ${name} one`, exact: true }).check();
  await page.getByRole("checkbox", { name: `Select ${name} two`, exact: true }).check();
  await bar.getByRole("button", { name: "Revoke…" }).click();
  await expect(page.locator("#revoke-dialog")).toContainText("Revoke 2 keys?");
  await page.locator("#revoke-dialog").getByRole("button", { name: "Revoke 2 keys" }).click();
  await expect(main(page)).toContainText("2 keys revoked");
  await expect(rows).toHaveCount(0);
});

test("a key pasted into the search is taken out of the address", async ({ page }) => {
  const name = unique("Plain paste");
  await enter(page);
  const key = await create(page, name);
  await page.goto(keysPath);
  await page.getByRole("searchbox").fill(key);
  await page.getByRole("searchbox").press("Enter");
  await expect(page.getByText(`The pasted key is ${name}.`)).toBeVisible();
  await expect(page.getByRole("searchbox")).toHaveValue("");
  // The page has no link that carries it on.
  expect(await page.content()).not.toContain(key.slice(13, -4));
});

test("settings are forms too", async ({ page }) => {
  await enter(page, "/dashboard/settings/profile");
  await page.getByLabel("Name", { exact: true }).fill("");
  await page.getByRole("button", { name: "Save name" }).click();
  await expect(page.getByText("Give a name.")).toBeVisible();
  await page.getByLabel("Name", { exact: true }).fill(owner.name);
  await page.getByRole("button", { name: "Save name" }).click();
  await expect(main(page)).toContainText("Name saved");
  await page.getByLabel("Current password").fill(owner.password);
  await page.getByLabel("New password", { exact: true }).fill("short");
  await page.getByLabel("New password again").fill("short");
  await page.getByRole("button", { name: "Change password" }).click();
  await expect(page.locator("#password-note .error")).toContainText("Use at least 12 characters.");
  await expect(page.getByLabel("New password", { exact: true })).toHaveValue("");

  const email = `${unique("plain").replace(" ", ".")}@acme.example`;
  await page.goto("/dashboard/settings/members");
  await page.getByRole("link", { name: "Invite member" }).click();
  await page.locator("#invite").getByLabel("E-mail address").fill("nobody");
  await page.locator("#invite").getByRole("button", { name: "Make invitation" }).click();
  await expect(page.locator("#invite")).toContainText("Give an e-mail address");
  await expect(page.locator("#invite").getByLabel("E-mail address")).toHaveValue("nobody");
  await page.locator("#invite").getByLabel("E-mail address").fill(email);
  await page.locator("#invite").getByRole("button", { name: "Make invitation" }).click();
  await expect(page.locator("#invitation-url")).toContainText("/invite/");
  await page.reload();
  await expect(page.locator("#invitation-url")).toHaveCount(0);
  await page.goto("/dashboard/settings/members");
  await expect(page.getByRole("region", { name: "Invitations" })).toContainText(email);
});

test("instances: a mistake loses nothing but the secret, the queue is held up, and the end", async ({ page }) => {
  const name = unique("Plain number");
  await enter(page, integrationsPath);
  await page.getByRole("link", { name: /^Add (the first )?instance$/ }).click();
  const dialog = page.locator("#instance-dialog");
  await dialog.getByLabel("Name", { exact: true }).fill(name);
  await card(dialog, "WAHA");
  await dialog.locator("#instance-waha-url").fill("nowhere");
  await dialog.getByLabel("API key").fill("not-to-be-kept");
  await dialog.getByRole("button", { name: "Add instance" }).click();
  await expect(page).toHaveURL(/panel=new-instance/);
  await expect(dialog.getByLabel("Name", { exact: true })).toHaveValue(name);
  await expect(dialog.locator("#instance-waha-url-note")).toContainText("http");
  await expect(dialog.getByLabel("API key")).toHaveValue("");
  expect(await page.content()).not.toContain("not-to-be-kept");
  await card(dialog, "Sandbox");
  await dialog.getByRole("button", { name: "Add instance" }).click();

  await expect(page).toHaveURL(/panel=instance&id=ins_/);
  const sheet = page.locator("#instance-sheet");
  await expect(sheet).toContainText("Nothing waits.");
  await sheet.getByRole("button", { name: "Pause queue" }).click();
  await expect(sheet).toContainText(/Paused by \S+@/);
  await sheet.getByRole("button", { name: "Resume queue" }).click();
  await expect(sheet).not.toContainText(/Paused by \S+@/);
  const id = new URL(page.url()).searchParams.get("id")!;
  await page.goto(`${integrationsPath}?panel=delete-instance&id=${id}`);
  await page.getByRole("button", { name: "Delete instance" }).click();
  await expect(main(page)).toContainText("Instance deleted");
  await expect(main(page)).not.toContainText(name);
});

test("webhook endpoints: the secret is shown once, a test event shows what became of it", async ({ page }) => {
  await enter(page, `${integrationsPath}?panel=new-endpoint`);
  const url = `http://127.0.0.1:9/${unique("plain").replace(" ", "-")}`;
  const dialog = page.locator("#endpoint-dialog");
  await dialog.getByLabel("URL").fill(url);
  await dialog.getByText("Advanced settings").click();
  await dialog.getByLabel("Requests at once").fill("0");
  await dialog.getByRole("button", { name: "Add endpoint" }).click();
  await expect(dialog.getByLabel("URL")).toHaveValue(url);
  await expect(dialog.locator("#endpoint-concurrency-note")).toContainText("from 1 to 100");
  await dialog.getByLabel("Requests at once").fill("5");
  const pending = page.waitForResponse((answer) => answer.url().includes("panel=endpoint-created"));
  await dialog.getByRole("button", { name: "Add endpoint" }).click();
  expect((await pending).headers()["cache-control"]).toContain("no-store");
  const secret = (await page.locator("#revealed-secret").innerText()).trim();
  expect(secret).toMatch(/^whsec_/);
  await page.reload();
  await expect(page.locator("#gone-dialog")).toContainText("was shown once");
  expect(await page.content()).not.toContain(secret);

  const id = new URL(page.url()).searchParams.get("id")!;
  await page.goto(`${integrationsPath}?panel=endpoint&id=${id}`);
  await page.getByRole("button", { name: "Send test event" }).click();
  await expect(page).toHaveURL(/panel=delivery&id=dlv_/);
  // Nobody listens on port 9.
  await expect.poll(async () => {
    await page.reload();
    return page.locator("#delivery-sheet").innerText();
  }, { timeout: 20_000, intervals: [500] }).toContain("refused the connection");
  await page.goto(`${integrationsPath}?panel=delete-endpoint&id=${id}`);
  await page.getByRole("button", { name: "Delete endpoint" }).click();
  await expect(main(page)).toContainText("Endpoint deleted");
  await expect(main(page)).not.toContainText(url);
});
