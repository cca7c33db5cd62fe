import { defineConfig, devices } from "@playwright/test";
import * as where from "./support/where";

// A browser that only does what the tests ask: nothing of its own on the network, and no sandbox for root, which has none.
const args = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"];
if (process.getuid?.() === 0) args.push("--no-sandbox");

// The organization is made once, through the page people use; everything after it is signed in.
const signedIn = { storageState: where.ownerState };
const needs = { dependencies: ["setup"] };

export default defineConfig({
  testDir: "tests",
  outputDir: "test-results",
  globalSetup: "./support/global-setup.ts",
  // One server and one database for all: tests name what they make after themselves, and may run side by side.
  fullyParallel: false,
  workers: process.env.CI ? 2 : undefined,
  forbidOnly: Boolean(process.env.CI),
  retries: 0,
  timeout: 45_000,
  expect: { timeout: 10_000 },
  reporter: process.env.CI ? [["list"]] : [["list"], ["html", { open: "never" }]],
  use: {
    baseURL: where.url,
    locale: "en-GB",
    timezoneId: "Europe/Berlin",
    trace: "retain-on-failure",
    screenshot: "only-on-failure",
    launchOptions: { executablePath: where.chromium(), args },
  },
  projects: [
    { name: "setup", testMatch: "setup.spec.ts", use: { ...devices["Desktop Chrome"], viewport: { width: 1280, height: 800 } } },
    {
      name: "chromium",
      ...needs,
      testIgnore: ["setup.spec.ts", "**/*.mobile.spec.ts", "**/*.nojs.spec.ts"],
      use: { ...devices["Desktop Chrome"], viewport: { width: 1280, height: 800 }, ...signedIn },
    },
    {
      name: "mobile",
      ...needs,
      testMatch: "**/*.mobile.spec.ts",
      use: { ...devices["Pixel 7"], viewport: { width: 360, height: 740 }, ...signedIn },
    },
    {
      name: "nojs",
      ...needs,
      testMatch: "**/*.nojs.spec.ts",
      use: { ...devices["Desktop Chrome"], viewport: { width: 1280, height: 800 }, javaScriptEnabled: false },
    },
  ],
});
