// What people type by mistake, or on purpose.
import type { Locator, Page } from "@playwright/test";
import { changeKeys, countKeys, encode, card, keyForm, keysPath, listOf, makeKey, rowOf, send, step, wholeKey } from "../support/console";
import { expect, open, test, unique } from "../support/fixtures";

async function openCreate(page: Page): Promise<Locator> {
  await open(page, `${keysPath}?panel=new`);
  return page.getByRole("dialog", { name: "Create New API Key" });
}

/** Sends the dialog, from whatever step. */
async function submit(dialog: Locator): Promise<void> {
  await step(dialog, "Permissions");
  await dialog.getByRole("button", { name: "Create API Key" }).click();
}

async function created(page: Page): Promise<string> {
  const key = page.locator("#reveal-dialog #revealed-key");
  await expect(key).toHaveText(wholeKey);
  return new URL(page.url()).searchParams.get("key")!;
}

const long = () => Math.random().toString(36).slice(2, 8).padEnd(80, "Wärmepumpenfernsteuerung");

const names = [
  { kind: "emoji", name: () => `🛍️👩🏽‍🚀 ${unique("Ladenkasse")}` },
  { kind: "right-to-left text", name: () => `مفتاح المتجر ${unique("א")}` },
  { kind: "80 characters without a space", name: long },
  { kind: "markup", name: () => `<img src=x onerror=window.hacked=1>${unique("x")}` },
  { kind: "quotes and a template", name: () => `"'\`\${1}{{1}} ${unique("x")}` },
];

for (const { kind, name: make } of names) {
  test(`a name with ${kind}`, async ({ page, goto }) => {
    const name = make();
    expect([...name].length).toBeLessThanOrEqual(80);
    await page.setViewportSize({ width: 360, height: 740 });
    await goto(`${keysPath}?panel=new`);
    const dialog = page.getByRole("dialog", { name: "Create New API Key" });
    await dialog.getByLabel("Key Name").fill(name);
    await submit(dialog);
    const id = await created(page);
    const fits = async (what: string) => {
      const excess = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      expect(excess, `${what} is wider than 360 px`).toBeLessThanOrEqual(0);
      expect(await page.evaluate(() => "hacked" in window)).toBe(false);
    };
    await expect(page.getByRole("dialog")).toContainText(name);
    await fits("the card");
    for (const panel of ["", `&panel=usage&key=${id}`, `&panel=history&key=${id}`, `&panel=edit&key=${id}`, `&panel=regenerate&key=${id}`, `&panel=revoke&key=${id}`]) {
      await open(page, listOf(name, panel));
      await expect(rowOf(page, name).locator(".key-name a")).toHaveText(name);
      if (panel) await expect(page.locator("dialog[open]")).toContainText(name);
      await fits(panel || "the list");
    }
    await open(page, "/dashboard/settings/audit");
    await expect(page.getByRole("link", { name, exact: true }).first()).toBeVisible();
    await fits("the audit log");
  });
}

test("81 characters are refused beside the field", async ({ page }) => {
  const dialog = await openCreate(page);
  await dialog.getByLabel("Key Name").fill("x".repeat(81));
  await submit(dialog);
  await expect(dialog.locator("#key-name-note")).toContainText("Keep the name to 80 characters; this one has 81.");
  await expect(dialog.getByLabel("Key Name")).toHaveAttribute("aria-invalid", "true");
  await expect(dialog.getByLabel("Key Name")).toHaveAttribute("aria-describedby", "key-name-note");
  await expect(dialog.getByLabel("Key Name")).toBeFocused();
});

test("a name that another key has is refused beside the field", async ({ page, goto, complaints }) => {
  complaints.allowStatus(422);
  const name = unique("Twice");
  await makeKey(page.request, name);
  await goto(`${keysPath}?panel=new`);
  const dialog = page.getByRole("dialog", { name: "Create New API Key" });
  await dialog.getByLabel("Key Name").fill(name.toUpperCase());
  await submit(dialog);
  await expect(dialog.locator("#key-name-note .error")).toBeVisible();
  await expect(dialog.getByLabel("Key Name")).toHaveValue(name.toUpperCase());
  expect(await countKeys(page.request, name)).toBe(1);
});

const addresses = (count: number) => Array.from({ length: count }, (_, i) => `10.${i >> 8}.${i & 255}.7`).join("\n");

test("1000 addresses are accepted, 1001 are not", async ({ page }) => {
  const name = unique("Thousand");
  const dialog = await openCreate(page);
  await dialog.getByLabel("Key Name").fill(name);
  await step(dialog, "Permissions");
  await dialog.getByText("Advanced settings").click();
  // The browser enters them line by line, with an event for each: that takes seconds.
  const patience = { timeout: 60_000 };
  await dialog.getByLabel("Allowed IP Addresses").fill(addresses(1001), patience);
  await submit(dialog);
  await expect(dialog.locator("#key-allowed-ips-note")).toContainText("At most 1000 addresses; these are 1001.");
  await dialog.getByLabel("Allowed IP Addresses").fill(addresses(1000), patience);
  await submit(dialog);
  await created(page);
  await open(page, listOf(name));
  await expect(rowOf(page, name).locator(".c-limits")).toContainText("1,000 IPs");
});

test("addresses are normalised, and a wrong one is named by its line", async ({ page }) => {
  const name = unique("Addresses");
  const dialog = await openCreate(page);
  await dialog.getByLabel("Key Name").fill(name);
  await step(dialog, "Permissions");
  await dialog.getByText("Advanced settings").click();
  const field = dialog.getByLabel("Allowed IP Addresses");
  await field.fill("203.0.113.9\n10.0.0.300");
  await submit(dialog);
  await expect(dialog.locator("#key-allowed-ips-note")).toContainText("Line 2: “10.0.0.300” is not an address or network.");
  await field.fill("10.1.2.3/8\n::ffff:192.0.2.1\n192.0.2.1\n\n2001:DB8::1/32");
  await submit(dialog);
  const id = await created(page);
  await open(page, listOf(name, `&panel=edit&key=${id}`));
  const edit = page.getByRole("dialog", { name: `Edit ${name}` });
  await expect(edit.locator("#key-allowed-ips")).toHaveValue("10.0.0.0/8\n192.0.2.1\n2001:db8::/32");
});

test("a day in the past, and delays the wrong way round", async ({ page }) => {
  const dialog = await openCreate(page);
  await dialog.getByLabel("Key Name").fill(unique("Dates"));
  await step(dialog, "Anti-Ban");
  await card(dialog, "Random Delay");
  await dialog.getByLabel("Min Delay").fill("9");
  await dialog.getByLabel("Max Delay").fill("4");
  await dialog.getByRole("button", { name: "Continue" }).click();
  await expect(dialog.locator("#key-max-delay-note")).toContainText("The longest delay cannot be shorter than the shortest.");
  await expect(dialog.getByLabel("Max Delay")).toBeFocused();
  await dialog.getByLabel("Max Delay").fill("601");
  await expect(dialog.locator("#key-max-delay-note")).toContainText("A number of seconds from 0 to 600.");
  await dialog.getByLabel("Max Delay").fill("12");
  await expect(dialog.locator("#key-max-delay-note .error")).toHaveCount(0);

  await step(dialog, "Permissions");
  await dialog.getByText("Advanced settings").click();
  await expect(dialog.getByLabel("Last day")).toBeHidden();
  await dialog.getByLabel("Expiration").selectOption("date");
  await dialog.getByLabel("Last day").fill("2020-02-29");
  await dialog.getByLabel("Rate Limit per hour").fill("0");
  await dialog.getByRole("button", { name: "Create API Key" }).click();
  await expect(dialog.locator("#key-expires-on-note")).toContainText("This day has passed.");
  await expect(dialog.locator("#key-rate-limit-note")).toContainText("A whole number of calls from 1");
  const tomorrow = new Date(Date.now() + 86_400_000).toISOString().slice(0, 10);
  await dialog.getByLabel("Last day").fill(tomorrow);
  await dialog.getByLabel("Rate Limit per hour").fill("1");
  await dialog.getByRole("button", { name: "Create API Key" }).click();
  await created(page);
});

test("a form that is sent twice makes one key", async ({ page, goto }) => {
  // By two quick clicks,
  const name = unique("Double");
  await goto(`${keysPath}?panel=new`);
  const dialog = page.getByRole("dialog", { name: "Create New API Key" });
  await dialog.getByLabel("Key Name").fill(name);
  await step(dialog, "Permissions");
  await dialog.getByRole("button", { name: "Create API Key" }).dblclick();
  await created(page);
  expect(await countKeys(page.request, name)).toBe(1);

  // and by the same request twice, as a nervous network does it.
  const again = unique("Repeated");
  const form = keyForm(again);
  const answers = await Promise.all([send(page.request, "api_keys/create", { form }), send(page.request, "api_keys/create", { form })]);
  expect(answers.map((answer) => answer.status()).sort()).toEqual([200, 409]);
  const renamed = await send(page.request, "api_keys/create", { form: { ...form, name: `${again} b` } });
  expect(renamed.status()).toBe(409);
  expect(await countKeys(page.request, again)).toBe(1);
});

test("a key that is revoked while its dialog is open", async ({ page, goto, complaints }) => {
  complaints.allowStatus(404, 409);
  const name = unique("Too late");
  const { id } = await makeKey(page.request, name);
  await goto(listOf(name, `&panel=edit&key=${id}`));
  const dialog = page.getByRole("dialog", { name: `Edit ${name}` });
  await dialog.getByLabel("Description").fill("too late");
  await changeKeys(page.request, "revoke", id);
  await step(dialog, "Permissions");
  await dialog.getByRole("button", { name: "Save changes" }).click();
  await expect(dialog.locator(".form-error")).toContainText("revoked");
  await expect(rowOf(page, name)).toHaveCount(0);
  // Its own dialogs say so too.
  const answer = await goto(listOf(name, `&panel=regenerate&key=${id}`));
  expect(answer?.status()).toBe(409);
  await expect(page.locator("dialog[open]")).toContainText("This key was revoked");
});

test("bodies that no form of ours sends change nothing", async ({ page }) => {
  const name = unique("Forged");
  const cases: [string, Record<string, string>, string[]][] = [
    ["an unknown environment", { environment: "prod" }, []],
    ["an unknown mode", { throttle_mode: "turbo" }, []],
    ["an unknown scope", {}, ["message:sned"]],
    ["an unknown group", { scope_group: "everything" }, []],
    ["a queue beyond its bounds", { max_queue: "10001" }, []],
    ["a number that is none", { throttle_mode: "fixed", delay: "NaN" }, []],
    ["a name of control characters", { name: "a\u0000b" }, []],
    ["a name that turns text around", { name: `${name}\u202egnp.exe` }, []],
    ["a description of 501 characters", { description: "x".repeat(501) }, []],
    ["a description with NUL", { description: "a\u0000b" }, []],
  ];
  for (const [what, over, scopes] of cases) {
    const answer = await send(page.request, "api_keys/create", { form: keyForm(name, over), scopes });
    expect(answer.status(), what).toBe(422);
    expect(await answer.text(), what).toContain("Invalid");
  }
  // Half a body, and far too much of one.
  const half = encode({ form: keyForm(name) }).slice(0, 60);
  const headers = { "content-type": "application/x-www-form-urlencoded", accept: "application/json" };
  expect((await page.request.post("/_fn/api_keys/create", { data: half, headers })).status()).toBe(422);
  const huge = await page.request.post("/_fn/api_keys/create", { data: `name=${"x".repeat(300_000)}`, headers });
  expect([413, 422]).toContain(huge.status());
  expect(await countKeys(page.request, name)).toBe(0);
});

test("NUL in an address or a search finds nothing and breaks nothing", async ({ page, goto }) => {
  for (const address of [`${keysPath}?q=%00`, "/dashboard/settings/audit?action=%00&person=a%00b", "/dashboard/developer/integrations?panel=endpoint&id=%00"]) {
    const answer = await goto(address);
    expect(answer?.status(), address).toBe(200);
    await expect(page.getByRole("heading", { level: 1 }), address).toBeVisible();
  }
  const hits = await send(page.request, "shell/search", { q: "zz\u0000zz" });
  expect(hits.status()).toBe(200);
  expect(await hits.json()).toEqual([]);
});
