// The whole life of a key, by hand, in a hydrated page.
import type { APIRequestContext, Locator, Page } from "@playwright/test";
import { card, changeKeys, choose, keysPath, listOf, makeKey, onTop, rowOf, send, statusOf, step, stranger, toast, wholeKey, withinASecond } from "../support/console";
import { expect, hydrated, open, test, unique, watch } from "../support/fixtures";
import * as where from "../support/where";

let program: APIRequestContext;
test.beforeAll(async () => {
  program = await stranger();
});
test.afterAll(() => program.dispose());

/** Opens the create dialog by its button. */
async function openCreate(page: Page): Promise<Locator> {
  await page.getByRole("link", { name: "Create API Key" }).click();
  const dialog = page.getByRole("dialog", { name: "Create New API Key" });
  await expect(dialog).toBeVisible();
  return dialog;
}

/** Reads the key off the reveal card. */
async function revealed(page: Page, title: RegExp): Promise<{ card: Locator; key: string; id: string }> {
  const dialog = page.getByRole("dialog", { name: title });
  await expect(dialog).toBeVisible();
  const key = (await dialog.locator("#revealed-key").innerText()).trim();
  expect(key).toMatch(wholeKey);
  await expect(page).toHaveURL(/panel=created&key=key_[0-9a-z]+/);
  return { card: dialog, key, id: new URL(page.url()).searchParams.get("key")! };
}

/** Copies the key and closes the card. */
async function save(dialog: Locator): Promise<void> {
  await dialog.locator(".reveal-key").getByRole("button", { name: "Copy" }).click();
  await expect(dialog.locator(".reveal-key")).toContainText("Copied");
  await dialog.getByRole("link", { name: "I’ve Saved My Key" }).click();
  await expect(dialog).toBeHidden();
}

const modes = [
  { title: "Off", fields: {}, rate: "as fast as they come", word: null, limits: null },
  { title: "Fixed Delay", fields: { Delay: "7" }, rate: "about 9 messages a minute", word: "Fixed delay", limits: "every 7 s" },
  { title: "Random Delay", fields: { "Min Delay": "2", "Max Delay": "6" }, rate: "about 15 messages a minute", word: "Random delay", limits: "2 s to 6 s apart" },
  {
    title: "Smart",
    fields: { "Min Delay": "1", "Max Delay": "3", "Batch Size": "5", "Batch Cooldown": "40" },
    rate: "about 6 messages a minute",
    word: "Smart delay",
    limits: "1 s to 3 s apart, 40 s after every 5",
  },
];

for (const { title, fields, rate, word, limits } of modes) {
  test(`a key with the throttle mode ${title}`, async ({ page, goto, context }) => {
    await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: where.url });
    const name = unique(`Mode ${title}`);
    await goto(keysPath);
    const dialog = await openCreate(page);
    await dialog.getByLabel("Key Name").fill(name);
    await dialog.getByRole("button", { name: "Continue" }).click();

    await card(dialog, title);
    const all = ["Delay", "Min Delay", "Max Delay", "Batch Size", "Batch Cooldown"];
    for (const label of all) {
      const field = dialog.getByLabel(label, { exact: true });
      if (label in fields) await expect(field, label).toBeVisible();
      else await expect(field, label).toBeHidden();
    }
    for (const [label, value] of Object.entries(fields)) await dialog.getByLabel(label, { exact: true }).fill(value);
    await dialog.getByLabel("Max Queue Size").fill("33");

    const preview = dialog.locator(".throttle-preview");
    await expect(preview.locator(".rate")).toContainText(rate);
    await expect(preview.locator(".send-times li")).toHaveCount(10);
    await expect(preview.locator(".send-times li").first()).toHaveText("0 s");

    await dialog.getByRole("button", { name: "Continue" }).click();
    await dialog.getByRole("button", { name: "Create API Key" }).click();
    const shown = await revealed(page, new RegExp(`Key created · ${name}$`));
    await save(shown.card);

    await open(page, listOf(name));
    const row = rowOf(page, name);
    await expect(row).toHaveCount(1);
    const paced = row.locator(".c-limits .limit", { hasText: "delay" });
    if (word) {
      await expect(paced).toHaveText(word);
      await expect(paced).toHaveAttribute("title", `${limits}; at most 33 messages waiting`);
    } else {
      await expect(paced).toHaveCount(0);
    }
    await open(page, listOf(name, `&panel=usage&key=${shown.id}`));
    await expect(page.getByRole("dialog", { name })).toContainText(/Max Queue Size\s*33/);
    expect(await statusOf(program, shown.key)).toBe(200);
  });
}

test("steps may be jumped between, and an error leads to its step", async ({ page, goto }) => {
  await goto(keysPath);
  const dialog = await openCreate(page);
  await step(dialog, "Permissions");
  await expect(dialog.getByLabel("Scope group")).toBeVisible();
  await dialog.getByRole("button", { name: "Create API Key" }).click();
  // The name is missing: its step comes to the front, with the focus in the field.
  await expect(dialog.getByLabel("Key Name")).toBeVisible();
  await expect(dialog.getByLabel("Key Name")).toBeFocused();
  await expect(dialog.locator("#key-name-note")).toContainText("Give the key a name");
  await expect(dialog.locator(".step.wrong")).toContainText("Details");

  // Enter goes on.
  await dialog.getByLabel("Key Name").fill(unique("Jumper"));
  await expect(dialog.locator(".step.wrong")).toHaveCount(0);
  await dialog.getByLabel("Key Name").press("Enter");
  await expect(dialog.getByLabel("Max Queue Size")).toBeVisible();
});

test("a draft survives closing the dialog by mistake", async ({ page, goto }) => {
  const name = unique("Draft");
  await goto(keysPath);
  let dialog = await openCreate(page);
  await dialog.getByLabel("Key Name").fill(name);
  await page.keyboard.press("Escape");
  await expect(dialog.getByText(/^Close without /)).toBeVisible();
  await dialog.getByRole("button", { name: "Close", exact: true }).click();
  await expect(dialog).toBeHidden();
  await expect(page).not.toHaveURL(/panel=/);

  dialog = await openCreate(page);
  await expect(dialog.getByLabel("Key Name")).toHaveValue(name);
  await dialog.getByRole("button", { name: "Start anew" }).click();
  await expect(dialog.getByLabel("Key Name")).toHaveValue("");
});

test("permissions and limits are chosen, shown, and edited", async ({ page, goto, context }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: where.url });
  const name = unique("Limits");
  await goto(keysPath);
  const dialog = await openCreate(page);
  await dialog.getByLabel("Key Name").fill(name);
  await dialog.getByLabel("Description").fill("Orders of the shop in Graz");
  await card(dialog, "Test Key");
  await step(dialog, "Permissions");

  const sum = dialog.locator(".scope-sum");
  await expect(sum).toContainText("Standard integration · 4 scopes");
  await dialog.getByLabel("Scope group").selectOption("contact_manager");
  await expect(sum).toContainText("Contact Manager · 2 scopes");
  await dialog.getByText("Choose individually").click();
  await dialog.locator("label.checkbox", { has: page.locator('input[value="usage:read"]') }).click();
  await expect(sum).toContainText("Custom (from Contact Manager) · 3 scopes");
  await dialog.getByRole("button", { name: "Back to Contact Manager" }).click();
  await expect(sum).toContainText("Contact Manager · 2 scopes");
  await dialog.getByRole("checkbox", { name: "All of Webhooks" }).click();
  await expect(sum).toContainText("Custom (from Contact Manager) · 4 scopes");

  await dialog.getByText("Advanced settings").click();
  const addresses = dialog.getByLabel("Allowed IP Addresses");
  await addresses.fill("203.0.113.0/24");
  await expect(dialog.getByText("Calls from where you are now will be refused.")).toBeVisible();
  await dialog.getByRole("button", { name: /^Add my address \(/ }).click();
  await expect(addresses).toHaveValue("203.0.113.0/24\n127.0.0.1");
  await expect(dialog.getByText("Calls from where you are now will be refused.")).toBeHidden();
  await dialog.getByLabel("Rate Limit per hour").fill("12");
  await dialog.getByLabel("Expiration").selectOption("30");
  await dialog.getByRole("button", { name: "Create API Key" }).click();
  const shown = await revealed(page, /Key created · /);
  expect(shown.key).toMatch(/^bnc_test_/);
  await save(shown.card);

  await open(page, listOf(name));
  const row = rowOf(page, name);
  await expect(row.locator(".c-name")).toContainText("Orders of the shop in Graz");
  await expect(row.locator(".c-name")).toContainText("Custom (from Contact Manager)");
  await expect(row.locator(".c-name")).toContainText("Test");
  await expect(row.locator(".c-permissions .badge")).toHaveCount(2);
  await expect(row.locator(".c-limits")).toContainText("12/h");
  await expect(row.locator(".c-limits")).toContainText("2 IPs");
  await expect(row.locator(".c-limits")).toContainText("ends");
  await expect(row.locator(".c-status")).toContainText("Active");
  await expect(row.locator(".c-used")).toContainText("Never");
  await row.getByRole("button", { name: "+2 more" }).click();
  await expect(page.getByRole("group", { name: `More permissions of ${name}` })).toContainText("contact:all");
  await page.keyboard.press("Escape");

  const me = await program.get(`${where.url}/api/v1/me`, { headers: { authorization: `Bearer ${shown.key}` } });
  expect(await me.json()).toMatchObject({ name, environment: "test", scopes: expect.arrayContaining(["contact:all", "lead:read_all", "webhooks:read"]) });
  expect(me.headers()["x-ratelimit-limit"]).toBe("12");

  // Everything but the secret and the environment can be edited.
  await choose(page, name, "Edit");
  const edit = page.getByRole("dialog", { name: `Edit ${name}` });
  await edit.getByLabel("Description").fill("Orders of both shops");
  await expect(edit.getByText("Test Key", { exact: true })).toBeVisible();
  await step(edit, "Permissions");
  await expect(edit.getByLabel("Rate Limit per hour")).toBeHidden();
  await edit.getByText("Advanced settings").click();
  await edit.getByLabel("Rate Limit per hour").fill("");
  await edit.getByRole("button", { name: "Save changes" }).click();
  await expect(edit).toBeHidden();
  await toast(page, "Key saved");
  await expect(row.locator(".c-name")).toContainText("Orders of both shops");
  await expect(row.locator(".c-limits")).not.toContainText("12/h");
  await expect
    .poll(async () => (await program.get(`${where.url}/api/v1/me`, { headers: { authorization: `Bearer ${shown.key}` } })).headers()["x-ratelimit-limit"])
    .toBeUndefined();

  // What changed stands in the history, by whom and from where.
  await choose(page, name, "History");
  const history = page.getByRole("dialog", { name: `History of ${name}` });
  await expect(history.locator("li").first()).toContainText("ada@acme.example edited the key");
  await expect(history.locator("li").first()).toContainText("127.0.0.1");
  await expect(history.locator("li").first()).toContainText("Orders of the shop in Graz");
  await expect(history.locator("li").last()).toContainText("created the key");
});

test("who says that the key is saved without having copied it is asked once, too", async ({ page, goto }) => {
  await goto(keysPath);
  const dialog = await openCreate(page);
  await dialog.getByLabel("Key Name").fill(unique("Hasty"));
  await step(dialog, "Permissions");
  await dialog.getByRole("button", { name: "Create API Key" }).click();
  const { card, key } = await revealed(page, /Key created · /);
  const saved = card.getByRole("link", { name: "I’ve Saved My Key" });
  await saved.click();
  await expect(card.getByRole("alert")).toContainText("You have not copied the key yet.");
  await expect(card.locator("#revealed-key")).toHaveText(key);
  await saved.click();
  await expect(card).toBeHidden();
});

test("the reveal card shows the key once, in every form, and asks before it is lost", async ({ page, goto, context }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: where.url });
  const clipboard = () => page.evaluate(() => navigator.clipboard.readText());
  const name = unique("Reveal");
  await goto(keysPath);
  const dialog = await openCreate(page);
  await dialog.getByLabel("Key Name").fill(name);
  await step(dialog, "Permissions");
  await dialog.getByRole("button", { name: "Create API Key" }).click();
  const { card: shown, key, id } = await revealed(page, /Key created · /);
  await expect(shown).toContainText("This is the only time you’ll see the full API key.");

  // Nothing was copied yet: it asks once.
  await page.keyboard.press("Escape");
  await expect(shown.getByRole("alert")).toContainText("You have not copied the key yet.");
  await expect(shown).toBeVisible();

  await shown.locator(".reveal-key").getByRole("button", { name: "Copy" }).click();
  await expect.poll(clipboard).toBe(key);
  await expect(shown.getByRole("alert")).toBeHidden();
  const forms: [string, string][] = [
    [".env", `BOUNCER_API_KEY=${key}`],
    ["cURL", `curl ${where.url}/api/v1/me`],
    ["JavaScript", `"Authorization": "Bearer ${key}"`],
    ["n8n", '"type": "n8n-nodes-base.httpRequest"'],
  ];
  for (const [tab, text] of forms) {
    await shown.locator(".snippet-tab", { hasText: tab }).click();
    const pane = shown.locator(".snippet:visible");
    await expect(pane).toContainText(text);
    await expect(pane).toContainText(key);
    await pane.getByRole("button", { name: "Copy the code" }).click();
    await expect.poll(clipboard).toContain(text);
  }
  await shown.getByRole("link", { name: "I’ve Saved My Key" }).click();
  await expect(shown).toBeHidden();

  // From now on the secret is nowhere: not on this page, not on a new one, not at the card's own address.
  const secret = key.slice("bnc_live_".length + 4, -4);
  const lists = async (path: string) => {
    await open(page, path);
    expect(await page.content()).not.toContain(secret);
  };
  expect(await page.content()).not.toContain(secret);
  await lists(listOf(name));
  await expect(rowOf(page, name).locator(".c-key code")).toHaveText(`${key.slice(0, 13)}…${key.slice(-4)}`);
  await lists(listOf(name, `&panel=usage&key=${id}`));
  await lists(listOf(name, `&panel=created&key=${id}`));
  await expect(page.getByRole("dialog")).toContainText("was shown once and is stored nowhere");
});

test("the first call turns the card green, and a refused one says why", async ({ page, goto, api }) => {
  const name = unique("Radar");
  await goto(keysPath);
  const dialog = await openCreate(page);
  await dialog.getByLabel("Key Name").fill(name);
  await step(dialog, "Permissions");
  await dialog.getByText("Advanced settings").click();
  await dialog.getByLabel("Allowed IP Addresses").fill("203.0.113.9");
  await dialog.getByRole("button", { name: "Create API Key" }).click();
  const { card: shown, key, id } = await revealed(page, /Key created · /);
  const radar = shown.locator(".radar");
  await expect(radar).toHaveClass(/waiting/);
  await expect(radar).toContainText("Waiting for the first call…");

  expect((await api(key).get("/me", { "user-agent": "shop-plugin/2.4" })).status()).toBe(403);
  await expect(radar).toHaveClass(/denied/);
  await expect(radar).toContainText("The caller's address is not on the key's IP list.");
  await expect(radar).toContainText("shop-plugin/2.4");
  await expect(radar).toContainText("403");

  // Somebody mends the list; the card is still open.
  const version = await page.request.post(`${where.url}/_fn/api_keys/panel`, { data: { panel: { Edit: id } } });
  const form = ((await version.json()) as { Edit: [{ form: Record<string, string | string[]> }] }).Edit[0].form;
  const body = new URLSearchParams({ id });
  for (const [field, value] of Object.entries({ ...form, allowed_ips: "" })) {
    if (Array.isArray(value)) value.forEach((scope) => body.append("scopes[]", scope));
    else body.append(`form[${field}]`, value);
  }
  const edited = await page.request.post(`${where.url}/_fn/api_keys/edit`, {
    data: body.toString(),
    headers: { "content-type": "application/x-www-form-urlencoded", accept: "application/json" },
  });
  expect(edited.status(), await edited.text()).toBe(200);

  await expect.poll(async () => (await api(key).get("/me", { "user-agent": "shop-plugin/2.5" })).status()).toBe(200);
  await expect(radar).toHaveClass(/allowed/);
  await expect(radar).toContainText("First call");
  await expect(radar).toContainText("127.0.0.1");
  await expect(radar).toContainText("GET /api/v1/me");
  await expect(radar).toContainText("shop-plugin/2.5");
});

test("a disabled key tells its owner on the card", async ({ page, goto, api }) => {
  const name = unique("Radar off");
  await goto(keysPath);
  const dialog = await openCreate(page);
  await dialog.getByLabel("Key Name").fill(name);
  await step(dialog, "Permissions");
  await dialog.getByRole("button", { name: "Create API Key" }).click();
  const { card: shown, key, id } = await revealed(page, /Key created · /);
  await changeKeys(page.request, "disable", id);
  await expect.poll(async () => (await api(key).get("/me")).status()).toBe(401);
  await expect(shown.locator(".radar")).toHaveClass(/denied/);
  await expect(shown.locator(".radar")).toContainText("The key is disabled. Enable it on the API Keys tab.");
});

test("of two people who edit a key the second is told", async ({ page, goto, complaints }) => {
  const name = unique("Two editors");
  const { id } = await makeKey(page.request, name);
  const second = await page.context().newPage();
  const watched = watch(second);
  watched.allowStatus(409);
  await goto(listOf(name, `&panel=edit&key=${id}`));
  await open(second, listOf(name, `&panel=edit&key=${id}`));

  const first = page.getByRole("dialog", { name: `Edit ${name}` });
  await first.getByLabel("Description").fill("by the first");
  await step(first, "Permissions");
  await first.getByRole("button", { name: "Save changes" }).click();
  await expect(first).toBeHidden();

  const late = second.getByRole("dialog", { name: `Edit ${name}` });
  await late.getByLabel("Description").fill("by the second");
  await step(late, "Permissions");
  await late.getByRole("button", { name: "Save changes" }).click();
  await expect(late.locator(".form-error")).toContainText(/changed|edited/);
  await expect(late).toBeVisible();
  await step(late, "Details");
  // What was typed is still there.
  await expect(late.getByLabel("Description")).toHaveValue("by the second");
  await expect(rowOf(page, name).locator(".c-name")).toContainText("by the first");
  watched.check();
  expect(complaints.seen).toEqual([]);
  await second.close();
});

test("a regenerated key: the old secret stops at once", async ({ page, goto }) => {
  const name = unique("Regenerate now");
  const { key: old } = await makeKey(page.request, name);
  await goto(listOf(name));
  await choose(page, name, "Regenerate");
  const dialog = page.getByRole("dialog", { name: `Regenerate ${name}` });
  await expect(dialog).toContainText("This key was never used.");
  await expect(dialog.getByRole("radio", { name: /^Immediately/ })).toBeChecked();
  expect(await statusOf(program, old)).toBe(200);
  await dialog.getByRole("button", { name: "Regenerate key" }).click();
  const { key } = await revealed(page, /Key regenerated · /);
  expect(key).not.toBe(old);
  await withinASecond(program, old, 401);
  expect(await statusOf(program, key)).toBe(200);
});

test("a regenerated key with an overlap: both work until the old one is retired", async ({ page, goto, api, context }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: where.url });
  const name = unique("Overlap");
  const { key: old, id } = await makeKey(page.request, name);
  await goto(listOf(name));
  await choose(page, name, "Regenerate");
  const dialog = page.getByRole("dialog", { name: `Regenerate ${name}` });
  await card(dialog, "In 24 hours");
  await dialog.getByRole("button", { name: "Regenerate key" }).click();
  const shown = await revealed(page, /Key regenerated · /);
  await save(shown.card);
  expect(await statusOf(program, shown.key)).toBe(200);
  expect((await api(old).get("/me", { "user-agent": "forgotten-cron/1.0" })).status()).toBe(200);

  await expect(rowOf(page, name).locator(".c-status")).toContainText("Rotating");
  const sheet = page.getByRole("dialog", { name });
  // Calls are written in batches, four times a second.
  await expect(async () => {
    await open(page, listOf(name, `&panel=usage&key=${id}`));
    await expect(sheet.locator(".callers")).toContainText("forgotten-cron/1.0", { timeout: 500 });
  }).toPass();
  await expect(sheet).toContainText("works until");
  await sheet.getByRole("button", { name: "Retire now" }).click();
  await toast(page, "Old secret retired");
  await withinASecond(program, old, 401);
  expect(await statusOf(program, shown.key)).toBe(200);
  await expect(sheet.getByRole("button", { name: "Retire now" })).toBeHidden();
});

test("disable and enable hold within a second", async ({ page, goto }) => {
  const name = unique("Switch");
  const { key } = await makeKey(page.request, name);
  expect(await statusOf(program, key)).toBe(200);
  await goto(listOf(name));
  await choose(page, name, "Disable");
  await toast(page, "Key disabled");
  await withinASecond(program, key, 401);
  await expect(rowOf(page, name).locator(".c-status")).toContainText("Disabled");
  await choose(page, name, "Enable");
  await toast(page, "Key enabled");
  await withinASecond(program, key, 200);
  await expect(rowOf(page, name).locator(".c-status")).toContainText("Active");
});

test("toasts stand above an open dialog, and outlive it", async ({ page, goto, complaints }) => {
  const name = unique("Toasted");
  const { id } = await makeKey(page.request, name);
  const gone = unique("Gone");
  const { id: goneId } = await makeKey(page.request, gone);
  await goto(listOf(gone));
  await changeKeys(page.request, "revoke", goneId);
  // Bad news stays until it is dismissed: before a dialog opens, while it is open, and after it.
  complaints.allowStatus(409);
  await choose(page, gone, "Disable");
  await onTop(page, "was revoked");
  await page.keyboard.press("n");
  const create = page.getByRole("dialog", { name: "Create New API Key" });
  await expect(create).toBeVisible();
  await onTop(page, "was revoked");
  await page.keyboard.press("Escape");
  await expect(create).toBeHidden();
  await onTop(page, "was revoked");

  // Said while a sheet is open.
  expect((await send(page.request, "api_keys/regenerate", { id, version: "1", overlap: "24h" })).status()).toBe(200);
  await open(page, listOf(name, `&panel=usage&key=${id}`));
  const sheet = page.getByRole("dialog", { name });
  await sheet.getByRole("button", { name: "Retire now" }).click();
  await onTop(page, "Old secret retired");
  await page.locator("#toasts .toast", { hasText: "Old secret retired" }).getByRole("button", { name: "Dismiss" }).click();
  await expect(page.locator("#toasts .toast")).toHaveCount(0);
  await expect(sheet).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(sheet).toBeHidden();
  await choose(page, name, "Disable");
  await onTop(page, "Key disabled");
});

test("revoking asks first, names the key and its users, and is for ever", async ({ page, goto, api }) => {
  const name = unique("Revoke");
  const { key } = await makeKey(page.request, name);
  expect((await api(key).get("/me", { "user-agent": "warehouse/3" })).status()).toBe(200);
  await goto(listOf(name));
  const dialog = page.getByRole("alertdialog", { name: `Revoke ${name}?` });
  await expect(async () => {
    await open(page, listOf(name));
    await choose(page, name, "Revoke");
    await expect(dialog.locator(".callers")).toContainText("warehouse/3", { timeout: 500 });
  }).toPass();
  await expect(dialog).toContainText("Revoking is permanent.");
  await expect(dialog).toContainText(name);
  await expect(dialog).toContainText("Last used");
  // The safe button has the focus.
  await expect(dialog.getByRole("link", { name: "Keep key" })).toBeFocused();
  await dialog.getByRole("button", { name: "Revoke key" }).click();
  await toast(page, "Key revoked");
  await withinASecond(program, key, 401);
  await expect(rowOf(page, name)).toHaveCount(0);
  await expect(page.getByText("No key matches")).toBeVisible();

  await page.getByRole("button", { name: "Status", exact: true }).click();
  await page.getByRole("group", { name: "Filter by status" }).getByRole("link", { name: "Revoked", exact: true }).click();
  await expect(page).toHaveURL(/status=revoked/);
  await expect(rowOf(page, name).locator(".c-status")).toContainText("Revoked");
  await page.getByRole("button", { name: `Actions for ${name}` }).click();
  const menu = page.getByRole("group", { name: `Actions for ${name}` });
  await expect(menu.getByText("View usage stats")).toBeVisible();
  for (const gone of ["Edit", "Enable", "Disable", "Regenerate", "Revoke"]) await expect(menu.getByText(gone, { exact: true })).toHaveCount(0);
});

test("several keys at once: disable, enable, revoke", async ({ page, goto }) => {
  const name = unique("Bulk");
  const keys = [];
  for (const one of ["one", "two", "three"]) keys.push(await makeKey(page.request, `${name} ${one}`));
  for (const { key } of keys) expect(await statusOf(program, key)).toBe(200);
  await goto(listOf(name));
  const bar = page.getByRole("region", { name: "Selected keys" });
  await expect(bar).toBeHidden();
  const tick = async (which: string) => {
    await page.getByRole("checkbox", { name: `Select ${name} ${which}`, exact: true }).check();
  };

  await tick("one");
  await tick("two");
  await expect(bar).toContainText("2 keys selected");
  await bar.getByRole("button", { name: "Disable" }).click();
  await toast(page, "2 keys disabled");
  await withinASecond(program, keys[0]!.key, 401);
  await withinASecond(program, keys[1]!.key, 401);
  expect(await statusOf(program, keys[2]!.key)).toBe(200);
  await expect(page.locator(".c-status", { hasText: "Disabled" })).toHaveCount(2);

  await page.getByRole("checkbox", { name: "Select the 3 keys of this page" }).check();
  await expect(bar).toContainText("3 keys selected");
  await bar.getByRole("button", { name: "Enable" }).click();
  await toast(page, "2 keys enabled");
  for (const { key } of keys) await withinASecond(program, key, 200);
  await expect(page.locator(".c-status", { hasText: "Active" })).toHaveCount(3);

  await tick("one");
  await tick("three");
  await bar.getByRole("button", { name: "Revoke…" }).click();
  const dialog = page.getByRole("alertdialog", { name: "Revoke 2 keys?" });
  await expect(dialog).toContainText(`${name} one`);
  await expect(dialog).toContainText(`${name} three`);
  await dialog.getByRole("button", { name: "Revoke 2 keys" }).click();
  await toast(page, "2 keys revoked");
  await withinASecond(program, keys[0]!.key, 401);
  await withinASecond(program, keys[2]!.key, 401);
  expect(await statusOf(program, keys[1]!.key)).toBe(200);
  await expect(page.locator(".keys-table tbody tr")).toHaveCount(1);
});

test("a pasted key is found by its hash alone", async ({ page, goto }) => {
  const name = unique("Pasted");
  const { key } = await makeKey(page.request, name);
  const secret = key.slice("bnc_live_".length);
  const said: string[] = [];
  page.on("request", (request) => said.push(`${request.url()} ${request.postData() ?? ""} ${JSON.stringify(request.headers())}`));
  await goto(keysPath);
  const search = page.getByRole("searchbox");
  await search.fill(`Authorization: Bearer ${key}`);
  await expect(page.getByText(`The pasted key is ${name}.`)).toBeVisible();
  await expect(page).toHaveURL(/hash=[0-9a-f]{64}/);
  await expect(search).toHaveValue("");
  await expect(rowOf(page, name)).toHaveCount(1);
  await expect(page.locator(".keys-table tbody tr")).toHaveCount(1);

  // A letter wrong: that is noticed here, and nothing is sent.
  const before = said.length;
  const last = key.slice(-1);
  await search.fill(key.slice(0, -1) + (last === "0" ? "1" : "0"));
  await expect(page.getByText("its checksum does not fit")).toBeVisible();
  await expect(search).toHaveValue("");
  expect(said.slice(before)).toEqual([]);

  expect(said.length).toBeGreaterThan(2);
  const leaks = said.filter((one) => one.includes(secret.slice(0, 20)) || one.includes(secret.slice(-20)));
  expect(leaks, "requests that carried the key").toEqual([]);

  // Nobody's key: that is said too.
  await goto(`${keysPath}?hash=${"0".repeat(64)}`);
  await expect(page.getByText("Not a key of this organization")).toBeVisible();
});

test("a duplicate has the same settings and a secret of its own", async ({ page, goto }) => {
  const name = unique("Original");
  const { key } = await makeKey(page.request, name, { throttle_mode: "fixed", delay: "9", rate_limit: "77", description: "first of its kind" });
  await goto(listOf(name));
  await choose(page, name, "Duplicate");
  const dialog = page.getByRole("dialog", { name: `Duplicate ${name}` });
  await expect(dialog.getByLabel("Key Name")).toHaveValue(`${name} copy`);
  await expect(dialog.getByLabel("Description")).toHaveValue("first of its kind");
  await step(dialog, "Permissions");
  await dialog.getByRole("button", { name: "Create API Key" }).click();
  const copy = await revealed(page, /Key created · /);
  expect(copy.key).not.toBe(key);
  await page.goto(listOf(name));
  await hydrated(page);
  for (const one of [name, `${name} copy`]) {
    const row = page.locator(".keys-table tbody tr").filter({ has: page.getByRole("link", { name: one, exact: true }) });
    await expect(row.locator(".c-limits .limit", { hasText: "Fixed delay" })).toHaveAttribute("title", /^every 9 s/);
    await expect(row.locator(".c-limits")).toContainText("77/h");
  }
});

test("filters, order and pages are in the address", async ({ page, goto }) => {
  const name = unique("Many");
  const made = [];
  for (let i = 10; i < 22; i++) made.push(await makeKey(page.request, `${name} ${i}`, i % 2 ? { environment: "test" } : { expires: "7" }, i === 10 ? ["usage:read"] : []));
  await changeKeys(page.request, "disable", made[3]!.id, made[4]!.id);
  const rows = page.locator(".keys-table tbody tr");
  const names = () => page.locator(".keys-table .key-name a").allInnerTexts();

  await goto(keysPath);
  await page.getByRole("searchbox").fill(name);
  await expect(page).toHaveURL(new RegExp(`q=${encodeURIComponent(name)}`));
  await expect(rows).toHaveCount(10);
  await expect(page.getByRole("navigation", { name: "Pages" })).toContainText("1–10 of 12");
  await expect(rows.first()).toContainText(`${name} 21`);

  await page.getByRole("link", { name: "Next page" }).click();
  await expect(page).toHaveURL(/after=/);
  await expect(rows).toHaveCount(2);
  await expect(rows.first().locator(".c-number")).toHaveText("11");
  await page.goBack();
  await expect(rows).toHaveCount(10);
  await expect(rows.first()).toContainText(`${name} 21`);
  // The last page is a full one, so that its end is the list's.
  await page.getByRole("link", { name: "Last page" }).click();
  await expect(page.getByRole("navigation", { name: "Pages" })).toContainText("3–12 of 12");
  await page.getByRole("link", { name: "First page" }).click();
  await expect(page.getByRole("navigation", { name: "Pages" })).toContainText("1–10 of 12");

  await page.locator("thead").getByRole("link", { name: "Name" }).click();
  await expect(page).toHaveURL(/sort=name/);
  await expect(page.locator("th.c-name")).toHaveAttribute("aria-sort", "ascending");
  await expect(rows.first()).toContainText(`${name} 10`);
  await page.getByRole("link", { name: "25 per page" }).click();
  await expect(rows).toHaveCount(12);
  expect(await names()).toEqual(made.map((key) => key.name));

  const filter = async (button: string, group: string, item: string) => {
    await page.getByRole("button", { name: button, exact: true }).click();
    await page.getByRole("group", { name: group }).getByRole("link", { name: item, exact: true }).click();
  };
  await filter("Environment", "Filter by environment", "Test");
  await expect(rows).toHaveCount(6);
  await filter("Status", "Filter by status", "Disabled");
  await expect(rows).toHaveCount(1);
  const chips = page.getByRole("list", { name: "Filters in force" });
  await expect(chips).toContainText("Status: Disabled");
  const deep = page.url();
  await chips.getByRole("link", { name: "Remove the filter Environment: Test" }).click();
  await expect(rows).toHaveCount(2);
  await page.goBack();
  await expect(rows).toHaveCount(1);
  await page.getByRole("link", { name: "Clear all" }).first().click();
  await expect(page).not.toHaveURL(/status=|environment=|q=/);
  await expect(page.getByRole("searchbox")).toHaveValue("");

  // The address alone brings it all back.
  await open(page, deep);
  await expect(rows).toHaveCount(1);
  await expect(rows.first()).toContainText(`${name} 13`);
  await expect(page.getByRole("searchbox")).toHaveValue(name);
  await open(page, listOf(name, "&no_expiry=1"));
  await expect(rows).toHaveCount(6);
  await open(page, listOf(name, "&scope=usage:read"));
  await expect(rows).toHaveCount(1);
  await open(page, listOf(name, "&status=expiring"));
  await expect(rows).toHaveCount(5);
  await open(page, listOf(name, "&idle=1"));
  await expect(page.getByText("No key matches")).toBeVisible();
  // An id and a hint find a key too.
  await open(page, listOf(made[0]!.id));
  await expect(rows).toHaveCount(1);
  await open(page, listOf(made[0]!.key.slice(0, 13)));
  await expect(rowOf(page, `${name} 10`)).toHaveCount(1);
});

test("the list as a file holds what the filter shows, and no formulas", async ({ page, goto }) => {
  const name = unique("=1+1");
  await makeKey(page.request, name, { description: "@SUM(A1), \"quoted\"" });
  await makeKey(page.request, `${name} b`, { description: "-2+3" });
  await goto(listOf(name));
  const pending = page.waitForEvent("download");
  await page.getByRole("link", { name: "Download this list as CSV" }).click();
  const download = await pending;
  expect(download.suggestedFilename()).toMatch(/^api-keys.*\.csv$/);
  const answer = await page.request.get(`${keysPath}/export.csv?q=${encodeURIComponent(name)}`);
  expect(answer.headers()["content-type"]).toContain("text/csv");
  expect(answer.headers()["cache-control"]).toContain("no-store");
  const text = await answer.text();
  expect(text.trim().split(/\r?\n/)).toHaveLength(3);
  expect(text).toContain(`'${name}`);
  expect(text).toContain("'@SUM(A1), \"\"quoted\"\"");
  // No cell begins with what a spreadsheet would run.
  expect(text).not.toMatch(/(^|,)"?[=+@-]/m);
});

test("the usage sheet counts calls, and what is used is not taken away unnoticed", async ({ page, goto, api }) => {
  const name = unique("Usage");
  const { key, id } = await makeKey(page.request, name, {}, ["key:verify", "message:send"]);
  for (let i = 0; i < 3; i++) expect((await api(key).post("/keys/verify", { key })).status()).toBe(200);
  expect((await api(key).get("/me", { "user-agent": "till/7.1" })).status()).toBe(200);
  const sheet = page.getByRole("dialog", { name });
  await expect(async () => {
    await open(page, listOf(name, `&panel=usage&key=${id}`));
    await expect(sheet.locator(".endpoints")).toContainText("/api/v1/keys/verify", { timeout: 500 });
    // The calls may be written in two batches.
    await expect(sheet.locator(".figures").nth(1)).toContainText(/Requests\s*4/, { timeout: 500 });
  }).toPass();
  await expect(sheet).toContainText(/Total Messages\s*0/);
  await expect(sheet.locator(".facts")).toContainText(/Last used\s*(just now|.+ ago) from 127\.0\.0\.1 · till\/7\.1/);
  await expect(sheet.getByRole("progressbar", { name: "Delivery Rate" })).toBeVisible();
  await expect(sheet.getByRole("img", { name: "Last 24 hours: 4 allowed, 0 denied" })).toBeVisible();

  // A click on the row opens the same sheet; Esc closes it, and the focus is back where it was.
  await goto(listOf(name));
  await rowOf(page, name).getByRole("link", { name, exact: true }).click();
  await expect(sheet).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(sheet).toBeHidden();
  await expect(rowOf(page, name).getByRole("link", { name, exact: true })).toBeFocused();
  await expect(rowOf(page, name).locator(".c-used")).toContainText(/just now|ago/);
  // The hover says when exactly, and from where.
  await expect(rowOf(page, name).locator(".c-used time")).toHaveAttribute("title", / UTC · .+ local\n127\.0\.0\.1 · till\/7\.1$/);

  await open(page, listOf(name, `&panel=edit&key=${id}`));
  const edit = page.getByRole("dialog", { name: `Edit ${name}` });
  await step(edit, "Permissions");
  await edit.locator("label.checkbox", { has: page.locator('input[value="key:verify"]') }).click();
  await expect(edit.locator(".losses")).toContainText("key:verify was used 3 times in 7 days");
  await edit.getByText("Advanced settings").click();
  await edit.getByLabel("Allowed IP Addresses").fill("203.0.113.0/24");
  await expect(edit.locator(".losses")).toContainText("127.0.0.1 called 4 times in 7 days. Calls from there will be refused.");
  await edit.getByLabel("Allowed IP Addresses").fill("127.0.0.0/8");
  await expect(edit.locator(".losses")).not.toContainText("Calls from there");
});

test("a key of nobody opens nothing", async ({ page, goto, complaints }) => {
  complaints.allowStatus(404);
  const answer = await goto(`${keysPath}?panel=usage&key=key_01h455vb4pex5vsknk084sn02q`);
  expect(answer?.status()).toBe(404);
  await expect(page.getByRole("dialog", { name: "Not found" })).toBeVisible();
});
