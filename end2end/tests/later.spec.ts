// Code that comes when it is needed: it is not loaded before, and the console lives without it.
import type { Page } from "@playwright/test";
import { keysPath, makeKey, rowOf } from "../support/console";
import { expect, hydrated, test, unique } from "../support/fixtures";

const settings = "/dashboard/settings/organization";

/** Collects the files of code that a page asks for. */
function files(page: Page): string[] {
  const seen: string[] = [];
  page.on("request", (request) => {
    const name = /\/pkg\/(\w+?)(?:\.[\w-]{22})?\.wasm$/.exec(new URL(request.url()).pathname)?.[1];
    if (name) seen.push(name);
  });
  return seen;
}

test("the page of keys loads one file of code, and the others when they are needed", async ({ page, goto }) => {
  const seen = files(page);
  await goto(keysPath);
  expect([...new Set(seen)]).toEqual(["bouncer"]);

  await page.getByRole("link", { name: "Create API Key" }).click();
  await expect(page.getByRole("dialog", { name: "Create New API Key" })).toBeVisible();
  expect(seen).toContain("split_panels");
  expect(seen).not.toContain("split_settings");
});

test("a page that opens with a panel names its file in the document", async ({ page, goto }) => {
  await goto(`${keysPath}?panel=new`);
  await expect(page.locator('link[rel="preload"][href*="split_panels"]')).toHaveCount(1);
  await goto(settings);
  await expect(page.locator('link[rel="preload"][href*="split_settings"]')).toHaveCount(1);
  // Each file is loaded once: the hint and the program ask for the same one.
  const asked = await page.evaluate(() => performance.getEntriesByType("resource").map(({ name }) => name).filter((name) => name.includes("split_settings")));
  expect(asked).toHaveLength(1);
});

test("what cannot be loaded says so, and trying again helps", async ({ page, goto, complaints }) => {
  complaints.allowConsole(/Failed to load|ERR_FAILED|net::|fetch/i);
  const { id, name } = await makeKey(page.request, unique("Lost chunk"));
  await goto(`${keysPath}?q=${encodeURIComponent(name)}`);
  await page.route(/\/pkg\/split_(panels|settings)/, (route) => route.abort());
  await rowOf(page, name).getByRole("link", { name }).click();
  await expect(page).toHaveURL(new RegExp(`panel=usage&key=${id}`));
  await expect(page.getByText("The server did not answer. Check the connection and try again.")).toBeVisible();

  // Another page, and back: the console itself goes on.
  await page.getByRole("link", { name: "Settings", exact: true }).click();
  await expect(page.getByText("The server did not answer. Check the connection and try again.")).toBeVisible();
  await page.unroute(/\/pkg\/split_(panels|settings)/);
  await page.getByRole("link", { name: "Try again" }).click();
  await hydrated(page);
  await expect(page.getByLabel("Name")).toBeVisible();
});
