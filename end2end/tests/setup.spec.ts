// The first run of a new installation, once, through the page; what it leaves is where every other test begins.
import { expect, hydrated, picture, test } from "../support/fixtures";
import { organization, owner } from "../support/people";
import * as where from "../support/where";

test("a new installation is set up in the browser", async ({ page, goto, axe }) => {
  await goto("/");
  await expect(page).toHaveURL(/\/setup$/);
  await axe();
  await picture(page, "setup");

  await page.getByLabel("Organization", { exact: false }).fill(organization);
  await page.getByLabel("Your name").fill(owner.name);
  await page.getByLabel("E-mail", { exact: false }).fill(owner.email);
  for (const field of await page.locator("input[type=password]").all()) await field.fill(owner.password);
  await page.locator("form button[type=submit]").last().click();

  await expect(page).toHaveURL(/\/dashboard\/developer\/api-keys/);
  await hydrated(page);
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Developer");
  await page.context().storageState({ path: where.ownerState });

  // Once only: afterwards the page is no way to become an owner.
  await goto("/setup");
  await expect(page).not.toHaveURL(/\/setup/);
});
